"""Large values as JSON, in pieces that other threads can come between.

``json.dumps`` is one call of C code: until it returns no other thread runs, and the consensus
loop sends no heartbeat. What is small is left to it (:mod:`braft_core.jsontext`); what is large is
taken apart, and its parts are left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from braft_core import jsontext
from braft_core.weight import PARTS, is_light, room_left, weight_of

__all__ = ["encode", "pieces"]

#: Deeper, no value of the log can be.
_MAX_DEPTH: Final = 200
_BETWEEN: Final = ", "


def encode(value: Any) -> bytes:
    """Return what :func:`braft_core.jsontext.encode` does, however large, in many small steps."""
    return b"".join([piece.encode() for piece in pieces(value)])


def pieces(value: Any, depth: int = 0) -> Iterator[str]:
    """The text of :func:`braft_core.jsontext.dumps` in pieces.

    A piece has up to :data:`~braft_core.weight.PARTS` values, and up to
    :data:`~braft_core.weight.TEXT` characters where it is not one text.
    """
    if depth == _MAX_DEPTH or not isinstance(value, dict | list | tuple) or is_light(value):
        yield jsontext.dumps(value)
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
    """The pieces of a dict, as many small entries in one as it may have."""
    few: dict[Any, Any] = {}
    room = PARTS
    for key, item in value.items():
        room = room_left(item, room - 1 - weight_of(key))
        if room <= 0:
            if few:
                yield _inside(few)
            few, room = {}, room_left(item, PARTS - 1 - weight_of(key))
        if room > 0:
            few[key] = item
        else:
            yield _large_entry(key, item, depth)
            room = PARTS
    if few:
        yield _inside(few)


def _elements(value: list[Any] | tuple[Any, ...], depth: int) -> Iterator[Iterator[str]]:
    """The pieces of a list."""
    few: list[Any] = []
    room = PARTS
    for item in value:
        room = room_left(item, room)
        if room <= 0:
            if few:
                yield _inside(few)
            few, room = [], room_left(item, PARTS)
        if room > 0:
            few.append(item)
        else:
            yield pieces(item, depth)
            room = PARTS
    if few:
        yield _inside(few)


def _inside(few: dict[Any, Any] | list[Any]) -> Iterator[str]:
    yield jsontext.dumps(few)[1:-1]


def _large_entry(key: Any, item: Any, depth: int) -> Iterator[str]:
    yield jsontext.dumps({key: 0})[1:-2]
    yield from pieces(item, depth)
