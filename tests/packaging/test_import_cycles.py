"""No two modules import each other, imports for type checking included."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.syntax import parse

ROOT = Path(__file__).parents[2]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, known: set[str]) -> set[str]:
    found = set()
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in known else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def cycle(sources: dict[str, str]) -> list[str]:
    graph = {name: imports(text, set(sources)) - {name} for name, text in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_braft_core_has_no_import_cycle() -> None:
    paths = (ROOT / "braft_core").rglob("*.py")
    sources = {module_name(path): path.read_text() for path in paths}
    assert len(sources) > 200
    assert cycle(sources) == []


def test_a_cycle_of_imports_for_type_checking_is_found() -> None:
    sources = {
        "p.a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.b import B\n",
        "p.b": "def f():\n    import p.a\n",
        "p.c": "from p import a, b\n",
    }
    assert set(cycle(sources)) == {"p.a", "p.b"}
    del sources["p.b"]
    assert cycle(sources) == []
