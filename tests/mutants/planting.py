"""Plant a fault in a module of the product while it is imported.

An edit names a function and a piece of its code. Both are compared as syntax trees, so comments,
line breaks and moved functions do not matter; a piece that no longer occurs exactly once is an
error that names the mutant.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeGuard

from tests.syntax import parse

__all__ = ["Edit", "Mutant", "StaleMutant", "edited_source", "plant"]


class StaleMutant(Exception):
    """An edit does not fit the code of the product any more: change the mutant with it."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace ``old`` by ``new`` in one function.

    ``old`` is one expression, or consecutive statements; ``new`` likewise. An empty ``new`` deletes
    the statements.
    """

    module: str
    #: Its qualified name, such as ``Driver._persist``; "" for the whole module.
    function: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault, and the test that finds it."""

    name: str
    area: str
    edits: tuple[Edit, ...]
    #: The node id of the test that must fail.
    found_by: str


def plant(edits: Sequence[Edit]) -> None:
    """Apply the edits to the modules when they are imported from now on.

    :raises StaleMutant: a module is imported already, or an edit does not fit it.
    """
    by_module: dict[str, list[Edit]] = {}
    for edit in edits:
        if edit.module in sys.modules:
            raise StaleMutant(f"{edit.module} is imported already")
        by_module.setdefault(edit.module, []).append(edit)
    sys.meta_path.insert(0, _Finder(by_module))


class _Finder(MetaPathFinder):
    """Finds the modules with planted faults, wherever the others would be found."""

    def __init__(self, edits: dict[str, list[Edit]]) -> None:
        self._edits = edits

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        edits = self._edits.get(fullname)
        if edits is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            raise StaleMutant(f"there is no module {fullname}")
        loader = _Loader(fullname, spec.origin, edits)
        return importlib.util.spec_from_file_location(fullname, spec.origin, loader=loader)


class _Loader(SourceFileLoader):
    """Compiles the edited source; reads and writes no cache."""

    def __init__(self, fullname: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(fullname, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType:
        tree = edited_source(Path(self.path).read_text(), self._edits)
        code: CodeType = compile(tree, self.path, "exec")
        return code


def edited_source(source: str, edits: Sequence[Edit]) -> ast.Module:
    """Return the syntax tree of ``source`` with the edits.

    :raises StaleMutant: an edit does not fit exactly once.
    """
    tree = parse(source)
    for edit in edits:
        _replace(_function(tree, edit), edit)
    return ast.fix_missing_locations(tree)


def _function(tree: ast.Module, edit: Edit) -> ast.AST:
    node: ast.AST = tree
    for name in filter(None, edit.function.split(".")):
        named = [
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and child.name == name
        ]
        if not named:
            raise StaleMutant(f"{edit.module} has no {edit.function}")
        node = named[0]
    return node


def _replace(inside: ast.AST, edit: Edit) -> None:
    old, new = _statements(edit.old), _statements(edit.new)
    places = list(_occurrences(inside, old))
    found = len(places)
    if found == 1:
        [(body, at)] = places
        body[at : at + len(old)] = new
        if not body:
            body.append(ast.Pass())
    elif _is_expression(old) and _is_expression(new):
        replacer = _Expressions(ast.dump(old[0].value), new[0].value)
        replacer.visit(inside)
        found = replacer.found
    if found != 1:
        raise StaleMutant(
            f"{edit.module} {edit.function}: found {found} times, not once: {edit.old!r}"
        )


def _is_expression(statements: list[ast.stmt]) -> TypeGuard[list[ast.Expr]]:
    return len(statements) == 1 and isinstance(statements[0], ast.Expr)


def _statements(code: str) -> list[ast.stmt]:
    # Only a function may hold `return` and `await`.
    text = "async def _():\n" + textwrap.indent(textwrap.dedent(code).strip() or "...", "    ")
    (function,) = parse(text).body
    assert isinstance(function, ast.AsyncFunctionDef)
    return function.body if code.strip() else []


def _occurrences(inside: ast.AST, old: Sequence[ast.stmt]) -> Iterator[tuple[list[Any], int]]:
    wanted = [ast.dump(statement) for statement in old]
    for node in ast.walk(inside):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if not isinstance(body, list):
                continue
            there = [ast.dump(statement) for statement in body]
            for at in range(len(there) - len(wanted) + 1):
                if there[at : at + len(wanted)] == wanted:
                    yield body, at


class _Expressions(ast.NodeTransformer):
    """Replaces equal expressions."""

    def __init__(self, old: str, new: ast.expr) -> None:
        self._old, self._new = old, new
        self.found = 0

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.expr) and ast.dump(node) == self._old:
            self.found += 1
            return self._new
        return super().generic_visit(node)
