"""The only reader of time in the runtime.

All nodes of a process share one clock. A simulation installs its own (:func:`installed`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

__all__ = ["Clock", "installed", "monotonic", "system_clock", "thread_time", "wall_ns"]


class Clock(NamedTuple):
    """Three readings of time. Each may be called from any thread."""

    #: Seconds that never go backwards.
    monotonic: Callable[[], float]
    #: Nanoseconds since the epoch.
    wall_ns: Callable[[], int]
    #: Seconds that this thread has spent on a processor.
    thread_time: Callable[[], float]


def _suspend_aware() -> Callable[[], float]:
    """Return the reading that goes on while the machine is suspended, if there is one.

    ``CLOCK_MONOTONIC`` stops while a machine is suspended (Linux). A leader would wake up and trust
    an expired lease, and a follower would take an old state for a new one.
    """
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is not None:
        try:
            time.clock_gettime(clock)
        except OSError:
            return time.monotonic
        return partial(time.clock_gettime, clock)
    return time.monotonic


def system_clock() -> Clock:
    """Return the clocks of the system."""
    return Clock(_suspend_aware(), time.time_ns, time.thread_time)


_clock = system_clock()


def monotonic() -> float:
    """Return seconds that never go backwards: the time base of consensus and of all deadlines.

    Time in which the machine was suspended counts, if the system has a clock for that. An event
    loop may use another clock: give it durations, not moments.
    """
    return _clock.monotonic()


def wall_ns() -> int:
    """Return nanoseconds since the epoch, for log entries and for display."""
    return _clock.wall_ns()


def thread_time() -> float:
    """Return seconds that this thread has spent on a processor, for bounds of background work."""
    return _clock.thread_time()


@contextmanager
def installed(clock: Clock) -> Iterator[None]:
    """Let every node of this process read ``clock`` within the block. For simulations."""
    global _clock
    before, _clock = _clock, clock
    try:
        yield
    finally:
        _clock = before
