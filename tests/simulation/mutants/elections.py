"""Planted bugs of elections, and of what a server must store before it sends."""

from __future__ import annotations

from math import inf
from typing import Any

from braft_core.raft import election
from braft_core.raft.core import RaftCore
from braft_core.raft.messages import (
    Message,
    RequestPreVote,
    RequestVote,
    RequestVoteResponse,
)
from braft_core.raft.ready import Ready
from braft_core.raft.state import RaftState
from braft_core.raft.types import Role
from braft_testing.simulation.disk import Compaction, Disk
from braft_testing.simulation.process import Process
from braft_testing.simulation.server import Server
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]


# -- the disk and the driver ---------------------------------------------------------------


class VoteLosingDisk(Disk):
    """Stores the term, but not the vote."""

    def persist(self, change: Ready | Compaction) -> None:
        if isinstance(change, Ready) and change.hard_state is not None:
            change.hard_state = change.hard_state._replace(voted_for="")
        super().persist(change)


def vote_is_not_stored(patch: Patch) -> dict[str, Any]:
    return {"disk_class": VoteLosingDisk}


class EarlySendingServer(Server):
    """Sends everything at once instead of waiting for the disk."""

    def _handle(self, live: Process, ready: Ready) -> None:
        ready.messages += ready.messages_after_persist
        ready.messages_after_persist = []
        super()._handle(live, ready)


def responses_are_sent_before_the_sync(patch: Patch) -> dict[str, Any]:
    return {"server_class": EarlySendingServer}


# -- elections -----------------------------------------------------------------------------


class AnyTermVotesCore(RaftCore):
    """Counts votes of other terms."""

    def step(self, message: Message) -> None:
        if isinstance(message, RequestVoteResponse) and message.granted:
            message.term = self.current_term
        super().step(message)


def _count_any_vote(patch: Patch) -> None:
    original = election._is_ours

    def is_ours(asked: dict[int, str], message: Any) -> bool:
        return isinstance(message, RequestVoteResponse) or original(asked, message)

    patch.setattr(election, "_is_ours", is_ours)


def stale_votes_count(patch: Patch) -> dict[str, Any]:
    _count_any_vote(patch)
    return {"core_factory": AnyTermVotesCore}


def a_doubled_vote_counts_twice(patch: Patch) -> dict[str, Any]:
    original = election.on_vote_response
    _count_any_vote(patch)

    def on_vote_response(state: RaftState, message: RequestVoteResponse) -> None:
        if message.granted and state.votes.get(message.sender):
            others = [v for v in state.configuration.voters if v not in state.votes]
            if others:
                state.votes[others[0]] = True
        original(state, message)

    patch.setattr(election, "on_vote_response", on_vote_response)
    return {}


def a_server_votes_twice(patch: Patch) -> dict[str, Any]:
    original = election.on_vote

    def on_vote(state: RaftState, message: RequestVote) -> None:
        if state.role is Role.FOLLOWER:
            state.voted_for = ""
        original(state, message)

    patch.setattr(election, "on_vote", on_vote)
    return {}


def votes_ignore_the_candidates_log(patch: Patch) -> dict[str, Any]:
    patch.setattr(election, "_up_to_date", lambda state, last_term, last_index: True)
    return {}


def no_pre_vote(patch: Patch) -> dict[str, Any]:
    patch.setattr(election, "pre_campaign", election.campaign)
    return {}


def no_no_op(patch: Patch) -> dict[str, Any]:
    original = election._become_leader

    def become_leader(state: RaftState) -> None:
        original(state)
        state.log.truncate(state.log.last_index, state.next_batch)

    patch.setattr(election, "_become_leader", become_leader)
    return {}


def pre_votes_while_a_leader_lives(patch: Patch) -> dict[str, Any]:
    original = election.on_pre_vote

    def on_pre_vote(state: RaftState, message: RequestPreVote) -> None:
        contact, state.leader_contact = state.leader_contact, -inf
        original(state, message)
        state.leader_contact = contact

    patch.setattr(election, "on_pre_vote", on_pre_vote)
    return {}


def a_leader_without_quorum_keeps_leading(patch: Patch) -> dict[str, Any]:
    def check_quorum(state: RaftState) -> None:
        if state.now >= state.quorum_check_due:
            state.quorum_check_due = state.now + state.config.heartbeat_interval

    patch.setattr(election, "check_quorum", check_quorum)
    return {}


def a_wiped_server_keeps_its_id(patch: Patch) -> dict[str, Any]:
    return {"reuses_ids": True}


class FullDiskThatAcknowledges(Disk):
    """Reports as stored what it had no room for."""

    def _finish(self, life: int, count: int) -> None:
        if self.full and life == self._life:
            for change in list(self._queue)[:count]:
                if isinstance(change, Ready):
                    self.on_durable(change)
        super()._finish(life, count)


def a_full_disk_acknowledges_writes(patch: Patch) -> dict[str, Any]:
    return {"disk_class": FullDiskThatAcknowledges}


MUTANTS = (
    Mutant(vote_is_not_stored, ("one vote per term", "votes are durable before they are sent")),
    Mutant(
        responses_are_sent_before_the_sync,
        (
            "terms are durable before they are sent",
            "votes are durable before they are sent",
            "acknowledged entries are durable",
        ),
    ),
    Mutant(
        stale_votes_count,
        ("election safety", "a leader was elected by a majority"),
        lambda plan: plan.initial_voters >= 3 and plan.jitter >= 0.05,
    ),
    Mutant(
        a_doubled_vote_counts_twice,
        ("election safety", "a leader was elected by a majority"),
        lambda plan: plan.initial_voters >= 4 and plan.duplication > 0.05,
    ),
    Mutant(a_server_votes_twice, ("stored vote never changes", "one vote per term")),
    Mutant(votes_ignore_the_candidates_log, ("leader completeness",)),
    Mutant(no_pre_vote, ("PreVote before a campaign",)),
    Mutant(pre_votes_while_a_leader_lives, ("no PreVote is granted while a leader is heard",)),
    Mutant(
        a_leader_without_quorum_keeps_leading,
        ("a leader without contact to a majority steps down",),
    ),
    Mutant(no_no_op, ("recovery",)),
    Mutant(
        a_wiped_server_keeps_its_id,
        (
            "committed entries are durable on a majority",
            "leader completeness",
            "one vote per term",
            "a leader was elected by a majority",
            "recovery",
            "only leaders advance the commit index",
        ),
        lambda plan: "wipe" in plan.faults,
    ),
    Mutant(
        a_full_disk_acknowledges_writes,
        (
            "terms are durable before they are sent",
            "votes are durable before they are sent",
            "acknowledged entries are durable",
            "one vote per term",
            "committed entries are durable on a majority",
            "only durable entries are applied",
            "one answer per request",  # each retry reports it again
        ),
        lambda plan: "full_disk" in plan.faults,
    ),
)
