"""Backups: snapshot files outside of a data directory.

A backup has the format of the snapshot files in a data directory, whatever store it comes from.
This module turns a store's snapshot into such a file and back. The format is that of
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
    """Yield the bytes of a file with these contents, about a chunk at a time.

    Errors of iterating ``contents`` pass through; the file is then incomplete.
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
    """Return the metadata of a file, and a reader that verifies each chunk of its contents.

    The id in the metadata is the file's name without suffix.

    :raises StorageForeign: the file is of a newer format.
    :raises StorageCorrupt: its header or end is damaged or missing, or it is no snapshot.
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
    """Return the metadata of a file. Its header and end are verified, its contents are not.

    :raises StorageError: as :func:`open_file`.
    """
    meta, reader = open_file(path)
    reader.close()
    return meta


def verify_file(path: Path) -> SnapshotMeta:
    """Read the whole file, check every checksum and return its metadata.

    :raises StorageCorrupt: a chunk is damaged; names the first one.
    :raises StorageError: as :func:`open_file`.
    """
    meta, reader = open_file(path)
    for _ in reader:
        pass
    return meta
