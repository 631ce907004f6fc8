"""Check the staleness bounds that nodes report with stale reads.

One client writes a key several times a second. One client per node reads it there as a stale read.
Each answer reports the greatest possible age of its state, so it must show every write acknowledged
before that. All times are those of the clients' clock, which no fault affects.
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

__all__ = ["StaleRead", "StalenessRecord", "check_staleness", "read_stale", "write_ticks"]

#: Map and key that are written and read.
_MAP, _KEY = "aged", "tick"
_WRITE_SECONDS, _READ_SECONDS = 0.1, 0.05
_WRITE_TIMEOUT = 2.0
#: Short, so that a node that was paused meets a request from just before it continues.
_READ_TIMEOUT = 0.3
_MISSING = 404


@dataclass(frozen=True, slots=True)
class StaleRead:
    """An answer: the revision it showed and the reported bound on the age of the state."""

    client: str
    began: float
    revision: int
    age: float


@dataclass(slots=True)
class StalenessRecord:
    """Recorded writes and reads. Thread-safe; ``now()`` is the clock of the run."""

    now: Callable[[], float]
    #: (time of the acknowledgement, revision), in order of time.
    written: list[tuple[float, int]] = field(default_factory=list)
    reads: list[StaleRead] = field(default_factory=list)


def write_ticks(staleness: StalenessRecord, urls: Sequence[str], stop: threading.Event) -> None:
    """Write the key through any node that accepts it, until ``stop`` is set."""
    number = 0
    with Client(urls, timeout=_WRITE_TIMEOUT) as client:
        while not stop.wait(_WRITE_SECONDS):
            number += 1
            try:
                revision = client.kv_put(_MAP, _KEY, number)
            except BraftError:
                continue  # outcome unknown: not recorded as written
            staleness.written.append((staleness.now(), revision))


def read_stale(staleness: StalenessRecord, name: str, url: str, stop: threading.Event) -> None:
    """Read the key at one node until ``stop`` is set."""
    path = f"{url}/v1/kv/{_MAP}/{_KEY}?consistency=stale"
    with httpx.Client(trust_env=False, timeout=_READ_TIMEOUT) as http:
        while not stop.wait(_READ_SECONDS):
            began = staleness.now()
            try:
                answer = http.get(path)
            except httpx.HTTPError:
                continue
            if answer.is_success or answer.status_code == _MISSING:
                age = answer.headers.get("Braft-Staleness")
                revision = int(answer.headers.get("ETag", '"0"').strip('"'))
                if age is not None:
                    staleness.reads.append(StaleRead(name, began, revision, float(age)))


def check_staleness(
    written: Sequence[tuple[float, int]], reads: Sequence[StaleRead]
) -> list[Violation]:
    """Return a violation for each read that misses a write older than its reported bound."""
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
                f"{read.client} read at {read.began:.3f} with the bound {read.age:.3f} s"
                f" and saw revision {read.revision}; revision {revision}"
                f" was acknowledged at {moment:.3f}, {read.began - moment:.3f} s before"
            )
            violations.append(Violation("age", f"{_MAP}/{_KEY}", sentence))
    return violations
