"""Options of plugins: read, refused, shown, and declared by a hook."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from braft_core.config import Settings
from braft_core.errors import ConfigError, PluginConflict, PluginLoadError
from braft_core.plugin.manager import Plugins
from braft_core.plugin.option_values import OptionValues, read_options
from braft_core.plugin.options import (
    Duration,
    Flag,
    Names,
    PluginOptions,
    SecretStr,
    Text,
)
from braft_core.plugin.registry import Registry

Providing = Callable[[str, Any], types.ModuleType]


class LabOptions(PluginOptions):
    """Options of the plugin ``lab-x``."""

    section = "lab-x"

    pause: Duration = 2.0
    """Pause between
    two polls."""
    size: int = 3
    rooms: Names = ()
    bright: Flag = False
    key: SecretStr = SecretStr("")
    url: Text = ""


class MdnsOptions(PluginOptions):
    section = "mdns"
    service: Text = "_x._tcp"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def option_values(providing: Providing) -> Callable[..., OptionValues]:
    """``option_values(environ={...}, kwargs={...})`` for a registry with the options above."""

    def make(**sources: Any) -> OptionValues:
        plugins = Plugins()
        plugins.register(providing("options", [LabOptions, MdnsOptions]), "lab", "braft-lab", "1.0")
        return OptionValues(Settings.load(**({"environ": {}} | sources)), Registry(plugins))

    return make


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    return caught.value.message


# ---------------------------------------------------------------- the model


def test_text_from_the_environment_becomes_values() -> None:
    environ = {
        "BRAFT_LAB_X_PAUSE": "1m30s",
        "BRAFT_LAB_X_SIZE": "7",
        "BRAFT_LAB_X_ROOMS": "a,b",
        "BRAFT_LAB_X_BRIGHT": "on",
        "BRAFT_LAB_X_KEY": "s3cret",
    }
    read = read_options(Settings.load(environ=environ), LabOptions)
    assert (read.pause, read.size, read.rooms, read.bright) == (90.0, 7, ("a", "b"), True)
    assert read.key.get_secret_value() == "s3cret"
    assert read.url == ""


def test_what_is_wrong_is_named_as_the_user_wrote_it() -> None:
    environ = {"BRAFT_LAB_X_PAUSE": "soon"}
    kwargs = {"plugins": {"lab-x": {"sze": 1, "size": "big"}}}
    message = refused(
        lambda: read_options(Settings.load(environ=environ, kwargs=kwargs), LabOptions)
    )
    lines = message.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("BRAFT_LAB_X_PAUSE='soon': not a duration; accepted: a duration")
    assert lines[1].startswith("argument plugins.lab-x.size='big': ")
    assert lines[1].endswith("accepted: a whole number")
    assert lines[2] == "argument plugins.lab-x.sze: no such option; did you mean size?"
    file = Path("braft.toml")
    file.write_text("[plugins.lab-x]\nzzz = 1")
    message = refused(lambda: read_options(Settings.load(environ={}), LabOptions))
    assert message == "braft.toml: plugins.lab-x.zzz: no such option; accepted: " + ", ".join(
        LabOptions.model_fields
    )


def test_without_the_users_words_an_error_names_section_and_key() -> None:
    message = refused(lambda: LabOptions.read({"size": "big"}))
    assert message.startswith("plugins.lab-x.size='big': ")
    with pytest.raises(ConfigError) as caught:
        LabOptions.read({"pause": -1})
    assert caught.value.data["setting"] == "plugins.lab-x.pause"
    assert caught.value.data["value"] == "-1"


def test_secrets_are_in_no_message_and_in_no_row(
    option_values: Callable[..., OptionValues],
) -> None:
    class Vault(PluginOptions):
        section = "vault"
        pin: SecretStr = SecretStr("")

    with pytest.raises(ConfigError) as caught:
        Vault.read({"pin": ["s3cret"]})
    assert "s3cret" not in f"{caught.value} {caught.value.data} {caught.value.__cause__}"
    shown = option_values(
        environ={"BRAFT_LAB_X_KEY": "s3cret"},
        kwargs={"plugins": {"other": {"password": "s3cret", "path": "x"}}},
    )
    rows = {row.name: row for row in shown.rows()}
    assert "s3cret" not in str(rows)
    assert rows["plugins.lab-x.key"].value == "**********"
    assert rows["plugins.other.password"].value == "**********"
    assert rows["plugins.other.path"] == ("plugins.other.path", "x", "argument")


def test_options_explain_themselves() -> None:
    first, second, *_ = LabOptions.describe()
    assert first.key == "pause"
    assert first.variable == "BRAFT_LAB_X_PAUSE"
    assert first.meaning == "Pause between two polls."
    assert first.accepts.startswith("a duration such as")
    assert first.default == "2s"
    assert (second.meaning, second.accepts, second.default) == ("", "a whole number", "3")


def test_options_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        LabOptions().size = 4  # type: ignore[misc]


# ---------------------------------------------------------------- a node's start, braft config


def test_every_declared_option_is_checked(option_values: Callable[..., OptionValues]) -> None:
    option_values(environ={"BRAFT_LAB_X_SIZE": "4"}).check()
    bad = option_values(environ={"BRAFT_LAB_X_SIZE": "x", "BRAFT_MDNS_SERVICE": " "})
    assert "BRAFT_LAB_X_SIZE='x'" in refused(bad.check)
    both = option_values(
        environ={"BRAFT_LAB_X_SIZE": "x"}, kwargs={"plugins": {"mdns": {"servce": "y"}}}
    )
    assert "BRAFT_LAB_X_SIZE" in (message := refused(both.check))
    assert "plugins.mdns.servce: no such option; did you mean service?" in message


def test_a_class_gets_what_was_given_for_its_name(
    option_values: Callable[..., OptionValues],
) -> None:
    given = option_values(environ={"BRAFT_LAB_X_SIZE": "4"}, kwargs={"plugins": {"raw": {"a": 1}}})
    assert given.values("lab-x") == {"size": "4"}
    assert given.values("raw") == {"a": 1}
    assert given.values("nothing") == {}


def test_rows_show_every_option_once(option_values: Callable[..., OptionValues]) -> None:
    rows = option_values(environ={"BRAFT_LAB_X_PAUSE": "5s"}).rows()
    assert rows[0] == ("plugins.lab-x.pause", "5s", "environment BRAFT_LAB_X_PAUSE")
    assert ("plugins.lab-x.size", "3", "default") in rows
    names = [row.name for row in rows]
    assert "plugins.mdns.service" not in names, "the setting mdns_service shows it"
    given = option_values(kwargs={"plugins": {"mdns": {"service": "_y._tcp"}}}).rows()
    assert ("plugins.mdns.service", "_y._tcp", "argument") in given


def test_what_nobody_reads_is_a_warning(
    option_values: Callable[..., OptionValues], providing: Providing, classes: types.SimpleNamespace
) -> None:
    given = option_values(
        environ={"BRAFT_LAB_X_SZE": "1", "BRAFT_LAB_X_SIZE": "1", "BRAFT_RPROT": "2"},
        kwargs={"plugins": {"leb": {"a": 1}}},
    )
    section, option, setting = given.warnings()
    assert section.startswith("[plugins.leb]: no installed plugin declares options of that name; ")
    assert section.endswith("declared: lab-x, mdns")
    assert option == "environment BRAFT_LAB_X_SZE: no such setting; did you mean BRAFT_LAB_X_SIZE?"
    assert "did you mean BRAFT_RPORT?" in setting
    plugins = Plugins()
    plugins.register(providing("discovery", classes.Lab), "lab")
    settings = Settings.load(environ={}, kwargs={"plugins": {"lab": {"a": 1}}})
    assert OptionValues(settings, Registry(plugins)).warnings() == [], "the class reads its section"


# ---------------------------------------------------------------- the hook


def without_section() -> type[PluginOptions]:
    class Nameless(PluginOptions):
        size: int = 1

    return Nameless


def with_required_option() -> type[PluginOptions]:
    class Needy(PluginOptions):
        section = "needy"
        url: str

    return Needy


def with_a_variable_of_ours() -> type[PluginOptions]:
    class Log(PluginOptions):
        section = "log"
        format: str = ""

    return Log


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (object, "is not a subclass of braft_core.plugin.options.PluginOptions"),
        (without_section(), "Nameless.section is None; accepted: a lower-case word"),
        (with_required_option(), "Needy.url has no default"),
        (
            with_a_variable_of_ours(),
            "Log.format has the variable BRAFT_LOG_FORMAT, which is taken",
        ),
        (None, "returned None"),
    ],
)
def test_what_cannot_be_used_is_refused(providing: Providing, answer: Any, sentence: str) -> None:
    plugins = Plugins()
    plugins.register(providing("options", answer), "lab", "braft-lab", "1.0")
    with pytest.raises(PluginLoadError) as caught:
        Registry(plugins).options()
    assert "braft-lab 1.0" in caught.value.message
    assert sentence in caught.value.message


def test_sections_and_variables_are_claimed_once(providing: Providing) -> None:
    class Rival(PluginOptions):
        section = "lab-x"

    class Neighbour(PluginOptions):
        section = "lab"
        x_size: int = 0

    for rival, named in ((Rival, "section 'lab-x'"), (Neighbour, "variable 'BRAFT_LAB_X_SIZE'")):
        plugins = Plugins()
        plugins.register(providing("options", LabOptions), "lab", "braft-lab", "1.0")
        plugins.register(providing("options", rival), "rival", "braft-rival", "2.0")
        with pytest.raises(PluginConflict) as caught:
            Registry(plugins).options()
        assert f"the options {named} is provided by braft-lab 1.0 and by braft-rival 2.0" in (
            caught.value.message
        )


def test_a_registry_knows_whose_section_it_is(providing: Providing) -> None:
    plugins = Plugins()
    plugins.register(providing("options", [LabOptions, MdnsOptions]), "lab")
    registry = Registry(plugins)
    assert dict(registry.options()) == {"lab-x": LabOptions, "mdns": MdnsOptions}
    assert registry.sections("lab") == ("lab-x", "mdns")
    assert registry.sections("other") == ()
