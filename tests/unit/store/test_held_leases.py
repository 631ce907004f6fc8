"""Which leases are renewed when, and which count as lost: at given times."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from braft_core.store.held_leases import HeldLeases
from braft_core.store.lease import GONE, MARGIN


class Lease(SimpleNamespace):
    """What the module needs of a lease."""

    def __init__(self, lease_id: int, ttl: float, granted_at: float = 0.0) -> None:
        super().__init__(id=lease_id, ttl=ttl, why="", valid_until=granted_at + ttl - MARGIN)

    def renewed(self, sent_at: float) -> None:
        self.valid_until = sent_at + self.ttl - MARGIN

    def lose(self, why: str) -> None:
        self.why = why


def held(*leases: Any) -> HeldLeases:
    made = HeldLeases()
    for lease in leases:
        made.add(lease, 0.0)
    return made


def test_a_lease_is_due_after_a_third_of_its_ttl_once_until_the_answer() -> None:
    short, long = Lease(1, 6), Lease(2, 30)
    leases = held(short, long)
    assert leases.due(1.9) == []
    assert leases.due(2.0) == [1]
    assert leases.due(3.0) == []
    leases.renewed(1, 6, sent_at=2.0)
    assert short.valid_until == 7.0
    assert leases.due(3.9) == []
    assert leases.due(4.0) == [1]
    leases.failed(1)
    assert leases.due(4.0) == [1]
    leases.renewed(1, 6, sent_at=4.0)
    assert leases.due(10.0) == [2]
    assert (short.why, long.why) == ("it could not be renewed in time", "")


def test_a_lease_counts_as_lost_when_it_may_have_ended() -> None:
    lease = Lease(1, 6)
    leases = held(lease)
    assert leases.due(4.9) == [1]
    assert leases.due(5.0) == []
    assert lease.why == "it could not be renewed in time"
    assert len(leases) == 0
    leases.renewed(1, 6, sent_at=4.9)  # the late answer changes nothing
    leases.failed(1)
    assert lease.valid_until == 5.0


def test_a_lease_that_is_gone_is_lost() -> None:
    lease = Lease(1, 6)
    leases = held(lease)
    leases.renewed(1, 0, sent_at=1.0)
    assert (lease.why, len(leases)) == (GONE, 0)


def test_a_removed_lease_is_not_lost() -> None:
    first, second = Lease(1, 6), Lease(2, 10)
    leases = held(first, second)
    assert leases.shortest_ttl([1, 2, 3]) == 6
    leases.remove(1)
    leases.remove(1)
    assert leases.shortest_ttl([1]) == 0
    assert leases.due(100.0) == []
    assert (first.why, second.why) == ("", "it could not be renewed in time")


def test_all_are_given_up_and_all_are_made_due() -> None:
    first, second = Lease(1, 6), Lease(2, 10)
    leases = held(first, second)
    leases.renew_now()
    assert leases.due(0.0) == [1, 2]
    leases.lose_all("the end")
    assert (first.why, second.why, len(leases)) == ("the end", "the end", 0)
