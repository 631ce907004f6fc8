"""Messages name no file that an installed package lacks, and only pages that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.syntax import parse

#: A file of the source tree, as messages would name it.
_FILE = re.compile(r"\b(?:docs|tests|deploy|examples)/[\w./-]+|\b(?:README|[A-Z]{4,})\.md\b")
_COMMAND = re.compile(r'(?:"([^"]+)" in: )?braft docs ([a-z][\w/-]*)')
_PAGE = re.compile(r"\bdocs/([\w/-]+)\.md\b")
#: The modules that write README files or read the pages.
_WRITERS = ("braft_core/cli/scaffold/", "braft_core/cli/docs.py")
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Text(NamedTuple):
    """One string of the source; only readers of the source see a ``docstring``."""

    place: str
    value: str
    docstring: bool


def _texts(root: Path, tree: list[Path]) -> Iterator[Text]:
    for path in tree:
        source = path.parts[0] == "braft_core"
        source = source or (path.parts[0] == "plugins" and "src" in path.parts)
        if source and path.suffix == ".py":
            yield from _of_module(path, (root / path).read_text(encoding="utf-8"))


def _of_module(path: Path, source: str) -> Iterator[Text]:
    module = parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(module)
        if isinstance(node, _DOCUMENTED) and node.body and isinstance(node.body[0], ast.Expr)
    }
    in_help = path.as_posix().startswith("braft_core/cli/")
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            hidden = id(node) in docstrings and not in_help
            yield Text(f"{path}:{node.lineno}", node.value, hidden)


def _pages(root: Path) -> dict[str, Path]:
    from braft_core.cli.docs import pages

    return {page.name: page.path for page in pages()}


def _wrong(text: Text, pages: dict[str, Path]) -> Iterator[str]:
    if not text.docstring and not text.place.startswith(_WRITERS):
        for found in _FILE.findall(text.value):
            yield f"{text.place}: {found}: an installed package has no such file"
    for heading, page in _COMMAND.findall(text.value):
        if page not in pages:
            yield f"{text.place}: braft docs {page}: no such page"
        elif heading and not re.search(
            rf"^#+ {re.escape(heading)}$", pages[page].read_text(encoding="utf-8"), re.MULTILINE
        ):
            yield f"{text.place}: {heading!r}: {page} has no such heading"
    for page in _PAGE.findall(text.value):
        if page not in pages and f"{page}/README" not in pages:
            yield f"{text.place}: docs/{page}.md: no such page"


def test_messages_name_pages_that_are_installed(root: Path, tree: list[Path]) -> None:
    pages = _pages(root)
    texts = list(_texts(root, tree))
    assert len(texts) > 1000
    assert [line for text in texts for line in _wrong(text, pages)] == []
    assert sum(1 for text in texts for _ in _COMMAND.findall(text.value)) >= 2


@pytest.mark.parametrize(
    ("value", "docstring", "wrong"),
    [
        ("see docs/operations.md", False, 1),
        ("see docs/operations.md", True, 0),
        ("see docs/nothing.md", True, 1),
        ("see CONTRIBUTING.md", False, 1),
        ("braft docs operations has more", False, 0),
        ("braft docs nothing has more", False, 1),
        ('read "Why is there no leader" in: braft docs operations', False, 0),
        ('read "Why are there two" in: braft docs operations', False, 1),
    ],
)
def test_a_wrong_reference_is_seen(root: Path, value: str, docstring: bool, wrong: int) -> None:
    assert len(list(_wrong(Text("x.py:1", value, docstring), _pages(root)))) == wrong
