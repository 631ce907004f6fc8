"""Tests change durations by values that they pass in, and reach the inside of a node one way.

A patch of a private name couples a test to the place of a line, and says nothing if the name moves.
The mutants of the simulation are no tests: they put faults into the code.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.syntax import parse

_ROOMS = ("braft_core.runtime", "braft_core.cluster", "braft_core.transport")
#: A constant, in whichever package.
_CONSTANT = re.compile(r"_[A-Z][A-Z0-9_]*")
_MUTANTS = Path("tests/simulation/mutants")


def _imported(tree: ast.Module) -> dict[str, str]:
    """Return the full name of each imported name."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.asname: a.name for a in node.names if a.asname}
            names |= {a.name: a.name for a in node.names if not a.asname}
    return names


def _patched(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Return owner and name of what this node sets: by a call, an assignment or ``del``."""
    if isinstance(node, ast.Call) and node.args:
        function = ast.unparse(node.func).rpartition(".")
        target, *rest = node.args
        if function[2] in ("setattr", "delattr", "object") and rest:
            name = rest[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield ast.unparse(target), name.value
        path = target.value if isinstance(target, ast.Constant) else None
        if isinstance(path, str) and function[2] in ("setattr", "delattr", "patch"):
            owner, _, last = path.rpartition(".")
            yield owner, last
    elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
        yield ast.unparse(node.value), node.attr


def _private(source: str) -> list[str]:
    """Return the private names of the rooms, and private constants, that this source patches."""
    tree = parse(source)
    names, found = _imported(tree), []
    for node in ast.walk(tree):
        for owner, name in _patched(node):
            full = [names[o] + owner[len(o) :] for o in names if f"{owner}.".startswith(f"{o}.")]
            place = max([*full, owner], key=len)
            if _CONSTANT.fullmatch(name) or (name.startswith("_") and place.startswith(_ROOMS)):
                found.append(f"{place}.{name}")
    return found


@pytest.mark.parametrize(
    "patch",
    [
        'monkeypatch.setattr(module, "_RETRY", 0.1)',
        'patch.object(module, "_RETRY", 0.1)',
        'setattr(braft_core.runtime.writer, "_RETRY", 0.1)',
        'monkeypatch.setattr(Writer, "_persist", None)',
        'monkeypatch.setattr("braft_core.runtime.writer._RETRY", 0.1)',
        "module._RETRY = 0.1",
        "del module._RETRY",
    ],
)
def test_the_check_sees_patches(patch: str) -> None:
    imports = """
import braft_core.runtime.writer
from braft_core.runtime import writer as module
from braft_core.runtime.writer import Writer
"""
    assert len(_private(imports + patch)) == 1
    assert _private(imports + patch.replace("_RETRY", "WINDOW").replace("_persist", "run")) == []
    elsewhere = (imports + patch).replace("braft_core.runtime", "elsewhere")
    assert len(_private(elsewhere)) == ("_RETRY" in patch)


@pytest.fixture
def tests(root: Path, tree: list[Path]) -> dict[str, str]:
    """Return the source of each module of tests, except the mutants."""
    paths = [
        path
        for path in tree
        if path.suffix == ".py" and "tests" in path.parts[:3] and _MUTANTS not in path.parents
    ]
    assert len(paths) > 200
    return {str(path): (root / path).read_text() for path in paths}


def test_no_test_patches_a_private_constant_or_a_private_name_of_the_runtime(
    tests: dict[str, str],
) -> None:
    found = {path: _private(source) for path, source in tests.items()}
    assert {path: names for path, names in found.items() if names} == {}


def _reaches_in(source: str) -> list[str]:
    """Return the expressions that reach the inside of a node by its private attributes."""
    return [
        ast.unparse(node)
        for node in ast.walk(parse(source))
        if (isinstance(node, ast.Attribute) and node.attr == "_host")
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "_running"
        )
    ]


def test_the_check_sees_access_to_the_inside_of_a_node() -> None:
    assert _reaches_in("node._host._server.move(ip)") == ["node._host"]
    assert _reaches_in("self.node._running().failure") == ["self.node._running()"]
    assert _reaches_in("internals(node).server.move(ip)") == []


def test_tests_reach_the_inside_of_a_node_by_the_kit_alone(tests: dict[str, str]) -> None:
    """The way is :func:`braft_testing.internals.internals`."""
    found = {path: _reaches_in(source) for path, source in tests.items()}
    assert {path: names for path, names in found.items() if names} == {}
