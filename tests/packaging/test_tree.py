"""Rules about the files themselves: size, leftovers, existing commands in the README."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.syntax import parse

_SOURCE_LINES = 500
_TEST_LINES = 900
_FUNCTION_LINES = 60
_PUBLIC_METHODS = 20
_TEXT = {".py", ".pyi", ".md", ".toml", ".ini", ".yaml", ".yml", ".proto", ".cfg", ".txt", ".sh"}
# Spelled in parts, so that this file does not match.
_LEFTOVER = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")


def _generated(path: Path) -> bool:
    return path.stem.endswith(("_pb2", "_pb2_grpc"))


def _is_test(path: Path) -> bool:
    return "tests" in path.parts[:3]


def _python(tree: list[Path]) -> Iterator[Path]:
    return (path for path in tree if path.suffix == ".py" and not _generated(path))


def _source(tree: list[Path]) -> Iterator[Path]:
    for path in _python(tree):
        if path.parts[0] in ("braft_core", "benchmarks") or "src" in path.parts:
            yield path


def test_no_module_is_too_long(root: Path, tree: list[Path]) -> None:
    limits = dict.fromkeys(_source(tree), _SOURCE_LINES)
    limits |= {path: _TEST_LINES for path in _python(tree) if _is_test(path)}
    lengths = {path: len((root / path).read_text().splitlines()) for path in limits}
    too_long = {str(path): lines for path, lines in lengths.items() if lines > limits[path]}
    assert lengths
    assert not too_long


def _methods(body: list[ast.stmt]) -> set[str]:
    """Return the public methods of a class.

    Not counted: properties, tests of conformance suites, and the awaitable variant of a method.
    """
    names = {
        node.name
        for node in body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith(("_", "test_"))
        and not any("property" in ast.dump(each) for each in node.decorator_list)
        and not any("attr='setter'" in ast.dump(each) for each in node.decorator_list)
    }
    return {name for name in names if not (name[0] == "a" and name[1:] in names)}


def test_no_class_has_too_many_public_methods(root: Path, tree: list[Path]) -> None:
    counted = {
        f"{path}: {node.name}": len(_methods(node.body))
        for path in _source(tree)
        for node in ast.walk(parse((root / path).read_text()))
        if isinstance(node, ast.ClassDef)
    }
    assert len(counted) > 500
    assert {name: found for name, found in counted.items() if found > _PUBLIC_METHODS} == {}


def test_public_methods_are_counted() -> None:
    source = """
class A:
    def get(self): ...
    async def aget(self): ...
    def add(self): ...
    @property
    def size(self): ...
    @size.setter
    def size(self, value): ...
    def _hidden(self): ...
    def test_it(self): ...
"""
    [found] = parse(source).body
    assert isinstance(found, ast.ClassDef)
    assert _methods(found.body) == {"get", "add"}


def test_no_function_is_too_long(root: Path, tree: list[Path]) -> None:
    too_long = {}
    for path in _source(tree):
        for node in ast.walk(parse((root / path).read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > _FUNCTION_LINES:
                    too_long[f"{path}:{node.lineno} {node.name}"] = lines
    assert not too_long


def test_nothing_is_left_for_later(root: Path, tree: list[Path]) -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in tree
        if path.suffix in _TEXT or path.name == "Makefile"
        for number, line in enumerate((root / path).read_text().splitlines(), 1)
        if _LEFTOVER.search(line)
    ]
    assert not found


def test_no_module_is_named_utils(tree: list[Path]) -> None:
    assert not [path for path in tree if path.stem in ("utils", "util", "helpers", "misc")]


@pytest.mark.parametrize("name", ["demo", "test"])
def test_the_readme_names_commands_that_exist(root: Path, name: str) -> None:
    readme = (root / "README.md").read_text()
    makefile = (root / "Makefile").read_text()
    assert f"make {name}" in readme
    assert re.search(rf"^{name}:", makefile, re.MULTILINE)


def test_every_distribution_ships_py_typed(root: Path, tree: list[Path]) -> None:
    packages = {path.parent for path in tree if path.parts[0] == "plugins" and "src" in path.parts}
    packages = {path for path in packages if path.parent.name == "src"}
    assert packages
    missing = [
        str(path)
        for path in [Path("braft_core"), *sorted(packages)]
        if not (root / path / "py.typed").is_file()
    ]
    assert not missing
