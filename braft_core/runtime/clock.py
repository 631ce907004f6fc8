"""The only reader of time in the runtime."""

from __future__ import annotations

import time

__all__ = ["monotonic", "wall_ns"]


def _suspend_aware() -> int | None:
    """Return the clock that goes on while the machine is suspended, if there is one."""
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is not None:
        try:
            time.clock_gettime(clock)
        except OSError:
            return None
    return clock


#: ``CLOCK_MONOTONIC`` stands still in a suspended machine (Linux). A leader would wake up within a
#: lease that ran out meanwhile, and a follower would take an old state for a new one.
_CLOCK = _suspend_aware()


def monotonic() -> float:
    """Seconds that never go backwards; the time base of consensus and of every deadline.

    The time in which the machine was suspended counts, where the system has a clock for that. An
    event loop may go by another clock: give it durations, not moments.
    """
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


def wall_ns() -> int:
    """Nanoseconds since the epoch, for what is written into the log and shown to people."""
    return time.time_ns()
