"""JSON to and from bytes without holding the interpreter's lock for long.

``json.dumps`` and ``json.loads`` are one call of C code each: no other thread runs until it
returns, the consensus loop's heartbeats included. Small values are left to them. What is large is
taken apart, and the parts are left to them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from json import scanner
from typing import Any, NoReturn

__all__ = ["MAX_PARTS", "json_default", "json_pieces", "loads"]

#: Values within one value, and characters of text, that are encoded in one go: some milliseconds.
PIECE_PARTS = 4096
PIECE_TEXT = 256 << 10
#: Bytes of JSON that are decoded in one go.
_QUICK = 64 << 10
#: Most values within one document. As many bytes, the least that they take, are more than a
#: command can carry by default.
MAX_PARTS = 1_500_000

_SEPARATOR = ", "


def json_pieces(value: Any) -> Iterator[str]:
    """The JSON of ``value``, as one text in pieces that other threads can come between."""
    if _room_left(value, PIECE_PARTS) > 0:
        yield _dumps(value)
    elif isinstance(value, dict):
        yield "{"
        yield from _joined(_entries(value))
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        yield from _joined(_elements(value))
        yield "]"
    else:
        yield _dumps(value)  # a long text is encoded by copying


def loads(body: bytes) -> Any:
    """The value that strict JSON (no NaN) stands for.

    :raises ValueError: it is not JSON, or has more than :data:`MAX_PARTS` values.
    """
    if len(body) <= _QUICK:
        return json.loads(body, parse_constant=_refuse_constant)
    # Each comma and each bracket is a part, or within text, where it takes a byte as well.
    parts = max(body.count(b",") + 1, body.count(b"[") + body.count(b"{"))
    if parts > MAX_PARTS:
        raise ValueError(f"at least {parts} values in one document, accepted are {MAX_PARTS}")
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    if parts > PIECE_PARTS:
        # The same rules in Python, five times slower, with room for other threads.
        decoder.scan_once = scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    return decoder.decode(body.decode(json.detect_encoding(body), "surrogatepass"))


def json_default(value: object) -> str:
    """Bytes within JSON travel as base64, as in the original's."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=json_default)


def _room_left(value: Any, room: int) -> int:
    """What of ``room`` parts the value leaves; nothing below 0 is counted."""
    room -= 1
    if isinstance(value, str | bytes):
        return room - len(value) * PIECE_PARTS // PIECE_TEXT
    if isinstance(value, dict):
        if len(value) >= room:
            return 0
        for key, item in value.items():
            room = _room_left(item, room - 1 - len(key) * PIECE_PARTS // PIECE_TEXT)
            if room <= 0:
                break
    elif isinstance(value, list | tuple):
        if len(value) >= room:
            return 0
        for item in value:
            room = _room_left(item, room)
            if room <= 0:
                break
    return room


def _joined(groups: Iterator[Iterator[str]]) -> Iterator[str]:
    for number, group in enumerate(groups):
        if number:
            yield _SEPARATOR
        yield from group


def _entries(value: dict[Any, Any]) -> Iterator[Iterator[str]]:
    """The pieces of a dict's entries, as many together as are quick."""
    few: dict[Any, Any] = {}
    room = PIECE_PARTS
    for key, item in value.items():
        left = _room_left(item, room - 1)
        if left > 0:
            few[key], room = item, left
            continue
        if few:
            yield iter((_dumps(few)[1:-1],))
        few, room = {key: item}, _room_left(item, PIECE_PARTS - 1)
        if room <= 0:
            yield _large_entry(key, item)
            few, room = {}, PIECE_PARTS
    if few:
        yield iter((_dumps(few)[1:-1],))


def _large_entry(key: Any, item: Any) -> Iterator[str]:
    yield _dumps({key: 0})[1:-2]
    yield from json_pieces(item)


def _elements(value: list[Any] | tuple[Any, ...]) -> Iterator[Iterator[str]]:
    """The same of a list's elements."""
    few: list[Any] = []
    room = PIECE_PARTS
    for item in value:
        left = _room_left(item, room)
        if left > 0:
            few.append(item)
            room = left
            continue
        if few:
            yield iter((_dumps(few)[1:-1],))
        few, room = [item], _room_left(item, PIECE_PARTS)
        if room <= 0:
            yield json_pieces(item)
            few, room = [], PIECE_PARTS
    if few:
        yield iter((_dumps(few)[1:-1],))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
