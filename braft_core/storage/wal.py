"""Reads SQLite's write-ahead log from outside, to tell a torn last write from damage.

SQLite recovers silently: at the first frame that fails its checksum it forgets that frame *and
every later one*. After a crash this is right, for a torn write was never acknowledged. If the disk
damaged an older frame it would lose acknowledged commits without a word. With
``synchronous=FULL`` a commit begins only after the one before it is on the disk, so a crash can
leave at most **one** commit behind the last valid frame. Two or more are proof of damage.

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
    """How many commits follow the first frame that SQLite will not accept.

    0 for a whole, empty or missing file.

    :raises OSError: if the file cannot be read.
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
        # SQLite forgets every frame then. Nothing that the header says can be believed, so the
        # size of a page is the one with which the frames make sense.
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
    """The commits of the generation that the first frame is of; of a wrong size, one at most."""
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
