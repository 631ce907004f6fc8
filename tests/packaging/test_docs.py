"""Links in the documentation have targets, and its code blocks compile."""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.syntax import parse

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^ *```", re.M | re.S)
_HEADING = re.compile(r"^#+ +(.+?) *#*$", re.M)


def _markdown(root: Path, tree: list[Path]) -> Iterator[tuple[Path, str]]:
    for path in tree:
        if path.suffix == ".md":
            yield path, (root / path).read_text()


def _anchors(text: str) -> set[str]:
    plain = _FENCE.sub("", text)
    headings = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", h) for h in _HEADING.findall(plain))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken(root: Path, page: Path, text: str) -> Iterator[str]:
    for match in _LINK.finditer(_FENCE.sub("", text)):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (root / page.parent / path) if path else root / page
        if not file.exists():
            yield f"{page}: {target}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in _anchors(file.read_text()):
            yield f"{page}: {target}: no such heading"


def test_links_inside_the_tree_lead_somewhere(root: Path, tree: list[Path]) -> None:
    pages = list(_markdown(root, tree))
    assert pages
    assert not [line for page, text in pages for line in _broken(root, page, text)]


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One Two\n")
    text = "[x](a.md#one-two) [y](a.md#three) [z](b.md) [w](https://example.org/)\n"
    assert list(_broken(tmp_path, Path("page.md"), text)) == [
        "page.md: a.md#three: no such heading",
        "page.md: b.md: no such file",
    ]


_PARSERS: dict[str, Callable[[str], object]] = {
    "python": parse,
    "json": json.loads,
    "toml": tomllib.loads,
}


@pytest.mark.parametrize("language", sorted(_PARSERS))
def test_code_blocks_parse(root: Path, tree: list[Path], language: str) -> None:
    broken = []
    for page, text in _markdown(root, tree):
        for fence in _FENCE.finditer(text):
            if fence["language"] == language:
                try:
                    _PARSERS[language](textwrap.dedent(fence["body"]))
                except (SyntaxError, ValueError) as error:
                    broken.append(f"{page}:{text[: fence.start()].count(chr(10)) + 1}: {error}")
    assert not broken
