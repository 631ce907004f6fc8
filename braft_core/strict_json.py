"""Encodes and decodes strict JSON (RFC 8259).

Python's ``json`` writes ``NaN``, which other parsers refuse, and fails on values that a service or
another node may return. All JSON that braft writes comes from here. Values without a JSON form are
encoded so:

* NaN and the infinities: the texts ``"NaN"``, ``"Infinity"``, ``"-Infinity"``, as in protobuf;
* bytes: base64;
* lone surrogates in a text: their escapes, as visible text (``\\udc80``);
* integers of more digits than Python prints: hexadecimal text;
* a cycle, or a value nested too deeply: a text that says so.

Decoding refuses what could not be encoded again: NaN and infinities, numbers beyond 64 bits,
duplicate keys, lone surrogates, text that is not UTF-8.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from json import scanner
from typing import Any, Final, NoReturn

__all__ = ["MAX_DEPTH", "dumps", "encode", "loads", "loads_lenient"]

#: Deepest nesting that is decoded.
MAX_DEPTH: Final = 64
#: Deepest nesting that is encoded; values of the log are at most 128 deep.
_MAX_WRITTEN_DEPTH: Final = 200
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
#: Most characters parsed by C code, which holds the interpreter's lock. Longer texts are parsed in
#: Python: five times slower, but other threads can run.
_QUICK: Final = 64 << 10

_Other = Callable[[object], object]


def dumps(
    value: Any, *, anything: bool = False, ascii_only: bool = False, indent: int | None = None
) -> str:
    """Return ``value`` as JSON text that encodes to UTF-8.

    :param anything: encode an object of another type as its ``str``.
    :param indent: spaces of indentation per level; ``None`` for one line.
    :param ascii_only: escape characters beyond ASCII, for a stream of unknown encoding.
    :raises TypeError: there is an object of another type, and ``anything`` is off.
    """
    other = _shown if anything else _refuse_object
    try:
        text = _write(value, other, indent)
        text.encode()
    except (ValueError, TypeError, RecursionError):
        text = _write(_written(value, other, ()), other, indent)
    return text if not ascii_only or text.isascii() else _escaped(text)


def encode(value: Any, *, anything: bool = False) -> bytes:
    """Return the text of :func:`dumps` in UTF-8."""
    return dumps(value, anything=anything).encode()


def loads(data: str | bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Parse strict JSON of values that any serializer can carry.

    :raises ValueError: it is not; the message says why.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value = _parsed(text)
        _check(value, max_depth)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _parsed(text: str) -> Any:
    decoder = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)
    # Both scanners read strings in C, so only the number of values matters.
    if len(text) > _QUICK and text.count(",") + text.count("[") + text.count("{") > _QUICK // 16:
        decoder.scan_once = scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    return decoder.decode(text)


def loads_lenient(data: str | bytes) -> Any:
    """Parse JSON of another node, which may have ``NaN``.

    :raises ValueError: it is not JSON.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _write(value: Any, other: _Other, indent: int | None) -> str:
    def default(found: object) -> object:
        return _base64(found) if isinstance(found, bytes | bytearray | memoryview) else other(found)

    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=default, indent=indent)


def _escaped(text: str) -> str:
    """Return JSON text in ASCII; only strings can have other characters."""
    units = text.encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    return "".join(chr(code) if code < 0x80 else f"\\u{code:04x}" for code in codes)


def _written(value: Any, other: _Other, around: tuple[int, ...]) -> Any:
    """Return a copy that JSON can represent. ``around``: ids of the enclosing containers."""
    if isinstance(value, str):
        return _visible(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _constant(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _base64(value)
    if not isinstance(value, dict | list | tuple):
        return _written(other(value), other, around)
    if id(value) in around:
        return "(a value within itself)"
    if len(around) == _MAX_WRITTEN_DEPTH:
        return f"(nested more than {_MAX_WRITTEN_DEPTH} deep)"
    within = (*around, id(value))
    if isinstance(value, dict):
        return {_key(key): _written(item, other, within) for key, item in value.items()}
    return [_written(item, other, within) for item in value]


def _key(key: object) -> str:
    form = _written(key, _shown, ()) if not isinstance(key, dict | list | tuple) else _shown(key)
    return form if isinstance(form, str) else json.dumps(form)


def _integer(value: int) -> int | str:
    try:
        int.__repr__(value)
    except ValueError:  # more digits than the interpreter prints
        return hex(value)
    return int(value)


def _constant(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _base64(value: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(value).decode()


def _visible(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _shown(value: object) -> str:
    try:
        return _visible(str(value))
    except Exception:  # noqa: BLE001 - a class's own __str__ may raise anything
        return f"({type(value).__name__}, which cannot be shown)"


def _refuse_object(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError(f"the key {_first_repeated(pairs)!r:.80} appears twice in an object")
    return value


def _first_repeated(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    return ""


def _check(value: Any, depth: int) -> None:
    """Refuse JSON that cannot be replicated."""
    if depth == 0:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth - 1)
            _check(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth - 1)
    elif isinstance(value, str):
        value.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    elif isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
        raise ValueError(f"integers are within {_INT_MIN} and {_INT_MAX}")
    elif isinstance(value, float) and math.isinf(value):
        raise ValueError("a number is too large for a 64-bit float")
