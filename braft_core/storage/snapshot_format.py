"""The format of a snapshot file: records with checksums.

This module knows nothing of names, directories or durability. Format 1 is the magic ``brftsnap``
and then records. Each has a head of kind, length and CRC-32, and a payload:

* ``H`` once, first: format version, index, term, configuration index, configuration;
* ``D`` any number: contents, at most :data:`MAX_CHUNK` bytes each;
* ``E`` once, last: total bytes of contents, and a CRC-32 over the checksums of all records before.

The checksum of a record also covers its kind, length and offset in the file. So a record that was
moved, repeated or changed in length is detected when it is read. Records that are missing or come
from another file are detected at the end.
"""

from __future__ import annotations

import os
import struct
import weakref
from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

from braft_core.errors import DecodeError, StorageCorrupt, StorageError, StorageForeign
from braft_core.raft.types import SnapshotMeta, decode_configuration, encode_configuration

__all__ = ["FORMAT", "MAX_CHUNK", "ChunkReader", "RecordWriter", "read_meta"]

FORMAT = 1
MAGIC = b"brftsnap"
#: Bytes of contents in one record, at most.
MAX_CHUNK = 1 << 20
#: Bytes of contents in one record as written; small enough to be sent as one message.
CHUNK = 256 << 10

_HEADER, _DATA, _END = b"H", b"D", b"E"
_HEAD = struct.Struct("<cII")  # kind, length, checksum
_SUMMED = struct.Struct("<cIq")  # kind, length, offset of the record
_META = struct.Struct("<Hqqq")  # version, index, term, configuration index
_TOTAL = struct.Struct("<qI")  # bytes of contents, checksum of checksums
_SUM = struct.Struct("<I")
_MAX_HEADER = 16 << 20
_FOOTER_SIZE = _HEAD.size + _TOTAL.size


def _checksum(kind: bytes, payload: bytes, offset: int) -> int:
    return crc32(payload, crc32(_SUMMED.pack(kind, len(payload), offset)))


class RecordWriter:
    """Encodes a snapshot as a file and passes the bytes to ``write``."""

    def __init__(self, meta: SnapshotMeta, write: Callable[[bytes], object]) -> None:
        """Write the header.

        :raises StorageError: an index or term exceeds 63 bits.
        """
        self._write = write
        self._offset = len(MAGIC)
        self._overall = 0
        self._pending = bytearray()
        #: Bytes of contents so far.
        self.size = 0
        #: Checksum of the header and all contents, after :meth:`finish`.
        self.checksum = 0
        try:
            head = _META.pack(FORMAT, meta.index, meta.term, meta.configuration_index)
        except struct.error as error:
            raise StorageError(f"a snapshot cannot be described: {error}") from error
        self._write(MAGIC)
        self._record(_HEADER, head + encode_configuration(meta.configuration))

    def add(self, chunk: bytes) -> None:
        """Add contents, of any length."""
        self.size += len(chunk)
        pending = self._pending
        pending += chunk
        if len(pending) < CHUNK:
            return
        whole = len(pending) - len(pending) % CHUNK
        with memoryview(pending) as view:
            for start in range(0, whole, CHUNK):
                self._record(_DATA, bytes(view[start : start + CHUNK]))
        del pending[:whole]

    def finish(self) -> None:
        """Write the remaining contents and the end."""
        if self._pending:
            self._record(_DATA, bytes(self._pending))
            self._pending.clear()
        self.checksum = self._overall
        self._record(_END, _TOTAL.pack(self.size, self._overall))

    def _record(self, kind: bytes, payload: bytes) -> None:
        checksum = _checksum(kind, payload, self._offset)
        self._write(_HEAD.pack(kind, len(payload), checksum))
        self._write(payload)
        self._offset += _HEAD.size + len(payload)
        self._overall = crc32(_SUM.pack(checksum), self._overall)


class _Record(NamedTuple):
    kind: bytes
    payload: bytes


class ChunkReader:
    """Iterates over the verified contents of an open snapshot file; closes it at the end.

    It reads from the descriptor, so it works even after the file was deleted. Not thread-safe.
    """

    def __init__(self, fd: int, name: str) -> None:
        """Take over ``fd``.

        :param name: the file's name, for messages.
        """
        self._fd = fd
        self._name = name
        self._offset = 0
        self._overall = 0
        self._overall_before = 0
        self._size = 0
        #: Closes the file, also if the reader is garbage-collected.
        self.close = weakref.finalize(self, os.close, fd)

    def __iter__(self) -> ChunkReader:
        return self

    def __next__(self) -> bytes:
        if not self.close.alive:
            raise StopIteration
        try:
            if self._offset == 0:
                self._read_header()
            record = self._read_record(MAX_CHUNK)
            if record.kind == _DATA:
                self._size += len(record.payload)
                return record.payload
            self._check_end(record)
        except BaseException:
            self.close()
            raise
        self.close()
        raise StopIteration

    def _read_header(self) -> None:
        if self._read(len(MAGIC)) != MAGIC or self._read_record(_MAX_HEADER).kind != _HEADER:
            raise self._corrupt("has no header")

    def _check_end(self, record: _Record) -> None:
        expected = _TOTAL.pack(self._size, self._overall_before)
        if record.kind != _END or record.payload != expected:
            raise self._corrupt("is not the one that was written: a part is missing or foreign")
        if self._read(1):
            raise self._corrupt("goes on behind its end")

    def _read_record(self, limit: int) -> _Record:
        offset = self._offset
        head = self._read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise self._corrupt(f"ends at byte {offset}, before its end")
        kind, length, checksum = _HEAD.unpack(head)
        payload = self._read(length) if length <= limit else b""
        if len(payload) != length or _checksum(kind, payload, offset) != checksum:
            raise self._corrupt(f"is damaged in the {length} bytes from byte {offset} on")
        self._overall_before = self._overall
        self._overall = crc32(_SUM.pack(checksum), self._overall)
        return _Record(kind, payload)

    def _read(self, count: int) -> bytes:
        data = _read_at(self._fd, count, self._offset, self._name)
        self._offset += len(data)
        return data

    def _corrupt(self, what: str) -> StorageCorrupt:
        return _corrupt(self._name, what)


def read_meta(fd: int, snapshot_id: str, name: str) -> SnapshotMeta:
    """Return the metadata from the header and the end of a snapshot file.

    :raises StorageForeign: the file is of a newer format.
    :raises StorageCorrupt: its header or end is damaged or missing.
    :raises StorageError: it cannot be read.
    """
    header = _record_at(fd, len(MAGIC), _HEADER, name)
    if _read_at(fd, len(MAGIC), 0, name) != MAGIC or header is None or len(header) < _META.size:
        raise _corrupt(name, "has no valid header")
    version, index, term, configuration_index = _META.unpack_from(header)
    if version > FORMAT:
        raise StorageForeign(
            f"snapshot {name} has format {version}, written by a newer braft; this one reads up to "
            f"{FORMAT}",
            path=name,
            format=version,
        )
    footer = _record_at(fd, os.fstat(fd).st_size - _FOOTER_SIZE, _END, name)
    if footer is None or len(footer) != _TOTAL.size:
        raise _corrupt(name, "has no valid end")
    try:
        configuration = decode_configuration(header[_META.size :])
    except DecodeError as error:
        raise _corrupt(name, f"has no valid configuration ({error})") from error
    size, checksum = _TOTAL.unpack(footer)
    return SnapshotMeta(
        snapshot_id, index, term, configuration, configuration_index, size, checksum
    )


def _record_at(fd: int, offset: int, expected: bytes, name: str) -> bytes | None:
    head = _read_at(fd, _HEAD.size, offset, name) if offset > 0 else b""
    if len(head) < _HEAD.size:
        return None
    kind, length, checksum = _HEAD.unpack(head)
    if kind != expected or length > _MAX_HEADER:
        return None
    payload = _read_at(fd, length, offset + _HEAD.size, name)
    return payload if _checksum(kind, payload, offset) == checksum else None


def _read_at(fd: int, count: int, offset: int, name: str) -> bytes:
    parts = []
    try:
        while count and (part := os.pread(fd, count, offset)):
            parts.append(part)
            count -= len(part)
            offset += len(part)
    except OSError as error:
        raise StorageError(f"snapshot {name}: {error.strerror}", path=name) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _corrupt(name: str, what: str) -> StorageCorrupt:
    return StorageCorrupt(f"snapshot {name} {what}", path=name)
