"""Stale reads: does a node tell the truth about how old its state may be?

One client writes a key some times a second, and one per node reads it there without asking anybody
else. The answer says how old the state may be at most: it must show every write that had been
acknowledged by then. All moments are those of the clients' clock, which no fault touches.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx

from braft_core.client import Client
from braft_core.errors import BraftError
from braft_testing.faults.checking import Violation

__all__ = ["AGED", "AgedRead", "Ages", "check_ages", "read_ages", "write_ticks"]

#: The map, and its key.
AGED, _KEY = "aged", "tick"
_WRITE_SECONDS, _READ_SECONDS = 0.1, 0.05
_WRITE_TIMEOUT = 2.0
#: Short, so that a node that stood still finds a question that was asked just before it goes on.
_READ_TIMEOUT = 0.3
_MISSING = 404


@dataclass(frozen=True, slots=True)
class AgedRead:
    """An answer: which revision of the key it showed, and how old the state may have been."""

    client: str
    began: float
    revision: int
    age: float


@dataclass(slots=True)
class Ages:
    """What was written and read. May be used from any thread; ``now()`` is the run's clock."""

    now: Callable[[], float]
    #: (when it was acknowledged, its revision), in the order of the moments.
    written: list[tuple[float, int]] = field(default_factory=list)
    reads: list[AgedRead] = field(default_factory=list)


def write_ticks(ages: Ages, urls: Sequence[str], stop: threading.Event) -> None:
    """Write the key through whichever node takes it, until told to stop."""
    number = 0
    with Client(urls, timeout=_WRITE_TIMEOUT) as client:
        while not stop.wait(_WRITE_SECONDS):
            number += 1
            try:
                revision = client.kv_put(AGED, _KEY, number)
            except BraftError:
                continue  # perhaps written: nothing is claimed of it
            ages.written.append((ages.now(), revision))


def read_ages(ages: Ages, name: str, url: str, stop: threading.Event) -> None:
    """Read the key of one node, until told to stop."""
    path = f"{url}/v1/kv/{AGED}/{_KEY}?consistency=stale"
    with httpx.Client(trust_env=False, timeout=_READ_TIMEOUT) as http:
        while not stop.wait(_READ_SECONDS):
            began = ages.now()
            try:
                answer = http.get(path)
            except httpx.HTTPError:
                continue
            if answer.is_success or answer.status_code == _MISSING:
                age = answer.headers.get("Braft-Staleness")
                revision = int(answer.headers.get("ETag", '"0"').strip('"'))
                if age is not None:
                    ages.reads.append(AgedRead(name, began, revision, float(age)))


def check_ages(written: Sequence[tuple[float, int]], reads: Sequence[AgedRead]) -> list[Violation]:
    """Return a violation for each read that lacks a write older than it says that it may be."""
    moments = [moment for moment, _ in written]
    newest: list[tuple[int, float]] = []
    for moment, revision in written:
        newest.append(max((revision, moment), newest[-1]) if newest else (revision, moment))
    violations = []
    for read in reads:
        known = bisect_right(moments, read.began - read.age)
        if known and read.revision < newest[known - 1][0]:
            revision, moment = newest[known - 1]
            sentence = (
                f"{read.client} was told at {read.began:.3f} that the state is at most"
                f" {read.age:.3f} s old, and saw revision {read.revision}; revision {revision}"
                f" was acknowledged at {moment:.3f}, {read.began - moment:.3f} s before"
            )
            violations.append(Violation("age", f"{AGED}/{_KEY}", sentence))
    return violations
