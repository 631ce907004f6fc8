"""Keys and ranges of keys, as callers give them and as the service ``store`` takes them."""

from __future__ import annotations

from typing import Final, TypeAlias

from braft_core.errors import InvalidArgument

__all__ = ["ALL", "Bytes", "as_bytes", "as_range", "as_span", "as_watched"]

#: A key or a value; text is encoded as UTF-8.
Bytes: TypeAlias = bytes | str

#: As the end of a range: all keys from its begin on.
ALL: Final = b"\0"


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

    :raises InvalidArgument: both a prefix and an end of a range are given, or no key is before the
        end.
    """
    if prefix is not None:
        if start is not None or end is not None:
            raise InvalidArgument(
                f"prefix {prefix!r:.80} is given together with start or end; accepted: either"
            )
        return _of_prefix(as_bytes("prefix", prefix))
    begin = ALL if start is None else as_bytes("start", start) or ALL
    if end is None:
        return begin, ALL
    last = as_bytes("end", end)
    if last in (b"", ALL):
        # No key is before these. The service takes them for the first key alone, and for all keys.
        raise InvalidArgument(
            f"end is {last!r}; accepted: the key before which the range ends, or none"
        )
    return begin, last


def as_span(
    key: Bytes | None, prefix: Bytes | None, start: Bytes | None, end: Bytes | None
) -> tuple[bytes, bytes]:
    """Return a key with an empty end, or a range.

    :raises InvalidArgument: neither a key nor a range is given, or both.
    """
    is_range = prefix is not None or start is not None or end is not None
    if (key is not None) == is_range:
        raise InvalidArgument(
            f"key is {key!r:.80} and the range is {(prefix, start, end)!r:.80}; accepted: a key, "
            "or a prefix, or a start and an end"
        )
    if key is not None:
        return as_bytes("key", key), b""
    return as_range(prefix, start, end)


def as_watched(
    key: Bytes | None, prefix: Bytes | None, start: Bytes | None, end: Bytes | None
) -> tuple[bytes, bytes]:
    """Return a key with an empty end, or a range; all keys without any.

    :raises InvalidArgument: a key is given together with a range.
    """
    if key is None:
        return as_range(prefix, start, end)
    return as_span(key, prefix, start, end)


def _of_prefix(prefix: bytes) -> tuple[bytes, bytes]:
    """Return the range of all keys that begin with the prefix."""
    stem = prefix.rstrip(b"\xff")
    if not stem:
        return prefix or ALL, ALL
    return prefix, stem[:-1] + bytes((stem[-1] + 1,))
