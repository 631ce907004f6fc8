"""Why a server campaigns, and one that was told not to."""

from __future__ import annotations

from braft_core.raft import Role, RoleChanged
from braft_core.raft.messages import (
    AppendEntries,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from braft_testing.lab import Lab


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


def test_a_server_that_does_not_stand_takes_no_office_over() -> None:
    lab = Lab("abc")
    lab.elect("a")
    b = lab.nodes["b"]
    b.stand(False)
    b.step(TimeoutNow("a", "b", request_id=7))
    ready = b.ready()
    assert b.role is Role.FOLLOWER
    assert [m.request_id for m in ready.messages if isinstance(m, TimeoutNowResponse)] == [7]
    b.stand(True)
    b.step(TimeoutNow("a", "b", request_id=8))
    assert any(isinstance(message, RequestVote) for message in b.ready().messages_after_persist)
    b.stand(False)
    assert [e.role for e in b.ready().events if isinstance(e, RoleChanged)] == [Role.FOLLOWER]
    b.step(RequestVoteResponse("c", "b", b.current_term, granted=True, request_id=1))
    b.step(RequestVoteResponse("a", "b", b.current_term, granted=True, request_id=1))
    assert not any(e.role is Role.LEADER for e in b.ready().events if isinstance(e, RoleChanged))


def test_a_leader_that_cannot_do_its_work_steps_down_and_says_why() -> None:
    lab = Lab("abc")
    a = lab.elect("a")
    a.stand(False)
    a.step_down("it cannot apply")
    assert a.role is Role.FOLLOWER
    events = [e for e in a.ready().events if isinstance(e, RoleChanged)]
    assert [e.reason for e in events] == ["it cannot apply"]
    lab.nodes["b"].step_down("it does not lead")
    assert lab.nodes["b"].role is Role.FOLLOWER
