"""Checks the size of protobuf messages before they are parsed. Pure.

Protobuf makes an object of each element of a repeated field, and an element can take two bytes: a
message of 15 MiB can become eight million objects.
"""

from __future__ import annotations

from braft_core.errors import DecodeError

__all__ = ["check_count", "check_size"]

#: Wire type of length-delimited fields: bytes, strings, messages.
_DELIMITED = 2


def check_size(what: str, data: bytes, most: int) -> None:
    """Refuse more than ``most`` bytes. :raises DecodeError: naming ``what`` and the size."""
    if len(data) > most:
        raise DecodeError(f"{what} of {len(data)} bytes; at most {most} are accepted")


def check_count(what: str, data: bytes, field: int, most: int) -> None:
    """Refuse a message with more than ``most`` elements in a repeated field of number 1 to 15.

    Each element begins with the same byte, so counting that byte gives an upper bound. Only if the
    bound exceeds ``most`` are the elements themselves counted.

    :raises DecodeError: naming ``what`` and the limit.
    """
    tag = bytes((field << 3 | _DELIMITED,))
    if len(data) > most and data.count(tag) > most and _elements(data, tag[0], most) > most:
        raise DecodeError(f"too many {what}: at most {most} are accepted")


def _elements(data: bytes, tag: int, most: int) -> int:
    """Count the elements, at most up to ``most + 1``. Malformed input is left to the parser."""
    found = at = 0
    end = len(data)
    while at < end and found <= most:
        wire = data[at] & 7
        found += data[at] == tag
        at = _behind_number(data, at)
        if wire == 0:
            at = _behind_number(data, at)
        elif wire == 1:
            at += 8
        elif wire == _DELIMITED:
            length, at = _number(data, at)
            at += length
        elif wire == 5:
            at += 4
        else:  # a group: unused by our schema, and not countable this way
            return most + 1
    return found


def _behind_number(data: bytes, at: int) -> int:
    while at < len(data) and data[at] & 128:
        at += 1
    return at + 1


def _number(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data):
        byte = data[at]
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            return len(data), at
    return number, at
