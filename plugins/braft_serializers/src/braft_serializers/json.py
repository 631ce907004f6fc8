"""JSON (RFC 8259): plain values as text that people and other tools can read.

Values that JSON lacks are objects with one key that begins with ``$``: bytes are
``{"$b64": "aGk="}``, the infinities ``{"$float": "inf"}`` and ``{"$float": "-inf"}``. A dict's own
keys that begin with ``$`` get a second ``$``, so that every plain value is decoded as it was.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any, ClassVar, Final

from braft_core.abc import Serializer
from braft_core.errors import DecodeError
from braft_core.serializers import INT_MAX, INT_MIN, MAX_DEPTH, check_plain

__all__ = ["JsonSerializer"]

_BYTES: Final = "$b64"
_FLOAT: Final = "$float"
_INFINITIES: Final = {"inf": math.inf, "-inf": -math.inf}


class JsonSerializer(Serializer):
    """Plain values as compact UTF-8 JSON. Stateless and thread-safe.

    NaN is refused. Decoding refuses space around the value, duplicate keys, bare ``NaN`` and
    ``Infinity``, numbers out of range and escapes of lone surrogates.
    """

    name: ClassVar[str] = "json"
    tag: ClassVar[int] = 3

    def dumps(self, value: Any) -> bytes:
        """Encode a value. :raises TypeError: it is NaN or not plain; names what is wrong."""
        check_plain(value)
        escaped = _escape(value)
        text = json.dumps(escaped, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()

    def loads(self, data: bytes) -> Any:
        """Decode exactly one value. :raises DecodeError: the data is anything else."""
        try:
            return _decode(data)
        except (ValueError, TypeError, RecursionError) as error:
            raise DecodeError(
                f"not a JSON value ({len(data)} bytes): {error}", size=len(data)
            ) from error


def _escape(value: Any) -> Any:
    if type(value) is list or type(value) is tuple:
        return [_escape(item) for item in value]
    if type(value) is dict:
        return {_escape_key(key): _escape(item) for key, item in value.items()}
    if type(value) is bytes:
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    if type(value) is float and not math.isfinite(value):
        _refuse_nan(value)
        return {_FLOAT: "inf" if value > 0 else "-inf"}
    return value


def _escape_key(key: str) -> str:
    return f"${key}" if key.startswith("$") else key


def _refuse_nan(value: float) -> None:
    if math.isnan(value):
        raise TypeError("NaN has no JSON form; send None, or use the msgpack or cbor serializer")


def _decode(data: bytes) -> Any:
    text = data.decode("utf-8")
    if text.strip() != text:
        raise ValueError("space before or after the value")
    value = json.loads(
        text,
        object_pairs_hook=_unescape,
        parse_int=_to_int,
        parse_float=_to_float,
        parse_constant=_refuse_constant,
    )
    # Only an escape can produce a lone surrogate, and only many brackets can nest too deep.
    if "\\u" in text or text.count("[") + text.count("{") > MAX_DEPTH:
        check_plain(value)
    return value


def _unescape(pairs: list[tuple[str, Any]]) -> Any:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice in an object")
    if not any(key.startswith("$") for key in value):
        return value
    if len(value) == 1 and _BYTES in value:
        return _to_bytes(value[_BYTES])
    if len(value) == 1 and _FLOAT in value:
        return _to_infinity(value[_FLOAT])
    return {_unescape_key(key): item for key, item in value.items()}


def _unescape_key(key: str) -> str:
    if key.startswith("$$"):
        return key[1:]
    if key.startswith("$"):
        raise ValueError(f"{key!r} is no form that this serializer writes")
    return key


def _to_bytes(text: Any) -> bytes:
    if type(text) is not str:
        raise ValueError(f"{_BYTES!r} holds no text")
    value = base64.b64decode(text, validate=True)
    if base64.b64encode(value).decode("ascii") != text:
        raise ValueError(f"{_BYTES!r} holds base64 that is not canonical")
    return value


def _to_infinity(text: Any) -> float:
    if type(text) is not str or text not in _INFINITIES:
        raise ValueError(f"{_FLOAT!r} holds neither 'inf' nor '-inf'")
    return _INFINITIES[text]


def _to_int(text: str) -> int:
    value = int(text)
    if not INT_MIN <= value <= INT_MAX:
        raise ValueError("an int beyond -2**63 to 2**64-1")
    return value


def _to_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is beyond the range of a float")
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")
