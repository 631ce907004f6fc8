"""The data directory of one node: create it, check that it is braft's, and lock it.

This module knows which names braft uses there, and nothing about the contents of the files.

The directory and its files must belong to this user or to root, be writable by nobody else, and be
no links. So no other user can have put anything there. Parent directories are not checked. A user
who may write to one of them can remove the data directory, which a running node notices and then
stops, but cannot replace it by one that is accepted here.
"""

from __future__ import annotations

import fcntl
import os
import stat
import weakref
from pathlib import Path

from braft_core.errors import StorageError, StorageForeign, StorageLocked
from braft_core.trusted_files import untrusted_reason

__all__ = [
    "DATABASE",
    "LOCK",
    "SNAPSHOTS",
    "DirectoryLock",
    "check_directory",
    "holds_data",
    "make_directories",
    "prepare_directory",
    "sync_directory",
]

DATABASE = "raft.db"
SNAPSHOTS = "snapshots"
LOCK = "lock"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
#: Names that may be in a data directory without a database. A new file system that is mounted as
#: the data directory contains ``lost+found``.
_OURS = frozenset(
    {LOCK, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", SNAPSHOTS}
    | {"lost+found"}
)


def prepare_directory(path: Path) -> None:
    """Create ``path`` (mode 0700, with parents) unless it exists, and check that it is ours.

    :raises StorageForeign: it holds other files and no database of ours, or another user may have
        put something there.
    :raises StorageError: it cannot be created or read, or is not a directory.
    """
    try:
        _create(path)
    except OSError as error:
        raise _unusable(path, error) from error
    names = check_directory(path)
    unknown = [name for name in names if name not in _OURS]
    if unknown and DATABASE not in names:
        raise StorageForeign(
            f"{path} is not a braft data directory: it holds {unknown[0]!r} and no {DATABASE}; "
            "name an empty or a new directory",
            path=str(path),
        )


def check_directory(path: Path) -> list[str]:
    """Return the names in a data directory, after checking that only this user or root made them.

    :raises StorageForeign: another user owns it or a file in it, may write to one, or put a link
        there.
    :raises StorageError: it cannot be read, or is not a directory.
    """
    try:
        _check_link(path)
        fd = os.open(path, _DIRECTORY)
        try:
            _check_owner(path, os.fstat(fd))
            names = sorted(os.listdir(fd))
            for name in _OURS.intersection(names):
                _check_content(path / name, os.lstat(name, dir_fd=fd))
        finally:
            os.close(fd)
    except OSError as error:
        raise _unusable(path, error) from error
    return names


def make_directories(path: Path, mode: int) -> None:
    """Create a directory and its missing parents, and make their names durable.

    Only this user can write to the new parents, whatever the umask.

    :raises OSError: one cannot be created. That another process creates one meanwhile is no error.
    """
    missing = [part for part in (path, *path.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(mode=mode if part == path else 0o755, exist_ok=True)
    for part in missing:
        sync_directory(part.parent)


def holds_data(path: Path) -> bool:
    """Return True if ``path`` holds anything besides the lock file.

    A directory that cannot be read counts as holding data; opening it reports the reason.
    """
    try:
        return not set(os.listdir(path)) <= {LOCK, "lost+found"}
    except FileNotFoundError:
        return False
    except OSError:
        return True


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, _DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _create(path: Path) -> None:
    if not path.exists():
        make_directories(path, 0o700)


def _check_link(path: Path) -> None:
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode) and (reason := untrusted_reason(found)):
        raise _foreign(path, f"is a link that {reason}")


def _check_content(path: Path, found: os.stat_result) -> None:
    if path.name == SNAPSHOTS and stat.S_ISLNK(found.st_mode):
        _check_link(path)
        found = os.stat(path)
    if path.name in (SNAPSHOTS, "lost+found"):
        expected, what = stat.S_ISDIR(found.st_mode), "directory"
    else:
        expected, what = stat.S_ISREG(found.st_mode), "regular file"
    if not expected:
        raise _foreign(path, f"is no {what}")
    _check_owner(path, found)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if reason := untrusted_reason(found):
        raise _foreign(path, reason)


def _foreign(path: Path, reason: str) -> StorageForeign:
    return StorageForeign(
        f"{path} {reason}: somebody else may have put there what this node would take for its own "
        "data; accepted: a data directory in which everything belongs to the user that runs the "
        "node, or to root, and nobody else may write (chown -R, chmod -R go-w)",
        path=str(path),
        reason=reason,
    )


def _unusable(path: Path, error: OSError) -> StorageError:
    reason = str(error.strerror)
    return StorageError(f"data directory {path}: {reason}", path=str(path), reason=reason)


class DirectoryLock:
    """An exclusive ``flock`` on the file ``lock``, which the kernel releases with the process.

    Programs that are started do not inherit the descriptor. A forked child shares it and closes its
    copy at once, so that it neither holds the lock nor prolongs it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd = -1

    @property
    def held(self) -> bool:
        """True if this process holds the lock; False in a forked child."""
        return self._fd >= 0

    def acquire(self) -> None:
        """Take the lock, without waiting.

        :raises StorageLocked: another process, or another store of this process, has it.
        :raises StorageError: the file cannot be opened.
        """
        try:
            fd = os.open(self._directory / LOCK, _LOCK_FILE, 0o600)
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
        """Release the lock. Idempotent. The file stays: removing it would race with others."""
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
