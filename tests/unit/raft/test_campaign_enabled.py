"""The reasons of campaigns, and servers that may not campaign."""

from __future__ import annotations

from braft_core.raft import Role, RoleChanged
from braft_core.raft.messages import (
    AppendEntries,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from braft_testing.core_harness import CoreHarness, take_ready


def reasons(harness: CoreHarness, server: str, seconds: float) -> list[tuple[Role, str]]:
    """Return the role changes of a server that receives nothing for that time."""
    core, found = harness.nodes[server], []
    end = core.next_deadline() + seconds
    while core.next_deadline() < end:
        core.tick(core.next_deadline())
        ready = core.poll()
        events = ready.events if ready is not None else []
        found += [(e.role, e.reason) for e in events if isinstance(e, RoleChanged)]
    return found


def test_the_reason_of_a_campaign_is_what_happened() -> None:
    harness = CoreHarness("abc")
    b = harness.nodes["b"]
    harness.dead = {"a", "c"}
    assert reasons(harness, "b", 2.0)[0][1] == "no leader was heard since the start"
    b.step(AppendEntries("a", "b", 1, 0, 0, (), 0))
    take_ready(b)
    assert {why for _, why in reasons(harness, "b", 3.0)} == {"election timeout"}
    b.step(AppendEntries("a", "b", 1, 0, 0, (), 0))
    b.connection_lost("a")
    take_ready(b)
    assert {why for _, why in reasons(harness, "b", 1.0)} == {"lost the connection to the leader"}


def test_a_server_that_may_not_campaign_still_follows_and_votes() -> None:
    harness = CoreHarness("abc")
    b = harness.nodes["b"]
    harness.dead = {"a", "c"}
    assert reasons(harness, "b", 1.0)[-1][0] is Role.PRE_CANDIDATE
    b.set_campaign_enabled(False)
    assert b.role is Role.FOLLOWER
    take_ready(b)
    assert not reasons(harness, "b", 5.0)
    b.step(RequestVote("c", "b", 5, 9, 9, request_id=1))
    ready = take_ready(b)
    b.persisted(ready.number)
    answers = ready.messages_after_persist
    assert [m.granted for m in answers if isinstance(m, RequestVoteResponse)] == [True]
    b.step(AppendEntries("c", "b", 5, 0, 0, (), 0))
    assert b.leader == "c"
    b.set_campaign_enabled(True)
    take_ready(b)
    assert reasons(harness, "b", 5.0)


def test_a_server_that_may_not_campaign_ignores_timeout_now() -> None:
    harness = CoreHarness("abc")
    harness.elect("a")
    b = harness.nodes["b"]
    b.set_campaign_enabled(False)
    b.step(TimeoutNow("a", "b", request_id=7))
    ready = take_ready(b)
    assert b.role is Role.FOLLOWER
    assert [m.request_id for m in ready.messages if isinstance(m, TimeoutNowResponse)] == [7]
    b.set_campaign_enabled(True)
    b.step(TimeoutNow("a", "b", request_id=8))
    assert any(isinstance(message, RequestVote) for message in take_ready(b).messages_after_persist)
    b.set_campaign_enabled(False)
    assert [e.role for e in take_ready(b).events if isinstance(e, RoleChanged)] == [Role.FOLLOWER]
    b.step(RequestVoteResponse("c", "b", b.current_term, granted=True, request_id=1))
    b.step(RequestVoteResponse("a", "b", b.current_term, granted=True, request_id=1))
    assert b.poll() is None, "late votes change nothing"
    assert b.role is Role.FOLLOWER


def test_a_leader_that_cannot_apply_steps_down_and_gives_the_reason() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    a.set_campaign_enabled(False)
    a.step_down("it cannot apply")
    assert a.role is Role.FOLLOWER
    events = [e for e in take_ready(a).events if isinstance(e, RoleChanged)]
    assert [e.reason for e in events] == ["it cannot apply"]
    harness.nodes["b"].step_down("it does not lead")
    assert harness.nodes["b"].role is Role.FOLLOWER
