"""How a new node joins: whom it asks, the leader's answers, promotion to voter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.cluster.bootstrap_effects import SendJoinRequest
from braft_core.cluster.joining import (
    MAX_HINTS,
    AddNonvoter,
    AlreadyMember,
    JoinAttempts,
    JoinDecision,
    LearnerFacts,
    Refuse,
    UpdateAddress,
    handle_join,
    should_promote,
)
from braft_core.cluster.timing import DEFAULT_TIMING
from braft_core.errors import Conflict, WrongCluster
from braft_core.peer import JoinRequest, ProbeReply
from braft_core.raft.types import Configuration, Server, Suffrage

CONFIGURATION = Configuration((Server("v", "v:1"), Server("n", "n:1", Suffrage.NONVOTER)))


def decide(server_id: str, address: str, cluster_id: str = "", name: str = "c") -> JoinDecision:
    request = JoinRequest(server_id, address, name, cluster_id, True)
    return handle_join(request, cluster_name="c", cluster_id="x", configuration=CONFIGURATION)


def member(server_id: str, **changes: Any) -> ProbeReply:
    reply = ProbeReply(server_id, "c", "x", 3, True, "", "", f"{server_id}:1", voters=3)
    return replace(reply, **changes)


def test_a_newcomer_becomes_a_learner() -> None:
    assert decide("new", "new:1") == AddNonvoter("new", "new:1")


def test_a_removed_member_returns_as_a_learner() -> None:
    assert decide("removed", "r:1", "x") == AddNonvoter("removed", "r:1")


def test_a_member_that_moved_gets_its_new_address_and_keeps_its_suffrage() -> None:
    assert decide("v", "v:2", "x") == UpdateAddress(Server("v", "v:2"))
    assert decide("n", "n:2", "x") == UpdateAddress(Server("n", "n:2", Suffrage.NONVOTER))


def test_a_member_where_it_was_changes_nothing() -> None:
    assert decide("v", "v:1", "x") == AlreadyMember()


def test_a_voter_without_its_data_is_refused_with_the_way_to_rejoin() -> None:
    decision = decide("v", "v:1")
    assert isinstance(decision, Refuse)
    assert isinstance(decision.error, Conflict)
    assert "empty data directory" in decision.error.message
    assert "braft members remove v" in decision.error.message


def test_a_newcomer_at_the_address_of_a_member_is_refused_with_a_hint() -> None:
    for address in ("v:1", "n:1"):
        decision = decide("new", address)
        assert isinstance(decision, Refuse)
        assert isinstance(decision.error, Conflict)
        assert f"braft members remove {address}" in decision.error.message
        assert "belongs to another member" in decision.error.message


def test_a_newcomer_whose_first_answer_was_lost_may_ask_again() -> None:
    assert decide("n", "n:1") == AlreadyMember()
    assert decide("n", "n:2") == UpdateAddress(Server("n", "n:2", Suffrage.NONVOTER))


@pytest.mark.parametrize("wrong", [{"cluster_id": "y"}, {"name": "other"}])
def test_members_of_other_clusters_are_refused(wrong: dict[str, str]) -> None:
    decision = decide("new", "new:1", **wrong)
    assert isinstance(decision, Refuse)
    assert isinstance(decision.error, WrongCluster)


@given(
    st.sampled_from(["v", "n", "new"]),
    st.sampled_from(["v:1", "n:1", "z:1"]),
    st.sampled_from(["", "x", "y"]),
)
def test_no_join_ever_makes_or_unmakes_a_voter(server_id: str, address: str, cid: str) -> None:
    match decide(server_id, address, cid):
        case AddNonvoter(new, _):
            assert CONFIGURATION.get(new) is None
        case UpdateAddress(server):
            old = CONFIGURATION.get(server.id)
            assert old is not None
            assert old.suffrage == server.suffrage
        case Refuse() | AlreadyMember():
            pass


# -- the newcomer ----------------------------------------------------------------------------


def test_the_known_leader_is_asked_first() -> None:
    joining = JoinAttempts(DEFAULT_TIMING)
    ask = joining.next(0.0, [member("a"), member("b", leader_address="l:1")])
    assert ask == SendJoinRequest("l:1", "x")
    assert joining.next(9.0, [member("a")]) is None, "one attempt at a time"


def test_a_hint_is_followed_at_once_but_not_for_ever() -> None:
    joining, members = JoinAttempts(DEFAULT_TIMING), [member("a"), member("b")]
    asked = []
    for turn in range(MAX_HINTS + 1):
        ask = joining.next(0.0, members)
        assert ask is not None
        asked.append(ask.address)
        joining.failed(0.0, ask.address, "not the leader", hint=f"hint-{turn}:1")
    assert asked == ["a:1", "hint-0:1", "hint-1:1", "hint-2:1"]
    assert joining.next(0.0, members) is None


def test_failures_go_around_and_back_off() -> None:
    joining, members, now = JoinAttempts(DEFAULT_TIMING), [member("a"), member("b")], 0.0
    asked, pauses = [], []
    for _ in range(8):
        begin = now
        while (ask := joining.next(now, members)) is None:
            now += 0.05
        asked.append(ask.address)
        pauses.append(now - begin)
        joining.failed(now, ask.address, "refused")
    assert asked == ["a:1", "b:1"] * 4
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(DEFAULT_TIMING.join_retry_max, abs=0.1)
    assert "b:1: refused" in joining.waiting(members)


def test_of_several_clusters_the_one_with_more_to_lose_is_joined() -> None:
    small = member("a", cluster_id="w", voters=1)
    assert JoinAttempts.choose([small, member("b")]) == "x"
    written = member("b", voters=1, empty=False)
    assert JoinAttempts.choose([small, written]) == "x"
    assert JoinAttempts.choose([small, member("b", voters=1)]) == "w"
    ask = JoinAttempts(DEFAULT_TIMING).next(0.0, [small, member("b")])
    assert ask == SendJoinRequest("b:1", "x")


def test_no_member_answers() -> None:
    assert JoinAttempts(DEFAULT_TIMING).next(0.0, []) is None
    assert "none of its members answers" in JoinAttempts(DEFAULT_TIMING).waiting([])


# -- promotion -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "promoted"),
    [
        (LearnerFacts(wants_vote=True, contact_age=0.1, caught_up_for=1.0), True),
        (LearnerFacts(wants_vote=False, contact_age=0.1, caught_up_for=1.0), False),
        (LearnerFacts(wants_vote=True, contact_age=5.0, caught_up_for=1.0), False),
        (LearnerFacts(wants_vote=True, contact_age=0.1, caught_up_for=0.1), False),
    ],
)
def test_promotion_needs_a_request_contact_and_stability(
    facts: LearnerFacts, promoted: bool
) -> None:
    assert should_promote(facts) is promoted
