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


#: ``CLOCK_MONOTONIC`` stops while a machine is suspended (Linux). A leader would wake up and trust
#: an expired lease, and a follower would take an old state for a new one.
_CLOCK = _suspend_aware()


def monotonic() -> float:
    """Return seconds that never go backwards: the time base of consensus and of all deadlines.

    Time in which the machine was suspended counts, if the system has a clock for that. An event
    loop may use another clock: give it durations, not moments.
    """
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


def wall_ns() -> int:
    """Return nanoseconds since the epoch, for log entries and for display."""
    return time.time_ns()
