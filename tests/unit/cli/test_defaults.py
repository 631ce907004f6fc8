"""The default discovery of ``braft run``; an embedded node has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from braft_core.cli.defaults import command_settings
from braft_core.config import Settings
from braft_core.errors import ConfigError

SOURCE = """
from braft_core.abc import Discovery
from braft_core.plugin import hookimpl

class Fake(Discovery):
    name = "mdns"
    async def discover(self):
        return []

@hookimpl
def braft_register_discovery():
    return Fake
"""


def rows(answer: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {row["name"]: (row["value"], row["origin"]) for row in answer["settings"]}


def test_mdns_where_it_is_installed(
    install_distribution: Callable[..., str],
    braft_json: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BRAFT_PLUGINS_DISABLE", "mdns")
    assert command_settings().discovery == "none"
    assert rows(braft_json("config"))["discovery"] == ("none", "default")
    install_distribution("fake-mdns", SOURCE, "fakemdns")
    assert command_settings().discovery == "mdns"
    assert rows(braft_json("config"))["discovery"] == ("mdns", "default")
    used = {row["name"]: row["in_use"] for row in braft_json("plugins")["plugins"]}
    assert used["mdns"]


class Listening:
    """A node that listens at once and stops."""

    address = http_address = "127.0.0.1:1"

    def __init__(self, settings: Any) -> None:
        pass

    def run(self, on_start: Callable[[], None]) -> None:
        on_start()


@pytest.mark.parametrize("chosen", ["", "none", "static:a"])
def test_a_node_says_that_nobody_chose_where_it_looks(
    chosen: str,
    install_distribution: Callable[..., str],
    braft: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BRAFT_PLUGINS_DISABLE", "mdns")
    monkeypatch.setenv("BRAFT_DISCOVERY", chosen)
    monkeypatch.setattr("braft_core.node.Node", Listening)
    install_distribution("fake-mdns", SOURCE, "fakemdns")
    said = braft("run").stdout
    assert ("BRAFT_DISCOVERY is not set" in said) == (chosen == "")
    assert ("the cluster 'braft' by mdns" in said) == (chosen == "")
    assert said.startswith("Raft on 127.0.0.1:1, HTTP on http://127.0.0.1:1\n")


def test_a_choice_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BDI", "none")
    settings = command_settings()
    assert (settings.discovery, settings.provenance["discovery"]) == ("none", "environment BDI")
    chosen = command_settings({"discovery": "static:a,b"})
    assert (chosen.discovery, chosen.provenance["discovery"]) == ("static:a,b", "command line")


def test_the_command_owns_its_process_and_an_embedded_node_does_not(
    monkeypatch: pytest.MonkeyPatch, braft_json: Callable[..., Any]
) -> None:
    assert command_settings().gc_freeze is True
    assert command_settings({"discovery": "none"}).gc_freeze is True
    assert rows(braft_json("config"))["gc_freeze"] == ("on", "default")
    assert Settings.load().gc_freeze is False
    monkeypatch.setenv("BRAFT_GC_FREEZE", "off")
    assert command_settings().gc_freeze is False
    monkeypatch.setenv("BRAFT_GC_FREEZE", "sometimes")
    with pytest.raises(ConfigError, match="BRAFT_GC_FREEZE='sometimes'"):
        command_settings()
