"""Tests read source by a function that a garbage collection cannot disturb."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.syntax import parse

_ROOT = Path(__file__).parents[2]


class _Parses:
    """Garbage that parses source when it is collected, as the log of a lost exception does."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        ast.parse("f(a) + b")


@contextmanager
def _collections() -> Iterator[None]:
    """Collect garbage at every chance."""
    thresholds = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def test_a_collection_does_not_disturb_it() -> None:
    source = "value = [f(x, [y + 1 for y in x]) for x in range(3)]\n" * 50
    expected = ast.dump(ast.parse(source))
    with _collections():
        for _ in range(50):
            _Parses()
            tree = parse(source)
    assert ast.dump(tree) == expected
    assert gc.isenabled()


def test_no_python_is_said() -> None:
    with pytest.raises(SyntaxError):
        parse("1 +")
    assert gc.isenabled()


def test_tests_parse_with_it() -> None:
    own = {_ROOT / "tests" / "syntax.py", Path(__file__)}
    paths = {*_ROOT.glob("tests/**/*.py"), *_ROOT.glob("plugins/*/tests/**/*.py")} - own
    assert len(paths) > 300
    found = {
        str(path.relative_to(_ROOT))
        for path in paths
        for node in ast.walk(parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "ast.parse"
    }
    assert found == set()
