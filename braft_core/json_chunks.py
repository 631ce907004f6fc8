"""Encodes large values as JSON in chunks, so that other threads can run in between.

``json.dumps`` is one call of C code that holds the interpreter's lock: meanwhile the consensus
loop sends no heartbeat. Small values go to it whole (:mod:`braft_core.strict_json`), large ones in
parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from braft_core import strict_json
from braft_core.encoding_cost import MAX_VALUES, is_cheap, remaining_budget, text_cost

__all__ = ["encode", "iter_chunks"]

#: Deeper values are left to strict_json, which replaces them; values of the log are less deep.
_MAX_DEPTH: Final = 200
_BETWEEN: Final = ", "


def encode(value: Any) -> bytes:
    """Return what :func:`braft_core.strict_json.encode` returns, in many small steps."""
    return b"".join([chunk.encode() for chunk in iter_chunks(value)])


def iter_chunks(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the text of :func:`braft_core.strict_json.dumps` in chunks.

    A chunk has up to :data:`~braft_core.encoding_cost.MAX_VALUES` values, and up to
    :data:`~braft_core.encoding_cost.MAX_CHARACTERS` characters unless it is a single string.
    """
    if depth == _MAX_DEPTH or not isinstance(value, dict | list | tuple) or is_cheap(value):
        yield strict_json.dumps(value)
    elif isinstance(value, dict):
        yield "{"
        yield from _joined(_entries(value, depth + 1))
        yield "}"
    else:
        yield "["
        yield from _joined(_elements(value, depth + 1))
        yield "]"


def _joined(groups: Iterable[Iterator[str]]) -> Iterator[str]:
    between = ""
    for group in groups:
        yield between
        yield from group
        between = _BETWEEN


def _entries(value: dict[Any, Any], depth: int) -> Iterator[Iterator[str]]:
    """Yield the chunks of a dict; small entries share a chunk."""
    few: dict[Any, Any] = {}
    room = MAX_VALUES
    for key, item in value.items():
        room = remaining_budget(item, room - 1 - text_cost(key))
        if room <= 0:
            if few:
                yield _without_brackets(few)
            few, room = {}, remaining_budget(item, MAX_VALUES - 1 - text_cost(key))
        if room > 0:
            few[key] = item
        else:
            yield _large_entry(key, item, depth)
            room = MAX_VALUES
    if few:
        yield _without_brackets(few)


def _elements(value: list[Any] | tuple[Any, ...], depth: int) -> Iterator[Iterator[str]]:
    """Yield the chunks of a list; small elements share a chunk."""
    few: list[Any] = []
    room = MAX_VALUES
    for item in value:
        room = remaining_budget(item, room)
        if room <= 0:
            if few:
                yield _without_brackets(few)
            few, room = [], remaining_budget(item, MAX_VALUES)
        if room > 0:
            few.append(item)
        else:
            yield iter_chunks(item, depth)
            room = MAX_VALUES
    if few:
        yield _without_brackets(few)


def _without_brackets(few: dict[Any, Any] | list[Any]) -> Iterator[str]:
    yield strict_json.dumps(few)[1:-1]


def _large_entry(key: Any, item: Any, depth: int) -> Iterator[str]:
    yield strict_json.dumps({key: 0})[1:-2]
    yield from iter_chunks(item, depth)
