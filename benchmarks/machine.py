"""Facts about the machine, which every result needs, and folders on its disk."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

__all__ = ["data_folder", "facts", "resident_bytes"]


def facts(folder: Path) -> dict[str, Any]:
    """Return the facts for the result file; the data directories will be in ``folder``."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "python": platform.python_version(),
        "file_system": _file_system(folder),
        "fsync_p50_ms": _fsync_p50_ms(folder),
        "load_average_at_start": os.getloadavg(),
    }


@contextmanager
def data_folder(parent: Path) -> Iterator[Path]:
    """Make a temporary folder; it is deleted unless something failed."""
    folder = Path(tempfile.mkdtemp(dir=parent, prefix="data-"))
    yield folder
    shutil.rmtree(folder)


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, bytes."""
    return int(psutil.Process(pid).memory_info().rss)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((ln.split(":", 1)[1].strip() for ln in lines if ln.startswith("model name")), "")


def _file_system(folder: Path) -> str:
    mounts = [p for p in psutil.disk_partitions(all=True) if folder.is_relative_to(p.mountpoint)]
    return max(mounts, key=lambda p: len(p.mountpoint)).fstype if mounts else "unknown"


def _fsync_p50_ms(folder: Path, rounds: int = 200) -> float:
    """Return the median time of appending and syncing 128 bytes."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(rounds):
            begin = time.perf_counter()
            file.write(bytes(128))
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)
