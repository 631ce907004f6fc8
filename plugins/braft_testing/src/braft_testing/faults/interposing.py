"""Change clocks and delay syncs with a small preloaded library (``interposer.c``).

The library wraps functions of the C library in each node. This module compiles it when a run
begins, and owns the file with each node's values. Requires a C compiler, but no privileges.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path

from braft_testing.faults.machine import tool

__all__ = ["Interposer", "build_library"]

_NUMBER = struct.Struct("=q")
#: Offsets of the numbers in the file.
_WALL, _STEADY, _SYNC = (position * _NUMBER.size for position in range(3))
_SECOND = 1_000_000_000


def build_library(folder: Path) -> Path:
    """Compile the library.

    :raises FaultKitError: if there is no C compiler, or it fails.
    """
    library = folder / "interposer.so"
    with as_file(files(__package__) / "interposer.c") as source:
        tool("cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source))
    return library


class Interposer:
    """The changes for one node, over all its starts. Initially none."""

    def __init__(self, library: Path, path: Path) -> None:
        """Create the file with the numbers at ``path``."""
        self._library, self._path = library, path
        self._suspended = 0.0
        path.write_bytes(_NUMBER.pack(0) * 3)

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables that load the library into a process."""
        return {"LD_PRELOAD": str(self._library), "BRAFT_FAULTS_INTERPOSER": str(self._path)}

    def set_wall_clock(self, seconds: float) -> None:
        """Set the node's wall clock ``seconds`` ahead of the machine's, at once."""
        self._write(_WALL, seconds)

    def suspended(self, seconds: float) -> None:
        """Subtract a pause from a process's monotonic clock, before the process continues.

        The monotonic clock does not count the time for which a machine is suspended.
        ``CLOCK_BOOTTIME`` and the wall clock do.
        """
        self._suspended += seconds
        self._write(_STEADY, -self._suspended)

    def slow_syncs(self, seconds: float) -> None:
        """Let each sync that begins from now on take ``seconds`` longer."""
        self._write(_SYNC, seconds)

    def _write(self, position: int, seconds: float) -> None:
        with self._path.open("r+b") as file:
            file.seek(position)
            file.write(_NUMBER.pack(round(seconds * _SECOND)))
