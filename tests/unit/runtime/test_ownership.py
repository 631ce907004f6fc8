"""The parts of a node are changed by their own methods alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from braft_core import runtime
from tests.syntax import parse

SOURCES = {path.name: path.read_text() for path in Path(runtime.__path__[0]).glob("*.py")}
#: Values that are handed on, and that their holder changes: requests, batches, and the identity,
#: which the server keeps up to date for the transport.
HANDED_ON = {"batch", "command", "query", "request", "self.identity"}
#: A thread-local of the module itself.
HANDED_ON |= {"_rule"}


def _changed(source: str) -> set[str]:
    """Return the attributes of others that this source sets."""
    return {
        ast.unparse(node)
        for node in ast.walk(parse(source))
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
        if ast.unparse(node.value) not in {"self", *HANDED_ON}
        if node.attr != "__cause__"
    }


@pytest.mark.parametrize("source", ["server.applier.fault = why", "self.host.last = 1", "del a.b"])
def test_the_check_sees_changes(source: str) -> None:
    assert _changed(source)
    assert not _changed("self.last = applier.fault")


def test_no_part_of_the_runtime_changes_another() -> None:
    assert len(SOURCES) > 40
    found = {name: _changed(source) for name, source in SOURCES.items()}
    assert {name: changed for name, changed in found.items() if changed} == {}
