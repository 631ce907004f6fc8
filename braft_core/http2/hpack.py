"""Header compression for HTTP/2: HPACK (RFC 7541).

The decoder keeps a dynamic table as the peer dictates, within a size that this side allows. The
encoder keeps none: it writes literals without indexing, so that an encoded block is a constant that
every connection can share. Neither knows connections.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from braft_core.http2 import huffman

__all__ = ["EMPTY_TABLE", "Decoder", "Field", "InvalidBlock", "encode"]

#: A header field: name and value.
Field = tuple[bytes, bytes]

_STATIC: Final[tuple[Field, ...]] = tuple(
    (name.encode(), value.encode())
    for name, _, value in (
        line.strip().partition(" ")
        for line in """
        :authority
        :method GET
        :method POST
        :path /
        :path /index.html
        :scheme http
        :scheme https
        :status 200
        :status 204
        :status 206
        :status 304
        :status 400
        :status 404
        :status 500
        accept-charset
        accept-encoding gzip, deflate
        accept-language
        accept-ranges
        accept
        access-control-allow-origin
        age
        allow
        authorization
        cache-control
        content-disposition
        content-encoding
        content-language
        content-length
        content-location
        content-range
        content-type
        cookie
        date
        etag
        expect
        expires
        from
        host
        if-match
        if-modified-since
        if-none-match
        if-range
        if-unmodified-since
        last-modified
        link
        location
        max-forwards
        proxy-authenticate
        proxy-authorization
        range
        referer
        refresh
        retry-after
        server
        set-cookie
        strict-transport-security
        transfer-encoding
        user-agent
        vary
        via
        www-authenticate
        """.strip().splitlines()
    )
)
_STATIC_SIZE: Final = len(_STATIC)
#: What a field counts beside its name and value (RFC 7541, section 4.1).
_FIELD_COST: Final = 32
#: Octets after the prefix of an integer: values up to 2^28, more than any limit of a server.
_MAX_INTEGER_OCTETS: Final = 4

#: Sets the size of the encoder's dynamic table to nothing; the beginning of a block (section 6.3).
EMPTY_TABLE: Final = b"\x20"

_FIELD_INDEX: Final = {field: index for index, field in enumerate(_STATIC, 1) if field[1]}
_NAME_INDEX: Final = {name: index for index, (name, _) in reversed([*enumerate(_STATIC, 1)])}


class InvalidBlock(ValueError):
    """A block breaks the rules of HPACK; the two sides' tables may differ from now on."""


class Decoder:
    """Decodes the header blocks of one connection, in order. Not thread-safe.

    Args:
        max_table_size: Upper limit of the dynamic table, as announced to the peer, in octets.
        max_list_size: Largest list of fields to return, in octets as section 4.1 counts them.
    """

    def __init__(self, max_table_size: int = 4096, max_list_size: int = 16384) -> None:
        #: Grows with each change of the dynamic table: equal blocks are equal lists in between.
        self.version = 0
        self._max_table_size = max_table_size
        self._max_list_size = max_list_size
        self._capacity = max_table_size
        self._size = 0
        self._dynamic: list[Field] = []  # the newest first

    @property
    def table_size(self) -> int:
        """Octets that the dynamic table takes now, as section 4.1 counts them."""
        return self._size

    def decode(self, block: bytes) -> list[Field] | None:
        """Return the fields of a block; None if their list is larger than allowed.

        A list that is too large costs no memory, and the table is as the peer expects.

        Raises:
            InvalidBlock: the block is malformed; the connection cannot go on.
        """
        fields: list[Field] = []
        room = self._max_list_size
        position, end = 0, len(block)
        try:
            position = self._update_sizes(block)
            while position < end:
                octet = block[position]
                if octet & 0x80:
                    index, position = self._integer(block, position, 0x7F)
                    field = self._field(index)
                else:
                    field, position = self._literal(block, position)
                room -= len(field[0]) + len(field[1]) + _FIELD_COST
                if room >= 0:
                    fields.append(field)
        except IndexError:
            raise InvalidBlock("a header block ends within a field") from None
        except huffman.InvalidHuffman as error:
            raise InvalidBlock(str(error)) from None
        return fields if room >= 0 else None

    def _update_sizes(self, block: bytes) -> int:
        """Apply the table's new sizes; they stand at the beginning of a block alone."""
        position = 0
        while position < len(block) and block[position] & 0xE0 == 0x20:
            size, position = self._integer(block, position, 0x1F)
            if size > self._max_table_size:
                raise InvalidBlock(
                    f"a dynamic table of {size} octets exceeds {self._max_table_size}"
                )
            self._capacity = size
            self._evict(0)
            self.version += 1
        return position

    def _literal(self, block: bytes, position: int) -> tuple[Field, int]:
        octet = block[position]
        if octet & 0xE0 == 0x20:
            raise InvalidBlock("the size of the dynamic table changes within a header block")
        indexed = octet & 0x40
        index, position = self._integer(block, position, 0x3F if indexed else 0x0F)
        if index:
            name = self._field(index)[0]
        else:
            name, position = self._string(block, position)
        value, position = self._string(block, position)
        field = (name, value)
        if indexed:
            self._insert(field)
        return field, position

    def _field(self, index: int) -> Field:
        if not index:
            raise InvalidBlock("a header field has index 0")
        if index <= _STATIC_SIZE:
            return _STATIC[index - 1]
        index -= _STATIC_SIZE + 1
        if index >= len(self._dynamic):
            raise InvalidBlock(f"no header field has index {index + _STATIC_SIZE + 1}")
        return self._dynamic[index]

    def _insert(self, field: Field) -> None:
        self.version += 1
        cost = len(field[0]) + len(field[1]) + _FIELD_COST
        self._evict(cost)
        if cost <= self._capacity:  # else the table is empty, which is no error (section 4.4)
            self._dynamic.insert(0, field)
            self._size += cost

    def _evict(self, needed: int) -> None:
        while self._dynamic and self._size + needed > self._capacity:
            name, value = self._dynamic.pop()
            self._size -= len(name) + len(value) + _FIELD_COST

    @staticmethod
    def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
        """Return an integer whose prefix are the bits of ``mask``, and where it ends."""
        value = block[position] & mask
        position += 1
        if value < mask:
            return value, position
        for shift in range(0, 7 * _MAX_INTEGER_OCTETS, 7):
            octet = block[position]
            position += 1
            value += (octet & 0x7F) << shift
            if octet < 0x80:
                return value, position
        raise InvalidBlock("an integer of a header block is too large")

    def _string(self, block: bytes, position: int) -> tuple[bytes, int]:
        coded = block[position] & 0x80
        length, position = self._integer(block, position, 0x7F)
        end = position + length
        if end > len(block):
            raise InvalidBlock("a header block ends within a string")
        data = block[position:end]
        return (huffman.decode(data) if coded else data), end


def _encode_integer(value: int, mask: int, flags: int) -> bytes:
    if value < mask:
        return bytes((flags | value,))
    octets = bytearray((flags | mask,))
    value -= mask
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def encode(fields: Iterable[Field]) -> bytes:
    """Return a header block that any connection can send: it uses no dynamic table."""
    parts = []
    for field in fields:
        index = _FIELD_INDEX.get(field)
        if index is not None:
            parts.append(_encode_integer(index, 0x7F, 0x80))
            continue
        name, value = field
        index = _NAME_INDEX.get(name, 0)
        parts.append(_encode_integer(index, 0x0F, 0))
        if not index:
            parts += (_encode_integer(len(name), 0x7F, 0), name)
        parts += (_encode_integer(len(value), 0x7F, 0), value)
    return b"".join(parts)
