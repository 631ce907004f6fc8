"""Snapshot files outside of a data directory: backups.

A backup is a snapshot file like those of a data directory, byte for byte, whatever store it comes
from. Owns the way from a store's snapshot to such a file and back; the bytes are those of
:mod:`braft_core.storage.snapshot_format`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from braft_core.errors import StorageError
from braft_core.raft.types import SnapshotMeta
from braft_core.storage.snapshot_format import ChunkReader, RecordWriter, read_meta

__all__ = ["describe_file", "encode_file", "open_file", "verify_file"]


def encode_file(meta: SnapshotMeta, contents: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of the file that holds these contents, lazily, in pieces of about a chunk each.

    What iterating ``contents`` raises passes through; the pieces until then are no whole file.
    """
    out = bytearray()
    writer = RecordWriter(meta, out.extend)
    for chunk in contents:
        writer.add(chunk)
        if out:
            yield bytes(out)
            out.clear()
    writer.finish()
    yield bytes(out)


def open_file(path: Path) -> tuple[SnapshotMeta, ChunkReader]:
    """What a file says of itself, and its contents, each chunk verified as it is read.

    The id in the description is the file's name without suffix.

    :raises StorageForeign: it is of a newer format.
    :raises StorageCorrupt: its header or end is damaged or missing, or it is something else.
    :raises StorageError: it cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}", path=str(path)) from error
    try:
        return read_meta(fd, path.stem, str(path)), ChunkReader(fd, str(path))
    except BaseException:
        os.close(fd)
        raise


def describe_file(path: Path) -> SnapshotMeta:
    """What a file says of itself. Header and end are verified, the contents are not.

    :raises StorageError: as :func:`open_file`.
    """
    meta, reader = open_file(path)
    reader.close()
    return meta


def verify_file(path: Path) -> SnapshotMeta:
    """Read the whole file and check every checksum in it.

    :raises StorageCorrupt: naming the first chunk that is damaged.
    :raises StorageError: as :func:`open_file`.
    """
    meta, reader = open_file(path)
    for _ in reader:
        pass
    return meta
