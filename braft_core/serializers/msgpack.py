"""The default serializer: plain values as msgpack.

Decoding needs memory in proportion to the input. This module decides what of the format is
accepted. Must not know what the bytes are used for.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, ClassVar, Final

import msgpack

from braft_core.abc import Serializer
from braft_core.encoding_cost import MAX_VALUES, is_cheap
from braft_core.errors import DecodeError
from braft_core.gc_pause import gc_paused
from braft_core.serializers.plain import check_plain

__all__ = ["MsgpackSerializer"]

# The library decodes a timestamp extension without calling a hook. So data that may contain one
# of its three headers is checked after decoding; checking every value would cost too much.
_FIXEXT4: Final = b"\xd6\xff"
_FIXEXT8: Final = b"\xd7\xff"
_EXT12: Final = b"\xc7\x0c\xff"
#: Bytes that are decoded at once. Meanwhile the GIL is held, and the consensus loop may have to
#: wait with a heartbeat.
_SLICE: Final = 64 << 10
#: Values that are encoded at once, for the same reason: this takes a few milliseconds.
_AT_ONCE: Final = 64 << 10
#: Packers that nobody uses at the moment; to make one takes longer than to pack a command. Taken
#: out while in use, because a finalizer or another thread may encode meanwhile.
_idle_packers: list[msgpack.Packer] = []
#: A packer is not kept after longer results than this, because its buffer never shrinks.
_KEPT_BUFFER: Final = 256 << 10
#: Types that are not containers.
_SINGLE: Final = frozenset({type(None), bool, int, float, str, bytes})
_NIL: Final = b"\xc0"
#: The last byte of all three. Searching one byte takes a tenth of the time of searching three.
_FF: Final = b"\xff"


class MsgpackSerializer(Serializer):
    """Plain values (:mod:`braft_core.serializers.plain`) as msgpack. Stateless and thread-safe.

    Floats are encoded with 64 bits, NaN and infinities included. Decoding refuses extension types,
    keys that are not text and duplicate keys. It accepts encodings that are not minimal, and deeper
    nesting than :meth:`dumps` does, up to the library's own limit of 1024.
    """

    name: ClassVar[str] = "msgpack"
    tag: ClassVar[int] = 1

    def dumps(self, value: Any) -> bytes:
        """Encode a value. :raises TypeError: it is not plain; names what is wrong."""
        if check_plain(value) > _AT_ONCE:
            return b"".join(_packed(value, msgpack.Packer()))
        return _packed_at_once(value)

    def dumps_slowly(self, value: Any, size: int) -> Iterator[bytes]:
        """Return the bytes of :meth:`dumps` in pieces of ``size``, for large values.

        Other threads can run between the pieces. The value must not change meanwhile.

        :raises TypeError: as :meth:`dumps`, before the first piece.
        """
        check_plain(value)
        return _joined(_packed(value, msgpack.Packer()), size)

    def loads(self, data: bytes) -> Any:
        """Decode exactly one value. :raises DecodeError: the data is anything else."""
        try:
            # unpackb, called without limits, bounds every length by the size of the input.
            value = (
                msgpack.unpackb(data, object_pairs_hook=_to_dict, ext_hook=_refuse_extension)
                if len(data) <= _SLICE
                else _unpack_slowly(data)
            )
            if _FF in data and _may_hold_a_timestamp(data):
                check_plain(value)
        except Exception as error:  # the library may also raise errors that are not its own
            detail = str(error) or type(error).__name__
            raise DecodeError(
                f"not a msgpack value ({len(data)} bytes): {detail}", size=len(data)
            ) from error
        return value


def _packed_at_once(value: Any) -> bytes:
    try:
        packer = _idle_packers.pop()
    except IndexError:
        packer = msgpack.Packer()
    packed: bytes = packer.pack(value)
    if len(packed) <= _KEPT_BUFFER:
        _idle_packers.append(packer)
    return packed


def _may_hold_a_timestamp(data: bytes) -> bool:
    if len(data) > _SLICE:
        step = _SLICE - len(_EXT12)
        return any(
            _may_hold_a_timestamp(data[start : start + _SLICE])
            for start in range(0, len(data), step)
        )
    return _FF in data and (_FIXEXT4 in data or _FIXEXT8 in data or _EXT12 in data)


def _packed(value: Any, packer: msgpack.Packer) -> Iterator[bytes]:
    """Yield the bytes of a plain value in many small pieces."""
    if type(value) in _SINGLE or is_cheap(value):
        yield packer.pack(value)
    elif type(value) is dict:
        yield packer.pack_map_header(len(value))
        yield from _in_groups(chain.from_iterable(value.items()), packer)
    else:
        yield packer.pack_array_header(len(value))
        yield from _in_groups(iter(value), packer)


def _in_groups(values: Iterator[Any], packer: msgpack.Packer) -> Iterator[bytes]:
    """Yield the bytes of several values, many at once if they are not containers."""
    while group := list(islice(values, MAX_VALUES)):
        if any(value and type(value) not in _SINGLE for value in group):
            for value in group:
                yield from _packed(value, packer)
        else:
            yield b"".join(map(packer.pack, group))


def _joined(parts: Iterator[bytes], size: int) -> Iterator[bytes]:
    few: list[bytes] = []
    length = 0
    for part in parts:
        few.append(part)
        length += len(part)
        if length >= size:
            data = b"".join(few)
            whole = length - length % size
            yield from (data[start : start + size] for start in range(0, whole, size))
            few, length = [data[whole:]], length - whole
    if length:
        yield b"".join(few)


def _unpack_slowly(data: bytes) -> Any:
    """Decode like ``unpackb``, but let other threads run after each :data:`_SLICE`."""
    unpacker = msgpack.Unpacker(
        object_pairs_hook=_to_dict, ext_hook=_refuse_extension, max_buffer_size=len(data) + 1
    )
    values: list[Any] = []
    for start in range(0, len(data), _SLICE):
        unpacker.feed(data[start : start + _SLICE])
        with gc_paused():
            values += unpacker
        if len(values) > 1:
            raise ValueError("more than one value")
    # An incomplete value in the unpacker would absorb this one.
    unpacker.feed(_NIL)
    values += unpacker
    if len(values) != 2 or values[1] is not None:
        raise ValueError("the end is missing")
    return values[0]


def _to_dict(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice in a map")
    for key in value:
        if type(key) is not str:
            raise ValueError(f"the map key {key!r} is not text")
    return value


def _refuse_extension(code: int, data: bytes) -> object:
    raise ValueError(f"extension type {code} ({len(data)} bytes) is not a plain value")
