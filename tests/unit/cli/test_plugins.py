"""``braft plugins show`` explains a plugin, also one that is broken or disabled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GOOD = '''
from braft_core.abc import Contact, Discovery
from braft_core.plugin import hookimpl
from braft_core.plugin.options import Duration, PluginOptions, SecretStr


class Lab(Discovery):
    """Finds nobody.

    Not for long, though.
    """

    name = "lab"

    async def discover(self):
        return [Contact("a", 1)]


class LabOptions(PluginOptions):
    section = "lab"

    pause: Duration = 2.0
    """Pause between two polls."""
    password: SecretStr = SecretStr("")
    """Opens the door."""


@hookimpl
def braft_register_discovery():
    return Lab


@hookimpl
def braft_register_options():
    return LabOptions


@hookimpl
def braft_on_started(node):
    pass
'''

METADATA = """\
Summary: A laboratory.
Project-URL: Documentation, https://lab.example/docs
"""


@pytest.fixture
def installed(install_distribution: Callable[..., str]) -> Callable[[str, str], None]:
    """``installed(distribution, source)``: with a summary, a link and the entry point ``lab``."""

    def install(name: str, source: str) -> None:
        install_distribution(name, source, "lab", metadata=METADATA)

    return install


def test_a_plugin_is_explained(
    braft: Any, braft_json: Any, installed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("braft-lab", GOOD)
    monkeypatch.setenv("BRAFT_DISCOVERY", "lab:x")
    monkeypatch.setenv("BRAFT_LAB_PASSWORD", "s3cret")
    Path("braft.toml").write_text("[plugins.lab]\npause = '7s'")
    [shown] = braft_json("plugins", "show", "lab")
    assert shown == {
        "plugin": "lab",
        "distribution": "braft-lab",
        "version": "1.0",
        "summary": "A laboratory.",
        "links": ["Documentation: https://lab.example/docs"],
        "disabled": False,
        "failure": "",
        "hooks": ["braft_on_started", "braft_register_discovery", "braft_register_options"],
        "provides": [
            {
                "kind": "discovery",
                "name": "lab",
                "choose": "BRAFT_DISCOVERY=lab or lab:<spec>",
                "text": "Finds nobody.",
                "in_use": True,
            },
            {
                "kind": "observer",
                "name": "lab",
                "choose": "",
                "text": "observes what happens",
                "in_use": True,
            },
        ],
        "options": [
            {
                "option": "plugins.lab.pause",
                "variable": "BRAFT_LAB_PAUSE",
                "value": "7s",
                "origin": str(Path("braft.toml")),
                "meaning": "Pause between two polls.",
                "accepts": shown["options"][0]["accepts"],
                "default": "2s",
            },
            {
                "option": "plugins.lab.password",
                "variable": "BRAFT_LAB_PASSWORD",
                "value": "**********",
                "origin": "environment BRAFT_LAB_PASSWORD",
                "meaning": "Opens the door.",
                "accepts": "a text, which is never shown",
                "default": "",
            },
        ],
    }
    text = braft("plugins", "show", "braft-lab").stdout
    assert "s3cret" not in text
    for words in ("lab (braft-lab 1.0)", "discovery lab (in use)", "BRAFT_LAB_PAUSE", "7s"):
        assert words in text
    rows = {row["name"]: row for row in braft_json("config")["settings"]}
    assert rows["plugins.lab.pause"]["value"] == "7s"


def test_of_what_the_core_provides_only_what_was_asked_for_is_shown(braft_json: Any) -> None:
    [shown] = braft_json("plugins", "show", "kv")
    assert shown["distribution"] == "braft-core"
    assert [row["name"] for row in shown["provides"]] == ["kv"]
    assert shown["provides"][0]["choose"] == "BRAFT_SERVICES=...,kv"
    [whole] = braft_json("plugins", "show", "braft-core")
    assert {"kv", "grpc", "sqlite"} <= {row["name"] for row in whole["provides"]}


def test_a_broken_plugin_is_explained_and_the_exit_code_says_so(
    braft: Any, braft_json: Any, installed: Any
) -> None:
    installed("braft-lab", "import nothing_of_that_name")
    result = braft("plugins", "show", "lab")
    assert result.exit_code == 1
    assert "A laboratory." in result.stdout
    assert "No module named 'nothing_of_that_name'" in result.stderr
    assert "BRAFT_PLUGINS_DISABLE=lab" in result.stderr


def test_a_disabled_plugin_says_that_it_is(
    braft: Any, installed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("braft-lab", "import nothing_of_that_name")
    monkeypatch.setenv("BRAFT_PLUGINS_DISABLE", "lab")
    result = braft("plugins", "show", "braft-lab")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "disabled by BRAFT_PLUGINS_DISABLE" in result.stdout


def test_an_unknown_name_lists_the_known_ones(braft: Any) -> None:
    result = braft("plugins", "show", "no-such-plugin")
    assert result.exit_code == 2
    assert "no plugin 'no-such-plugin' is installed; installed: " in result.stderr
    assert "msgpack" in result.stderr


def test_unread_variables_and_sections_are_cautions(
    braft_json: Any, installed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("braft-lab", GOOD)
    monkeypatch.setenv("BRAFT_LAB_PAUS", "1s")
    Path("braft.toml").write_text("[plugins.leb]\npause = '7s'")
    section, variable = braft_json("plugins")["cautions"]
    assert section.startswith("[plugins.leb]: no installed plugin declares options of that name")
    assert variable.endswith("did you mean BRAFT_LAB_PAUSE?")
    assert braft_json("config")["cautions"] == [section, variable]


def test_a_wrong_option_is_wrong_usage(
    braft: Any, installed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("braft-lab", GOOD)
    monkeypatch.setenv("BRAFT_LAB_PAUSE", "soon")
    for words in (["config"], ["plugins", "show", "lab"]):
        result = braft(*words)
        assert result.exit_code == 2
        assert "BRAFT_LAB_PAUSE='soon': not a duration; accepted: a duration" in result.stderr
