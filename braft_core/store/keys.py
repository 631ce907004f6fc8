"""Keys and ranges of keys, as callers give them and as the service ``store`` takes them."""

from __future__ import annotations

from typing import TypeAlias

from braft_core.errors import InvalidArgument

__all__ = ["Bytes", "as_bytes", "as_range"]

#: A key or a value; text is encoded as UTF-8.
Bytes: TypeAlias = bytes | str

#: As the end of a range: all keys from its begin on.
_ALL = b"\0"


def as_bytes(what: str, given: Bytes) -> bytes:
    """Return a key or value as bytes. :raises InvalidArgument: it is neither bytes nor text."""
    if type(given) is bytes:
        return given
    try:
        if isinstance(given, str):
            return given.encode()
        if isinstance(given, bytes):
            return bytes(given)
    except UnicodeEncodeError as error:
        raise _refused(what, given) from error
    raise _refused(what, given)


def _refused(what: str, given: object) -> InvalidArgument:
    shown = repr(given)[:80]
    return InvalidArgument(
        f"the {what} is {shown}; accepted: bytes, or text in valid UTF-8", **{what: shown}
    )


def as_range(prefix: Bytes | None, start: Bytes | None, end: Bytes | None) -> tuple[bytes, bytes]:
    """Return the range of a prefix, or from ``start`` to before ``end``; all keys without any.

    :raises InvalidArgument: both a prefix and an end of a range are given.
    """
    if prefix is not None:
        if start is not None or end is not None:
            raise InvalidArgument(
                f"prefix {prefix!r:.80} is given together with start or end; accepted: either"
            )
        return _of_prefix(as_bytes("prefix", prefix))
    begin = _ALL if start is None else as_bytes("start", start) or _ALL
    return begin, _ALL if end is None else as_bytes("end", end)


def _of_prefix(prefix: bytes) -> tuple[bytes, bytes]:
    """Return the range of all keys that begin with the prefix."""
    stem = prefix.rstrip(b"\xff")
    if not stem:
        return prefix or _ALL, _ALL
    return prefix, stem[:-1] + bytes((stem[-1] + 1,))
