"""Wall clocks that jump: a small library in front of the C library of each node (``wallclock.c``).

Owns the library, which is compiled where a run begins, and the file with a node's offset. Only what
asks for the wall clock sees it; timers and time-outs go by the monotonic clock, as in real life.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path

from braft_core.testing.faults.machine import tool

__all__ = ["WallClock", "build_library"]

_OFFSET = struct.Struct("=q")
_SECOND = 1_000_000_000


def build_library(folder: Path) -> Path:
    """Compile the library. :raises FaultKitError: there is no C compiler, or it fails."""
    library = folder / "wallclock.so"
    with as_file(files(__package__) / "wallclock.c") as source:
        tool("cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source))
    return library


class WallClock:
    """The wall clock of one node."""

    def __init__(self, library: Path, path: Path) -> None:
        """:param path: of the file with the offset, which is made."""
        self._library, self._path = library, path
        path.write_bytes(_OFFSET.pack(0))

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process must be started with to go by this clock."""
        return {"LD_PRELOAD": str(self._library), "BRAFT_FAULTS_CLOCK": str(self._path)}

    def set(self, seconds: float) -> None:
        """Be ``seconds`` ahead of the machine's clock, at once."""
        with self._path.open("r+b") as file:
            file.write(_OFFSET.pack(round(seconds * _SECOND)))
