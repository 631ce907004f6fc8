"""The only reader of time in the runtime."""

from __future__ import annotations

import time

__all__ = ["monotonic", "wall_ns"]


def monotonic() -> float:
    """Seconds that never go backwards; the time base of consensus and of every deadline."""
    return time.monotonic()


def wall_ns() -> int:
    """Nanoseconds since the epoch, for what is written into the log and shown to people."""
    return time.time_ns()
