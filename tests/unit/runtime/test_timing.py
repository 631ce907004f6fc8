"""Each duration of a node is used where it belongs, and no module has one beside them."""

from __future__ import annotations

import ast
import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from braft_core import Node
from braft_core.abc import TransportTiming
from braft_core.cluster.timing import ClusterTiming
from braft_core.runtime import timing as module
from braft_core.runtime.timing import Timing
from braft_testing.internals import internals, with_timing
from tests.syntax import parse

RUNTIME = Path(module.__file__).parent
SOURCES = {path.name: path.read_text() for path in RUNTIME.glob("*.py") if path.name != "timing.py"}
#: Numbers that are no durations.
NO_DURATIONS = {
    "argument_checks.py: MAX_SECONDS",  # limit of what a caller may give
    "digests.py: _APART",  # a factor
    "digests.py: _PAUSE",  # a factor
}


@pytest.mark.parametrize("name", [field.name for field in fields(Timing)])
def test_every_duration_is_used(name: str) -> None:
    used = re.compile(rf"timing\.{name}\b")
    assert [file for file, source in SOURCES.items() if used.search(source)]


def test_a_timing_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Timing().drain = 1.0  # type: ignore[misc]


def test_the_default_timing_is_used_nowhere_in_the_runtime() -> None:
    """A part that takes it by default would ignore the one that the node was given."""
    assert len(SOURCES) > 40
    assert not [file for file, source in SOURCES.items() if "DEFAULT_TIMING" in source]
    assert not [file for file, source in SOURCES.items() if re.search(r"\bTiming\(", source)]


def test_no_module_has_a_duration_of_its_own() -> None:
    found = {
        f"{file}: {ast.unparse(target)}"
        for file, source in SOURCES.items()
        for node in parse(source).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, float)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }
    assert found <= NO_DURATIONS


def test_a_node_passes_its_timing_on() -> None:
    timing = Timing(
        drain=0.25, cluster=ClusterTiming(probe_interval=7.0), transport=TransportTiming(close=0.5)
    )
    node = Node(discovery="none", data_dir=":memory:", ip="127.0.0.1", rport=0, http=False)
    with with_timing(node, timing):
        server = internals(node).server
        assert server.components.timing is timing
        assert server.adapter.settings.timing is timing.cluster
        assert server.components.transport.options.timing is timing.transport
