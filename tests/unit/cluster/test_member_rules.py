"""Rules of a member: changes by the leader, announcements, absent peers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from braft_core.cluster.address_book import AddressBook
from braft_core.cluster.interface import PeerView, RaftView
from braft_core.cluster.member_rules import (
    CaughtUp,
    Change,
    ForeignCluster,
    explain_no_leader,
    foreign_clusters,
    must_announce,
    next_change,
    preferred_cluster,
    removal_notice,
    was_removed,
)
from braft_core.cluster.messages import wrong_cluster_message
from braft_core.peer import ProbeReply, ProbeRequest
from braft_core.raft.types import EMPTY_CONFIGURATION, Configuration, Server, Suffrage

CONFIGURATION = Configuration(
    (
        Server("a", "a:1"),
        Server("b", "b:1"),
        Server("c", "c:1"),
        Server("n", "n:1", Suffrage.NONVOTER),
    )
)
LEADING = RaftView(
    configuration=CONFIGURATION,
    leader_id="a",
    leader_address="a:1",
    is_leader=True,
    has_quorum=True,
    last_index=1000,
    peers={i: PeerView(0.1, 1000) for i in "bcn"},
)


def book(view: RaftView = LEADING) -> AddressBook:
    result = AddressBook()
    result.configure(view.configuration)
    return result


def caught_up(view: RaftView = LEADING, lag: int = 64) -> CaughtUp:
    result = CaughtUp()
    result.observe(0.0, view, lag)
    result.observe(1.0, view, lag)
    return result


def test_a_stable_learner_that_wants_to_vote_is_promoted() -> None:
    change = next_change(1.0, LEADING, book(), caught_up(), ["n"])
    assert change is not None
    assert (change.kind, change.server_id, change.address) == ("promote", "n", "n:1")
    assert next_change(1.0, LEADING, book(), caught_up(), []) is None


def test_addresses_are_committed_before_promotions_and_keep_the_suffrage() -> None:
    moved = book()
    moved.learn(1.0, "n", "n:2")
    why = "its address changed"
    expected = Change("add_nonvoter", "n", "n:2", why)
    assert next_change(1.0, LEADING, moved, caught_up(), ["n"]) == expected
    moved.learn(2.0, "b", "b:2")
    assert next_change(2.0, LEADING, moved, caught_up(), ["n"]) == Change(
        "add_voter", "b", "b:2", why
    )


@pytest.mark.parametrize(
    "view",
    [
        replace(LEADING, is_leader=False),
        replace(LEADING, has_quorum=False),
        replace(LEADING, change_pending=True),
        replace(LEADING, peers={"n": PeerView(0.1, 100)}),
        replace(LEADING, peers={"n": PeerView(9.0, 1000)}),
        replace(LEADING, peers={}),
    ],
)
def test_nothing_changes_without_quorum_or_during_a_change(view: RaftView) -> None:
    assert next_change(1.0, view, book(view), caught_up(view), ["n"]) is None


def test_under_load_a_learner_catches_up_with_the_previous_tick() -> None:
    tracker = CaughtUp()
    for step in range(10):
        last = 10_000 * (step + 1)
        peers = {"n": PeerView(0.0, last - 5_000)}
        tracker.observe(step * 0.2, replace(LEADING, last_index=last, peers=peers), 64)
    assert tracker.seconds(1.8, "n") > 1.0


def test_a_learner_that_falls_behind_loses_its_time() -> None:
    tracker = caught_up()
    late = replace(LEADING, last_index=5000)
    tracker.observe(2.0, LEADING, 64)
    tracker.observe(2.2, late, 64)
    tracker.observe(2.4, late, 64)
    assert tracker.seconds(3.0, "n") < 0
    tracker.observe(3.0, replace(late, peers={"n": PeerView(0.0, 5000)}), 64)
    assert tracker.seconds(3.1, "n") == pytest.approx(0.1)


def test_addresses_are_announced_without_a_leader_and_until_they_are_committed() -> None:
    assert not must_announce(LEADING, "b", "b:1")
    assert must_announce(LEADING, "b", "b:2")
    assert must_announce(replace(LEADING, leader_id=""), "b", "b:1")
    assert not must_announce(LEADING, "stranger", "s:1")


def test_the_reason_names_missing_voters_with_their_newest_address() -> None:
    view = replace(LEADING, leader_id="", is_leader=False)
    addresses = book()
    addresses.learn(0.0, "c", "c:9")
    sentence = explain_no_leader(view, "a", {"b": 0.5, "c": 60.0}, addresses, 12.0, 90.0)
    assert sentence == (
        "no leader for 12 s: 1 of 3 voters do not answer (c at c:9); this cluster tolerates 1"
    )
    assert "searching discovery" in explain_no_leader(view, "a", {}, addresses, 91.0, 90.0)


def test_long_ids_are_left_out_of_messages() -> None:
    long = Server("x" * 33, "far:1")
    view = RaftView(configuration=Configuration((Server("a", "a:1"), long)))
    sentence = explain_no_leader(view, "a", {}, AddressBook(), 5.0, 90.0)
    assert "(far:1)" in sentence
    assert "tolerates 0" in sentence


def test_the_reason_with_all_voters_here_and_with_none_known() -> None:
    view = replace(LEADING, leader_id="")
    assert "an election is under way" in explain_no_leader(
        view, "a", {"b": 0, "c": 0}, book(), 1.0, 90.0
    )
    blank = RaftView(configuration=EMPTY_CONFIGURATION)
    assert "leader to call" in explain_no_leader(blank, "a", {}, AddressBook(), 1.0, 90.0)
    assert explain_no_leader(LEADING, "a", {}, book(), 0.0, 90.0) == ""


def test_a_node_with_data_of_another_cluster_says_so() -> None:
    sentence = wrong_cluster_message("old", [("10.0.0.1:15000", "new"), ("10.0.0.2:15000", "new")])
    assert "belongs to cluster old, but 10.0.0.1:15000 is in cluster new, 10.0.0.2" in sentence
    assert "start this node with an empty data directory" in sentence


def test_foreign_clusters_are_those_of_our_name_and_another_id() -> None:
    def reply(server_id: str, name: str, cluster_id: str) -> ProbeReply:
        return ProbeReply(server_id, name, cluster_id, 3, True, "", "", f"{server_id}:1")

    replies = [
        reply("z", "c", "y"),
        reply("b", "c", "y"),
        reply("c", "c", "x"),
        reply("d", "other", "q"),
        reply("e", "c", ""),
    ]
    found = foreign_clusters("c", "x", replies)
    assert found == [
        ForeignCluster("y", "b", "b:1", 0, True),
        ForeignCluster("y", "z", "z:1", 0, True),
    ]


ALONE = RaftView(
    configuration=Configuration((Server("a", "a:1"),)),
    leader_id="a",
    is_leader=True,
    has_quorum=True,
)


@pytest.mark.parametrize(
    ("other", "into"),
    [
        (ForeignCluster("y", "b", "b:1", 1, True), ""),
        (ForeignCluster("w", "b", "b:1", 1, True), "w"),
        (ForeignCluster("y", "b", "b:1", 1, False), "y"),
        (ForeignCluster("y", "b", "b:1", 3, True), "y"),
        (ForeignCluster("w", "b", "b:1", 0, True), ""),
    ],
)
def test_of_two_empty_clusters_exactly_one_is_abandoned(other: ForeignCluster, into: str) -> None:
    assert preferred_cluster(ALONE, "a", "x", [other]) == into


@pytest.mark.parametrize(
    "view",
    [
        replace(ALONE, empty=False),
        replace(ALONE, configuration=CONFIGURATION),
        replace(ALONE, change_pending=True),
        replace(ALONE, is_leader=False),
    ],
)
def test_a_cluster_with_anything_to_lose_stays(view: RaftView) -> None:
    assert preferred_cluster(view, "a", "x", [ForeignCluster("w", "b", "b:1", 3, False)]) == ""


@pytest.mark.parametrize(
    ("view", "asker", "cluster_id", "expected"),
    [
        (LEADING, "gone", "x", True),
        (LEADING, "b", "x", False),
        (LEADING, "n", "x", False),
        (LEADING, "gone", "y", False),
        (LEADING, "gone", "", False),
        (replace(LEADING, is_leader=False), "gone", "x", False),
        (replace(LEADING, has_quorum=False), "gone", "x", False),
        (replace(LEADING, change_pending=True), "gone", "x", False),
    ],
)
def test_only_an_established_leader_reports_a_removal(
    view: RaftView, asker: str, cluster_id: str, expected: bool
) -> None:
    request = ProbeRequest(asker, "name", cluster_id, "gone:1")
    assert was_removed(view, request, "x") is expected


@pytest.mark.parametrize(
    ("leader", "heard", "cluster_id", "expected"),
    [
        ("", None, "x", True),
        ("a", 10.0, "x", True),
        ("a", 0.1, "x", False),
        ("", None, "y", False),
    ],
)
def test_a_node_that_hears_a_leader_is_not_removed(
    leader: str, heard: float | None, cluster_id: str, expected: bool
) -> None:
    peers = {} if heard is None else {leader: PeerView(heard)}
    view = RaftView(configuration=CONFIGURATION, leader_id=leader, peers=peers)
    reply = ProbeReply("z", "name", cluster_id, 3, True, "z", "z:1", "z:1", removed=True)
    quiet = replace(reply, removed=False)
    assert (removal_notice(view, "x", [quiet, reply]) is reply) is expected
    assert removal_notice(view, "x", [quiet]) is None
