"""Read SQLite's write-ahead log, to distinguish a torn last write from damage.

SQLite recovers silently: it drops the first frame that fails its checksum *and every later one*.
After a crash this is right, since a torn write was never acknowledged. But if the disk damaged an
older frame, acknowledged commits are lost silently. With ``synchronous=FULL`` a commit starts only
after the one before it is on disk. So a crash leaves at most **one** commit after the last valid
frame; two or more prove damage.

The file format is the one documented at sqlite.org ("WAL-mode File Format").
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = ["commits_beyond_damage"]

_FILE_HEADER = struct.Struct(">IIIIII")  # magic, version, page size, sequence, salt 1, salt 2
_FRAME_HEADER = struct.Struct(">IIII")  # page, pages after commit (0: no commit), salt 1, salt 2
_CHECKSUM = struct.Struct(">II")
_MAGIC = {0x377F0682: "<II", 0x377F0683: ">II"}  # and the byte order of the checksummed words
_PAGE_SIZES = tuple(1 << bits for bits in range(9, 17))
_MASK = 0xFFFFFFFF

Sums = tuple[int, int]


class _Frame(NamedTuple):
    head: bytes
    sums: Sums
    page: bytes

    @property
    def commits(self) -> bool:
        return bool(_FRAME_HEADER.unpack(self.head)[1])

    @property
    def salts(self) -> tuple[int, ...]:
        return _FRAME_HEADER.unpack(self.head)[2:]


def commits_beyond_damage(wal: Path) -> int:
    """Count the commits after the last frame that SQLite accepts.

    The count is 0 for an undamaged, empty or missing file.

    :raises OSError: the file cannot be read.
    """
    try:
        with wal.open("rb") as file:
            return _scan(file)
    except FileNotFoundError:
        return 0


def _scan(file: BinaryIO) -> int:
    header = file.read(_FILE_HEADER.size + _CHECKSUM.size)
    if len(header) < _FILE_HEADER.size + _CHECKSUM.size:
        return 0
    magic, _, page_size, _, *salts = _FILE_HEADER.unpack_from(header)
    order = _MAGIC.get(magic)
    sums = _CHECKSUM.unpack_from(header, _FILE_HEADER.size)
    if order is None or _sum(order, header[: _FILE_HEADER.size], (0, 0)) != sums:
        # SQLite then drops every frame. The header cannot be trusted, so try all page sizes; a
        # wrong one finds at most one commit.
        return max(_commits(file, size) for size in _PAGE_SIZES)
    intact = True
    beyond = 0
    for frame in _frames(file, page_size):
        if frame.salts != tuple(salts):
            break
        if intact:
            sums = _sum(order, frame.page, _sum(order, frame.head[: _CHECKSUM.size], sums))
            intact = sums == frame.sums
        if not intact:
            beyond += frame.commits
    return beyond


def _commits(file: BinaryIO, page_size: int) -> int:
    """Count the commits with the salts of the first frame."""
    file.seek(_FILE_HEADER.size + _CHECKSUM.size)
    found, generation = 0, None
    for frame in _frames(file, page_size):
        if generation is None:
            generation = frame.salts
        if frame.salts != generation:
            break
        found += frame.commits
    return found


def _frames(file: BinaryIO, page_size: int) -> Iterator[_Frame]:
    head_size = _FRAME_HEADER.size
    size = head_size + _CHECKSUM.size + page_size
    while len(data := file.read(size)) == size:
        sums = _CHECKSUM.unpack_from(data, head_size)
        yield _Frame(data[:head_size], sums, data[head_size + _CHECKSUM.size :])


def _sum(order: str, data: bytes, sums: Sums) -> Sums:
    first, second = sums
    for one, two in struct.iter_unpack(order, data):
        first = (first + one + second) & _MASK
        second = (second + two + first) & _MASK
    return first, second
