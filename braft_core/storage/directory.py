"""The data directory of one node: made, recognised as ours, and locked against other processes.

Knows which names braft puts there, and nothing about what is in the files.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from braft_core.errors import StorageError, StorageForeign, StorageLocked

__all__ = [
    "DATABASE",
    "LOCK",
    "SNAPSHOTS",
    "DirectoryLock",
    "holds_data",
    "prepare_directory",
    "sync_directory",
]

DATABASE = "raft.db"
SNAPSHOTS = "snapshots"
LOCK = "lock"
#: Names that may stand in a data directory that has no database yet. ``lost+found`` is what a
#: freshly made file system brings along when it is mounted as the data directory.
_OURS = frozenset(
    {LOCK, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", SNAPSHOTS}
    | {"lost+found"}
)


def prepare_directory(path: Path) -> None:
    """Create ``path`` (mode 0700, with parents) unless it exists, and check that it is ours.

    :raises StorageForeign: it holds other things and no database of ours.
    :raises StorageError: it cannot be created or read, or is no directory.
    """
    try:
        _create(path)
        names = sorted(os.listdir(path))
    except OSError as error:
        raise _unusable(path, error) from error
    strangers = [name for name in names if name not in _OURS]
    if strangers and DATABASE not in names:
        raise StorageForeign(
            f"{path} is not a braft data directory: it holds {strangers[0]!r} and no {DATABASE}; "
            "name an empty or a new directory",
            path=str(path),
        )


def holds_data(path: Path) -> bool:
    """Return whether anything is in ``path`` that a node, or somebody else, may miss.

    A directory that cannot be read counts: whoever opens it gets the reason.
    """
    try:
        return not set(os.listdir(path)) <= {LOCK, "lost+found"}
    except FileNotFoundError:
        return False
    except OSError:
        return True


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _create(path: Path) -> None:
    missing = [part for part in (path, *path.parents) if not part.exists()]
    if not missing:
        return
    path.mkdir(mode=0o700, parents=True)
    for part in missing:
        sync_directory(part.parent)


def _unusable(path: Path, error: OSError) -> StorageError:
    reason = str(error.strerror)
    return StorageError(f"data directory {path}: {reason}", path=str(path), reason=reason)


class DirectoryLock:
    """An exclusive ``flock`` on the file ``lock``; the kernel ends it with the process.

    The descriptor is not inherited by programs that are started. A forked child shares it, so
    the child gives its copy up at once: it neither holds the lock nor keeps it alive.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd = -1

    @property
    def held(self) -> bool:
        """Whether this process holds the lock (``False`` again in a forked child)."""
        return self._fd >= 0

    def acquire(self) -> None:
        """Take the lock, without waiting.

        :raises StorageLocked: another process, or another store of this one, has it.
        :raises StorageError: the file cannot be opened.
        """
        try:
            fd = os.open(self._directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(self._directory, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            pid = _read_pid(fd)
            os.close(fd)
            raise StorageLocked(
                f"data directory {self._directory} is in use by process {pid or 'unknown'}",
                path=str(self._directory),
                pid=pid,
            ) from error
        except OSError as error:
            os.close(fd)
            raise _unusable(self._directory, error) from error
        self._fd = fd
        _held.add(self)

    def release(self) -> None:
        """Give the lock up. Idempotent. The file stays: removing it would race with others."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _read_pid(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None


_held: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


def _release_in_child() -> None:
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)
