"""The leases of the store, run in simulated clusters by ``LEASES``.

The leader ticks as :mod:`braft_core.runtime.lessor` does, while clocks jump, are set back and run
at wrong rates, servers freeze and leaders change. The rules are checked with the true time at which
each command was appended, which no server knows:

* no lease ends early: since its last renewal, leaders have led for its ttl, where a pause between
  two commands counts as a second at most, and a clock that was set forward may have cost a second;
* after a change of the leader a lease has its ttl or three seconds left, whichever is less;
* a tick that was made for another term ends nothing.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from braft_core.abc import CommandContext
from braft_core.errors import BraftError
from braft_core.services.service import command
from braft_core.services.store import StoreService
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.service_under_test import ServiceUnderTest, Timeline

__all__ = ["LEASES", "ObservedStore", "check_leases", "operations", "state", "ticker"]

_IDS = 40
_TTLS = (2, 3, 5)
_KEYS = (b"a", b"b", b"c", b"d")
_MOVE_THE_CLOCK = ("grant", "renew", "revoke", "tick")
_TICK = 0.5
#: What rounding may cost, seconds.
_ROUNDING = 1e-6


class ObservedStore(StoreService):
    """The store, whose ticks answer which leases they have ended."""

    @command
    def tick(self, context: CommandContext, term: int) -> list[int]:  # type: ignore[override]
        """End the leases that are due; return their ids."""
        before = self.leases()
        super().tick(context, term)
        after = set(self.leases())
        return [lease for lease in before if lease not in after]


def operations(rng: random.Random) -> tuple[str, Sequence[Any]]:
    """Draw an operation of a client. Some forward ticks of a term that is past or to come."""
    lease, draw = rng.randint(1, _IDS), rng.random()
    if draw < 0.3:
        return "grant", (lease, rng.choice(_TTLS))
    if draw < 0.55:
        return "renew", ([rng.randint(1, _IDS) for _ in range(rng.randint(1, 4))],)
    if draw < 0.6:
        return "revoke", (lease,)
    if draw < 0.7:
        return "put", (rng.choice(_KEYS), b"v", rng.choice((0, lease)))
    if draw < 0.75:
        return "delete", (rng.choice(_KEYS),)
    if draw < 0.85:
        return "tick", (rng.randint(1, 6),)
    return ("lease", (lease,)) if draw < 0.95 else ("leases", ())


def ticker(
    store: StoreService, term: int, wall_ns: int, since: float
) -> tuple[str, list[int]] | None:
    """Return the next tick of a leader, if it is time for one."""
    due = store.leases_due_at
    if due is None or (due > wall_ns and since < _TICK):
        return None
    return "tick", [term]


def state(store: StoreService) -> Any:
    """Return the leases with their keys, and the revision."""
    return [[lease, store.lease(lease)] for lease in store.leases()], store.status()["revision"]


def check_leases(timeline: Timeline) -> None:
    """Check the rules.

    :raises InvariantBroken: if one does not hold.
    """
    leases: dict[int, tuple[float, _Moment]] = {}
    now, since, begun = _Moment(0, 0.0, 0.0), 0, _Moment(0, 0.0, 0.0)
    for applied in timeline.commands:
        name, args = applied.call
        if name not in _MOVE_THE_CLOCK or isinstance(applied.answer, BraftError):
            continue
        if name == "tick" and args[0] != applied.term:
            if applied.answer:
                raise InvariantBroken(
                    "a tick of another term ends no lease", f"{applied} ended {applied.answer}"
                )
            continue
        now = now.at(applied.term, applied.at, timeline.fastest)
        if applied.term != since:
            since, begun = applied.term, now
        if name == "grant":
            leases[args[0]] = (applied.answer, now)
        elif name == "revoke":
            leases.pop(args[0], None)
        elif name == "renew":
            for lease in args[0]:
                if lease in leases:
                    leases[lease] = (leases[lease][0], now)
        else:
            for lease in applied.answer:
                ttl, renewed = leases.pop(lease)
                _check_end(timeline, f"lease {lease}, ttl {ttl}", renewed, now, ttl)
                _check_end(timeline, f"lease {lease} after an election", begun, now, min(ttl, 3))


class _Moment:
    """A command of a term: its true time, and how much time leaders have led until then."""

    def __init__(self, term: int, true: float, led: float) -> None:
        self.term, self.true, self.led = term, true, led

    def at(self, term: int, true: float, fastest: float) -> _Moment:
        """Return the moment of the next command."""
        gap = min((true - self.true) * fastest, 1.0) if term == self.term else 0.0
        return _Moment(term, true, self.led + gap)


def _check_end(timeline: Timeline, what: str, begun: _Moment, ended: _Moment, least: float) -> None:
    ahead = timeline.set_ahead
    jumps = bisect_right(ahead, ended.true) - bisect_left(ahead, begun.true)
    lasted = ended.led - begun.led + jumps
    if lasted < least - _ROUNDING:
        raise InvariantBroken(
            "no lease ends early",
            f"{what}: from {begun.true:.3f} s on it lasted {lasted:.3f} s, until {ended.true:.3f} s"
            f" in term {ended.term}",
        )


#: For ``run_seed(seed, under_test=LEASES)``.
LEASES = ServiceUnderTest(
    ObservedStore, operations, state=state, ticker=ticker, timeline=check_leases
)
