"""Small private disks for one node, which can be filled or lose power.

Owns the mounts it makes and removes them. A tmpfs can be filled. An ext4 file system on a loop
device can also be shut down in the middle of its work. That loses what was not synced, as a power
failure does. Requires root.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from braft_testing.faults.machine import FaultKitError, tool

__all__ = ["Disk", "LoopDisk", "MemoryDisk"]

_MIB = 1 << 20
_BLOCK = 4096


class Disk:
    """A mounted file system at ``path``. Use ``with``: leaving it unmounts."""

    def __init__(self, path: Path, size: int = 96 * _MIB) -> None:
        """Prepare a disk of ``size`` bytes."""
        self.path = path
        self._size = size

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        self.mount()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(FaultKitError):
            self.unmount()

    def mount(self) -> None:
        """Mount it with the files of the previous mount."""
        raise NotImplementedError

    def unmount(self) -> None:
        """Unmount it.

        :raises FaultKitError: if the file system is in use.
        """
        tool("umount", str(self.path))

    def fill(self) -> int:
        """Leave no byte free; return how many were taken."""
        with self._ballast.open("ab") as file:
            free = shutil.disk_usage(self.path).free
            if free >= _BLOCK:
                with suppress(OSError):
                    os.posix_fallocate(file.fileno(), 0, free - free % _BLOCK)
            # Fill what the reservation left, since metadata takes blocks too.
            with suppress(OSError):
                while True:
                    os.write(file.fileno(), bytes(_BLOCK))
        return self._ballast.stat().st_size

    def free(self) -> None:
        """Give the space back. Idempotent."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"


class MemoryDisk(Disk):
    """A disk in memory (tmpfs)."""

    def mount(self) -> None:
        """Mount it; it is empty."""
        tool("mount", "-t", "tmpfs", "-o", f"size={self._size}", "braft-faults", str(self.path))


class LoopDisk(Disk):
    """An ext4 file system in a file beside ``path``, on a loop device."""

    #: The ioctl EXT4_IOC_SHUTDOWN, and its flag NOLOGFLUSH: do not even write the journal.
    _SHUTDOWN = 0x8004587D
    _NO_FLUSH = (2).to_bytes(4, "little")

    #: Whether it was shut down since it was mounted.
    _is_cut = False

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._image.open("wb") as image:
            image.truncate(self._size)
        tool("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))
        return super().__enter__()

    @property
    def _image(self) -> Path:
        return self.path.with_name(f"{self.path.name}.ext4")

    def mount(self) -> None:
        """Mount it; the kernel replays the journal, as after a power failure."""
        if self._is_cut:
            self._renew()
        tool("mount", "-t", "ext4", "-o", "loop", str(self._image), str(self.path))

    def _renew(self) -> None:
        """Replace the image by a copy.

        A process with its own mounts, as ``ip netns exec`` creates them, may still hold the file
        system that was shut down. Mounting the same image again would return that one.
        """
        copy = self._image.with_suffix(".copy")
        tool("cp", "--sparse=always", str(self._image), str(copy))
        copy.replace(self._image)
        self._is_cut = False

    def cut_power(self) -> None:
        """Shut the file system down at once, and lose what was not synced.

        Whoever uses it gets errors from now on; unmount and mount it afterwards.
        """
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, self._SHUTDOWN, self._NO_FLUSH)
            self._is_cut = True
        except OSError as error:
            raise FaultKitError(f"the file system cannot be shut down: {error}") from error
        finally:
            os.close(descriptor)
