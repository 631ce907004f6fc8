"""Calls that a node rejects before its start, and before anything is sent."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from braft_core import Node
from braft_core.errors import ConfigError, InvalidRequest, NotApplied
from braft_core.node_options import NodeOptions
from braft_core.plugin.options import Duration, PluginOptions
from braft_core.runtime import gc_freeze


def make() -> Node:
    return Node(discovery="none", data_dir=":memory:", ip="127.0.0.1", rport=0, http=False)


@pytest.fixture
def node() -> Node:
    return make()


def test_an_unknown_consistency_is_a_request_that_is_not_worth_repeating(node: Node) -> None:
    with node, pytest.raises(InvalidRequest, match="accepted: linearizable, lease") as caught:
        node.query("kv", "get", "m", "k", consistency="leas")  # type: ignore[arg-type]
    assert isinstance(caught.value, NotApplied)
    assert not caught.value.safe_to_retry
    assert caught.value.data["value"] == "leas"


class LabOptions(PluginOptions):
    section = "lab"

    pause: Duration = 2.0
    """Pause between two polls."""


def test_a_node_reads_the_options_of_a_plugin() -> None:
    made = Node(discovery="none", data_dir=":memory:", plugins={"lab": {"pause": "5s"}})
    assert made.plugin_options(LabOptions).pause == 5.0


def test_a_wrong_option_of_an_installed_plugin_prevents_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BRAFT_STATIC_POLL_INTERVAL", "soon")
    with pytest.raises(ConfigError, match="BRAFT_STATIC_POLL_INTERVAL='soon': not a duration"):
        make().start()


def test_what_nobody_reads_is_logged_at_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BRAFT_STATIC_POLL_INTERVALL", "1s")
    with make():
        pass
    [told] = [r.getMessage() for r in caplog.records if "POLL_INTERVALL" in r.getMessage()]
    assert told.endswith("no such setting; did you mean BRAFT_STATIC_POLL_INTERVAL?")


@pytest.mark.parametrize("chosen", [False, True])
def test_the_collector_of_the_process_is_touched_only_if_that_is_chosen(
    chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    # Replace only ours: libraries of other tests in this process collect as well.
    collector = SimpleNamespace(
        collect=lambda: calls.append("collect"), freeze=lambda: calls.append("freeze")
    )
    monkeypatch.setattr(gc_freeze, "gc", collector)
    with Node(discovery="none", data_dir=":memory:", rport=0, http=False, gc_freeze=chosen) as node:
        node.wait_ready(40)
        node.kv.put("m", "k", [1])
    assert calls == (["collect", "freeze"] if chosen else [])


def test_a_state_from_a_snapshot_is_frozen_as_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[str] = []
    collector = SimpleNamespace(collect=lambda: None, freeze=lambda: calls.append("freeze"))
    options = NodeOptions(discovery="none", data_dir=tmp_path, rport=0, http=False, gc_freeze=True)
    with Node(**options) as node:
        node.wait_ready(40)
        node.store.put("k", b"v")
        node.take_snapshot()
    monkeypatch.setattr(gc_freeze, "gc", collector)
    with Node(**options) as node:
        node.wait_ready(40)
        found = node.store.get("k")
    assert found is not None
    assert calls == ["freeze"] * 2
