"""Snapshots as files in one directory; each is complete and durable before it gets its name.

This module owns names, modes and durability. The format is that of
:mod:`braft_core.storage.snapshot_format`. A file is named ``<index>-<term>-<random>`` with one of
the suffixes:

* ``.tmp`` while it is written;
* ``.snap`` once it is complete;
* ``.corrupt`` if its header or end is damaged. braft neither uses nor deletes these.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from braft_core.abc import SnapshotSink, SnapshotStore, surplus
from braft_core.errors import StorageCorrupt, StorageError, StorageFull
from braft_core.raft.types import Configuration, SnapshotMeta
from braft_core.storage.directory import sync_directory
from braft_core.storage.snapshot_format import ChunkReader, RecordWriter, read_meta

__all__ = ["FileSnapshots"]

logger = logging.getLogger(__name__)

_WHOLE, _UNFINISHED, _DAMAGED = ".snap", ".tmp", ".corrupt"
_ID = re.compile(r"\d{20}-\d{20}-[0-9a-f]{8}")
#: Sync after this many bytes, so that neither the last sync of a large snapshot nor a sync of the
#: log meanwhile has to wait for more than this.
_SYNC_EVERY = 8 << 20
#: Bytes of free space that a received snapshot must leave for the log.
_SPARE = 16 << 20
#: Do not follow links: the directory holds only this user's files.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileSnapshots(SnapshotStore):
    """The snapshots in ``directory``, which is created (mode 0700) if it is missing.

    The caller holds the lock of the data directory, so unfinished files of earlier processes are
    deleted.

    :param check: raises if the files in the data directory were replaced, so that nothing is
        written to or read from files of others.
    :raises StorageError: the directory cannot be created or read.
    """

    def __init__(self, directory: Path, check: Callable[[], None] = lambda: None) -> None:
        self._directory = directory
        self._check = check
        self._lock = threading.Lock()
        #: Names of files that were reported and could not be renamed.
        self._known_bad: set[str] = set()
        try:
            if not directory.exists():
                directory.mkdir(mode=0o700)
                sync_directory(directory.parent)
            for path in directory.glob(f"*{_UNFINISHED}"):
                path.unlink()
        except OSError as error:
            raise _failure(directory, error) from error

    def create(
        self,
        index: int,
        term: int,
        configuration: Configuration,
        configuration_index: int,
        size: int = 0,
    ) -> SnapshotSink:
        """See :meth:`SnapshotStore.create`. :raises StorageFull: no space."""
        self._check_room(size)
        snapshot_id = f"{index:020d}-{term:020d}-{secrets.token_hex(4)}"
        meta = SnapshotMeta(snapshot_id, index, term, configuration, configuration_index)
        self._check()
        return _FileSink(self._directory, meta, self._check)

    def _check_room(self, size: int) -> None:
        if not size:
            return
        try:
            disk = os.statvfs(self._directory)
        except OSError as error:
            raise _failure(self._directory, error) from error
        free = disk.f_bavail * disk.f_frsize
        if size + _SPARE > free:
            raise StorageFull(
                f"{self._directory}: a snapshot of {size} bytes has no room; {free} bytes are "
                f"free, and {_SPARE} of them are kept for the log",
                path=str(self._directory),
            )

    def list(self) -> list[SnapshotMeta]:
        """See :meth:`SnapshotStore.list`.

        A file whose header or end is damaged is renamed, with a warning.
        """
        with self._lock:
            found = [meta for path in self._paths() if (meta := self._describe(path)) is not None]
        return sorted(found, key=lambda meta: (meta.index, meta.term, meta.id), reverse=True)

    def holds(self, snapshot_id: str) -> bool:
        """See :meth:`SnapshotStore.holds`. Checks the name only."""
        self._check()
        return (self._directory / f"{snapshot_id}{_WHOLE}").exists()

    def open(self, snapshot_id: str) -> Iterator[bytes]:
        """See :meth:`SnapshotStore.open`. The file stays open until the end or ``close()``."""
        path = self._directory / f"{snapshot_id}{_WHOLE}"
        if not _ID.fullmatch(snapshot_id):
            raise StorageError(f"there is no snapshot {snapshot_id!r}", id=snapshot_id)
        self._check()
        try:
            fd = os.open(path, _READ)
        except FileNotFoundError as error:
            raise StorageError(f"there is no snapshot {snapshot_id!r}", id=snapshot_id) from error
        except OSError as error:
            raise _failure(path, error) from error
        return ChunkReader(fd, str(path))

    def delete(self, snapshot_id: str) -> None:
        """See :meth:`SnapshotStore.delete`."""
        if not _ID.fullmatch(snapshot_id):
            return
        self._check()
        path = self._directory / f"{snapshot_id}{_WHOLE}"
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _failure(path, error) from error

    def retain(self, count: int, keep: str = "") -> None:
        """See :meth:`SnapshotStore.retain`. Damaged files are neither counted nor deleted."""
        for meta in surplus(self.list(), count, keep):
            self.delete(meta.id)

    def _paths(self) -> Sequence[Path]:
        self._check()
        try:
            names = sorted(os.listdir(self._directory))
        except OSError as error:
            raise _failure(self._directory, error) from error
        whole = (self._directory / name for name in names if name.endswith(_WHOLE))
        return [path for path in whole if _ID.fullmatch(path.stem)]

    def _describe(self, path: Path) -> SnapshotMeta | None:
        try:
            fd = os.open(path, _READ)
        except FileNotFoundError:
            return None  # deleted since the directory was read
        except OSError as error:
            self._report_once(path, f"{path}: {error.strerror}")
            return None
        try:
            return read_meta(fd, path.stem, str(path))
        except StorageCorrupt as error:
            self._rename_damaged(path, error)
        except StorageError as error:
            # Perhaps undamaged: an I/O error, or a file of a newer version.
            self._report_once(path, error.message)
        finally:
            os.close(fd)
        return None

    def _rename_damaged(self, path: Path, error: StorageCorrupt) -> None:
        aside = path.with_suffix(_DAMAGED)
        try:
            path.rename(aside)
        except OSError:
            self._report_once(path, error.message)
        else:
            logger.warning("%s; it is not used and was renamed to %s", error.message, aside.name)

    def _report_once(self, path: Path, what: str) -> None:
        if path.name not in self._known_bad:
            self._known_bad.add(path.name)
            logger.warning("a snapshot is not used: %s", what)


class _FileSink(SnapshotSink):
    def __init__(self, directory: Path, meta: SnapshotMeta, check: Callable[[], None]) -> None:
        self._meta = meta
        self._check = check
        self._directory = directory
        self._path = directory / f"{meta.id}{_UNFINISHED}"
        self._fd = -1
        self._unsynced = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(self._path, flags, 0o600)
            self._records = RecordWriter(meta, self._put)
        except OSError as error:
            self.abort()
            raise _failure(self._path, error) from error
        except StorageError:
            self.abort()
            raise

    def write(self, chunk: bytes) -> None:
        self._usable()
        try:
            self._records.add(chunk)
        except OSError as error:
            self._close()
            raise _failure(self._path, error) from error

    def commit(self, verify: Callable[[Iterator[bytes]], None] | None = None) -> SnapshotMeta:
        self._usable()
        whole = self._path.with_suffix(_WHOLE)
        try:
            self._records.finish()
            if verify is not None:
                self._read_back(verify)
            os.fsync(self._fd)
            self._close()
            self._check()
            self._path.rename(whole)
        except OSError as error:
            self._close()
            raise _failure(self._path, error) from error
        try:
            sync_directory(self._directory)
        except OSError as error:
            # Its name may or may not survive a crash.
            with suppress(OSError):
                whole.unlink()
            raise _failure(whole, error) from error
        self._check()
        return self._meta._replace(size=self._records.size, checksum=self._records.checksum)

    def _read_back(self, verify: Callable[[Iterator[bytes]], None]) -> None:
        reader = ChunkReader(os.open(self._path, _READ), str(self._path))
        try:
            verify(reader)
            for _ in reader:  # up to the end, whose checksum covers everything
                pass
        finally:
            reader.close()

    def abort(self) -> None:
        self._close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._unsynced += len(data)
        if self._unsynced >= _SYNC_EVERY:
            os.fdatasync(self._fd)
            self._unsynced = 0

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _usable(self) -> None:
        if self._fd < 0:
            raise StorageError(f"the snapshot {self._meta.id} is already committed or aborted")


def _failure(path: Path, error: OSError) -> StorageError:
    if error.errno in _NO_SPACE:
        return StorageFull(f"{path}: no space left for a snapshot", path=str(path))
    return StorageError(f"{path}: {error.strerror}", path=str(path))
