"""Why a server campaigns, and one that was told not to."""

from __future__ import annotations

from braft_core.raft import Role, RoleChanged
from braft_core.raft.messages import AppendEntries, RequestVote, RequestVoteResponse
from braft_core.testing.lab import Lab


def reasons(lab: Lab, server: str, seconds: float) -> list[tuple[Role, str]]:
    """Role changes of a server that hears nothing, in that time."""
    core, found = lab.nodes[server], []
    end = core.next_deadline() + seconds
    while core.next_deadline() < end:
        core.tick(core.next_deadline())
        events = core.ready().events
        found += [(e.role, e.reason) for e in events if isinstance(e, RoleChanged)]
    return found


def test_the_reason_of_a_campaign_is_what_happened() -> None:
    lab = Lab("abc")
    b = lab.nodes["b"]
    lab.dead = {"a", "c"}
    assert reasons(lab, "b", 2.0)[0][1] == "no leader was heard since the start"
    b.step(AppendEntries("a", "b", 1, 0, 0, (), 0))
    b.ready()
    assert {why for _, why in reasons(lab, "b", 3.0)} == {"election timeout"}
    b.step(AppendEntries("a", "b", 1, 0, 0, (), 0))
    b.connection_lost("a")
    b.ready()
    assert {why for _, why in reasons(lab, "b", 1.0)} == {"lost the connection to the leader"}


def test_a_server_that_does_not_stand_still_follows_and_votes() -> None:
    lab = Lab("abc")
    b = lab.nodes["b"]
    lab.dead = {"a", "c"}
    assert reasons(lab, "b", 1.0)[-1][0] is Role.PRE_CANDIDATE
    b.stand(False)
    assert b.role is Role.FOLLOWER
    b.ready()
    assert not reasons(lab, "b", 5.0)
    b.step(RequestVote("c", "b", 5, 9, 9, request_id=1))
    ready = b.ready()
    b.persisted(ready.number)
    answers = ready.messages_after_persist
    assert [m.granted for m in answers if isinstance(m, RequestVoteResponse)] == [True]
    b.step(AppendEntries("c", "b", 5, 0, 0, (), 0))
    assert b.leader == "c"
    b.stand(True)
    b.ready()
    assert reasons(lab, "b", 5.0)
