"""The data directory of one node: made, recognised as ours, and locked against other processes.

Knows which names braft puts there, and nothing about what is in the files.

Directory and files belong to this user or to root, nobody else may write them, and no file is a
link: so no other user can have put anything there. The directories above are not looked at. Whoever
may write one of those can take the data directory away, which a running node notices and stops, but
cannot put in its place one that is accepted here.
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
#: Names that may stand in a data directory that has no database yet. ``lost+found`` is what a
#: freshly made file system brings along when it is mounted as the data directory.
_OURS = frozenset(
    {LOCK, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", SNAPSHOTS}
    | {"lost+found"}
)


def prepare_directory(path: Path) -> None:
    """Create ``path`` (mode 0700, with parents) unless it exists, and check that it is ours.

    :raises StorageForeign: it holds other things and no database of ours, or somebody else may have
        put something there.
    :raises StorageError: it cannot be created or read, or is no directory.
    """
    try:
        _create(path)
    except OSError as error:
        raise _unusable(path, error) from error
    names = check_directory(path)
    strangers = [name for name in names if name not in _OURS]
    if strangers and DATABASE not in names:
        raise StorageForeign(
            f"{path} is not a braft data directory: it holds {strangers[0]!r} and no {DATABASE}; "
            "name an empty or a new directory",
            path=str(path),
        )


def check_directory(path: Path) -> list[str]:
    """Return the names in a data directory that only this user and root can have filled.

    :raises StorageForeign: another user owns it or a file in it, may write one, or put a link
        there.
    :raises StorageError: it cannot be read, or is no directory.
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
    """Make a directory and those above it that are missing; all of their names are durable.

    Those above can be written by this user alone, whatever the umask.

    :raises OSError: one cannot be made. Somebody else may have made one meanwhile.
    """
    missing = [part for part in (path, *path.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(mode=mode if part == path else 0o755, exist_ok=True)
    for part in missing:
        sync_directory(part.parent)


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
