"""The leases of the store in simulated clusters, and the tickers of services in general.

``tests.simulation.mutants.leases`` plants the bugs that these runs must find.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from braft_core import StateMachineService, command, query
from braft_core.abc import CommandContext
from braft_core.errors import Rejected
from braft_testing.simulation import InvariantBroken, simulate_service
from braft_testing.simulation.history import Call
from braft_testing.simulation.service_under_test import AppliedCommand, Timeline
from braft_testing.simulation.store_leases import (
    ObservedStore,
    check_leases,
    operations,
    state,
    ticker,
)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(2, 4, 9), (5, 8, 9)])
def test_no_lease_ends_early_and_some_end(seeds: tuple[int, ...]) -> None:
    """In seeds in which leases are granted, renewed and end, across changes of the leader."""
    done: Counter[str] = Counter()

    def check(timeline: Timeline) -> None:
        check_leases(timeline)
        for applied in timeline.commands:
            done[applied.call.name] += 1
            if applied.call.name == "tick" and applied.call.args[0] == applied.term:
                done["ended"] += len(applied.answer)

    simulate_service(
        ObservedStore,
        operations,
        state=state,
        ticker=ticker,
        timeline=check,
        seeds=seeds,
        seconds=20.0,  # in the calm none end
        other_processes=False,
    )
    assert done["ended"] >= 5
    assert min(done[name] for name in ("grant", "renew", "revoke", "put", "tick")) >= 10


def applied(name: str, args: list[Any], answer: Any, term: int, at: float) -> AppliedCommand:
    """Return one command of a timeline."""
    return AppliedCommand(Call(name, args), answer, term, at)


GRANT = applied("grant", [1, 2], 2, 1, 10.0)
RENEW = applied("renew", [[1, 9]], [2, 0], 1, 11.0)
REVOKE = applied("revoke", [1], 5, 1, 10.1)


def ticks(*moments: float, term: int = 1) -> list[AppliedCommand]:
    """Return ticks at these times, of which the last ends lease 1."""
    made = [applied("tick", [term], [], term, at) for at in moments]
    return [*made[:-1], made[-1]._replace(answer=[1])]


@pytest.mark.parametrize(
    ("commands", "ahead", "fastest", "early"),
    [
        ([GRANT, *ticks(10.5, 11, 11.5, 12)], [], 1.0, False),
        ([GRANT, *ticks(10.5, 11, 11.5, 11.9)], [], 1.0, True),
        ([GRANT, *ticks(10.5, 11, 11.5, 11.9)], [], 1.1, False),  # its clock was fast
        ([GRANT, *ticks(11)], [10.7], 1.0, False),  # its clock was set
        ([GRANT, *ticks(11)], [9.9, 11.1], 1.0, True),
        ([GRANT, *ticks(10.5, 15)], [], 1.0, True),  # a pause counts a second
        ([GRANT, *ticks(10.5, 15, 15.5)], [], 1.0, False),
        ([GRANT, RENEW, *ticks(11.5, 12, 12.9)], [], 1.0, True),
        (
            [GRANT, RENEW, *ticks(11.5, 12.3, 13)],
            [],
            1.0,
            False,
        ),
        ([GRANT, *ticks(11, 11.9, 90, term=2)], [], 1.0, True),  # nobody led
        ([GRANT, *ticks(11, 11.9, 12.9, 13.1, term=2)], [], 1.0, False),
        ([GRANT, applied("tick", [3], [1], 1, 99)], [], 1.0, True),  # for another term
        (
            [GRANT, REVOKE, applied("tick", [1], [], 1, 99)],
            [],
            1,
            False,
        ),
        ([GRANT, applied("grant", [1, 2], Rejected("in use"), 1, 11.9), *ticks(12)], [], 1.0, True),
    ],
)
def test_the_rules_tell_early_from_late(
    commands: list[AppliedCommand], ahead: list[float], fastest: float, early: bool
) -> None:
    timeline = Timeline(commands, ahead, fastest)
    if not early:
        check_leases(timeline)
        return
    with pytest.raises(InvariantBroken, match="no lease"):
        check_leases(timeline)


class Beats(StateMachineService):
    """Counts the beats of leaders, and notes each that came in another term than it was made."""

    name = "beats"

    def __init__(self) -> None:
        self.count = self.strayed = 0

    @command
    def beat(self, context: CommandContext, term: int) -> int:
        """Count a beat."""
        self.count += 1
        self.strayed += term != context.term
        return self.count

    @command
    def reset(self) -> int:
        """Begin again."""
        self.count = 0
        return 0

    @query
    def get(self) -> int:
        """Return the count."""
        return self.count

    def dump(self) -> Any:
        return [self.count, self.strayed]

    def load(self, value: Any) -> None:
        self.count, self.strayed = value


def draw(rng: random.Random) -> tuple[str, Sequence[Any]]:
    """Draw an operation on the beats."""
    return rng.choice((("reset", ()), ("get", ())))


def beat(beats: Beats, term: int, wall_ns: int, since: float) -> tuple[str, list[int]] | None:
    """Beat all the time."""
    return ("beat", [term]) if since > 0.05 else None


def test_a_ticker_proposes_on_the_leader_of_its_term_alone() -> None:
    seen: Counter[str] = Counter()
    times: list[list[float]] = []

    def look(timeline: Timeline) -> None:
        seen.update(each.call.name for each in timeline.commands)
        times.append([each.at for each in timeline.commands if each.call.name == "beat"])

    simulate_service(
        Beats,
        draw,
        invariant=lambda beats: beats.strayed == 0,
        ticker=beat,
        timeline=look,
        seeds=range(3),
        other_processes=False,
    )
    assert seen["beat"] > 20
    assert all(moments for moments in times)


def test_what_a_timeline_shows_is_reported() -> None:
    def refuse(timeline: Timeline) -> None:
        raise InvariantBroken("nothing happens", f"{len(timeline.commands)} commands")

    with pytest.raises(InvariantBroken, match="nothing happens"):
        simulate_service(Beats, draw, timeline=refuse, seed=1, other_processes=False)
