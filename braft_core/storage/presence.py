"""Detect that the files of an open store were deleted, renamed or replaced.

A process can go on writing to an open file after its name is gone, or after another file system was
mounted over it. No write fails then, but the next start finds none of the data. So a store checks
its files before it reports a write as durable.

This module owns the comparison of device and inode, and the error. It knows nothing about the
contents of the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from braft_core.errors import StorageGone

__all__ = ["Presence"]

_PINNED = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class _Known(NamedTuple):
    path: str
    #: ``(inode, device)`` when the store was opened.
    file: tuple[int, int]


class Presence:
    """The directory and files of an open store. Checks may run on any thread.

    This object keeps the directories open, and the store keeps the files open. Meanwhile no new
    file can get one of their inode numbers.

    :param lock: the lock file; checked before and after every write.
    :param vital: files with acknowledged data; checked after every write.
    :param others: further files and directories; checked by :meth:`check` only.
    :raises OSError: one of them cannot be inspected.
    """

    def __init__(
        self, directory: Path, lock: str, vital: Iterable[str], others: Iterable[str]
    ) -> None:
        self._pinned: list[int] = []
        self._directory = _know(directory)
        try:
            self._vital = tuple(_know(directory / name) for name in (lock, *vital))
            self._others = tuple(_know(directory / name) for name in others)
            self._all = (self._directory, *self._vital, *self._others)
            self._pinned += (os.open(path, _PINNED) for path, _ in self._all if os.path.isdir(path))
        except BaseException:
            self.close()
            raise

    def check_lock(self) -> None:
        """Check that the lock file is in place. :raises StorageGone: it is not."""
        self._check_quickly(self._vital[:1])

    def check_vital(self) -> None:
        """Check the lock and the vital files. :raises StorageGone: one is not in place."""
        self._check_quickly(self._vital)

    def _check_quickly(self, files: Sequence[_Known]) -> None:
        for path, file in files:
            try:
                if _file(path) != file:
                    break
            except OSError:
                break
        else:
            return
        self.check()

    def check(self) -> None:
        """Check all files, the directory first. :raises StorageGone: one is not in place."""
        for path, file in self._all:
            try:
                found = _file(path)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise _gone(path, "was deleted or renamed") from error
            except OSError as error:
                raise _gone(path, f"cannot be inspected any more ({error.strerror})") from error
            if found != file:
                raise _gone(path, "was replaced, or something else was mounted over it")

    def close(self) -> None:
        """Close the directories. Idempotent."""
        pinned, self._pinned = self._pinned, []
        for fd in pinned:
            os.close(fd)


def _know(path: Path) -> _Known:
    return _Known(str(path), _file(str(path)))


def _file(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_ino, found.st_dev


def _gone(path: str, what: str) -> StorageGone:
    return StorageGone(
        f"{path} {what} while the node was using it. The node stops, because the next start would "
        "not find what it writes now. Put the original back if you have it. Otherwise, where "
        "other members are left, remove this member from the cluster and let it join as a new "
        "one with an empty data directory; where none is left, restore a backup",
        path=path,
    )
