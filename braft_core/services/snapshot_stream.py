"""The framing of a snapshot: one section per service, in length-prefixed pieces.

``b"braft-sm"`` and one byte of format version, then a section for each service: its name (two bytes
of length, UTF-8) and its pieces (four bytes of length each, big-endian). A piece of length 0 ends a
section, a name of length 0 the snapshot. Reads and writes as a stream. Must not know what a section
holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from braft_core.errors import DecodeError

__all__ = ["read_sections", "write_sections"]

_MAGIC = b"braft-sm\x01"
#: Largest piece, bytes. A reader must be able to hold one.
_PIECE = 1 << 20


def write_sections(sections: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield the bytes of a snapshot."""
    yield _MAGIC
    for name, chunks in sections:
        encoded = name.encode()
        yield len(encoded).to_bytes(2, "big") + encoded
        for chunk in chunks:
            for start in range(0, len(chunk), _PIECE):
                piece = chunk[start : start + _PIECE]
                yield len(piece).to_bytes(4, "big")
                yield piece
        yield bytes(4)
    yield bytes(2)


def read_sections(chunks: Iterable[bytes]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield names and sections in order. The unread rest of a section is skipped.

    :raises DecodeError: while iterating: the bytes are not a whole snapshot.
    """
    stream = _Stream(chunks)
    if stream.exactly(len(_MAGIC)) != _MAGIC:
        raise DecodeError("not a snapshot of a state machine, or of a newer format")
    while size := stream.number(2):
        section = _pieces(stream)
        yield _name(stream.exactly(size)), section
        for _ in section:
            pass
    stream.expect_end()


def _name(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"not a snapshot: the name of a section: {error}") from error


def _pieces(stream: _Stream) -> Iterator[bytes]:
    while size := stream.number(4):
        if size > _PIECE:
            raise DecodeError(f"not a snapshot: a piece of {size} bytes")
        yield stream.exactly(size)


class _Stream:
    """Reads exact numbers of bytes from chunks of any size."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def exactly(self, size: int) -> bytes:
        parts, missing = [self._rest], size - len(self._rest)
        while missing > 0:
            part = next(self._chunks, None)
            if part is None:
                raise DecodeError(f"not a whole snapshot: {missing} bytes are missing")
            parts.append(part)
            missing -= len(part)
        data = b"".join(parts) if len(parts) > 1 else parts[0]
        self._rest = data[size:]
        return data[:size]

    def number(self, size: int) -> int:
        return int.from_bytes(self.exactly(size), "big")

    def expect_end(self) -> None:
        if any(chain((self._rest,), self._chunks)):
            raise DecodeError("not a snapshot: bytes after its end")
