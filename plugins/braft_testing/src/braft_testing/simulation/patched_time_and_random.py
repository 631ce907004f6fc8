"""Simulate ``time`` and seed ``random`` for a service under test.

A service must use neither. One that does is found, since servers differ in both. It is found again
when its seed is replayed, since both follow from the seed. Only the functions of ``time`` and the
shared generator of ``random`` are replaced: ``datetime`` and ``os.urandom`` are not reached.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["local_time", "seeded_randomness"]

#: Start of all wall clocks, seconds since the epoch.
_EPOCH = 1_700_000_000
_WALL = ("time", "time_ns")
_CLOCKS = (*_WALL, "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")


@contextmanager
def local_time(read: Callable[[], float]) -> Iterator[None]:
    """Let ``time`` return the time of a simulated server; ``read`` gives its seconds."""
    true = {name: getattr(time, name) for name in _CLOCKS}
    try:
        for name in _CLOCKS:
            setattr(time, name, _clock(name, read))
        yield
    finally:
        for name, function in true.items():
            setattr(time, name, function)


def _clock(name: str, read: Callable[[], float]) -> Callable[[], float]:
    since = _EPOCH if name in _WALL else 0
    if name.endswith("_ns"):
        return lambda: since * 1_000_000_000 + int(read() * 1e9)
    return lambda: since + read()


@contextmanager
def seeded_randomness(seed: int) -> Iterator[None]:
    """Seed the functions of ``random`` within the block, and restore their state afterwards."""
    before = random.getstate()
    random.seed(f"{seed}/shared")
    try:
        yield
    finally:
        random.setstate(before)
