"""Planted bugs: each must be found within a bounded number of seeds, or the simulator is blind.

A mutant changes one rule of the core, of the disk or of the driver. Several are bugs that shipped
in other implementations. The bound is generous: most are found by the first seed or two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count, islice
from typing import Any, NamedTuple

import pytest

from braft_core.raft import election, membership, quorum, reads, replication
from braft_core.raft.messages import (
    AppendEntriesResponse,
    Message,
    RequestVote,
    RequestVoteResponse,
)
from braft_core.raft.node import RaftCore
from braft_core.raft.ready import ReadReady, Ready
from braft_core.raft.state import RaftState
from braft_core.raft.types import Entry, Role
from braft_core.testing.simulation import Plan, Report, draw_plan, run_seed
from braft_core.testing.simulation.disk import Disk
from braft_core.testing.simulation.process import Process
from braft_core.testing.simulation.server import Server

MOST_SEEDS = 40

Patch = pytest.MonkeyPatch


class Mutant(NamedTuple):
    """How to plant a bug, and by which rules it may be found."""

    plant: Callable[[Patch], dict[str, Any]]
    rules: tuple[str, ...]
    #: Runs without the circumstances that the bug needs are passed over.
    suits: Callable[[Plan], bool] = lambda plan: True


# -- the disk and the driver ---------------------------------------------------------------


class ForgetfulDisk(Disk):
    """Stores the term, but not the vote."""

    def persist(self, ready: Ready) -> None:
        if ready.hard_state is not None:
            ready.hard_state = ready.hard_state._replace(voted_for="")
        super().persist(ready)


def vote_is_not_stored(patch: Patch) -> dict[str, Any]:
    return {"disk_class": ForgetfulDisk}


class HastyServer(Server):
    """Sends everything at once instead of waiting for the disk."""

    def _handle(self, live: Process, ready: Ready) -> None:
        ready.messages += ready.messages_after_persist
        ready.messages_after_persist = []
        super()._handle(live, ready)


def answers_leave_before_the_sync(patch: Patch) -> dict[str, Any]:
    return {"server_class": HastyServer}


# -- counting ------------------------------------------------------------------------------


def half_is_a_majority(patch: Patch) -> dict[str, Any]:
    def majority(voters: int) -> int:
        return (voters + 1) // 2

    patch.setattr(quorum, "majority", majority)
    patch.setattr(election, "majority", majority)
    return {}


def an_older_term_is_committed_by_counting(patch: Patch) -> dict[str, Any]:
    original = replication.advance_commit

    def advance_commit(state: RaftState) -> None:
        if state.role is not Role.LEADER:
            return
        term = state.current_term
        matches = [
            state.log.durable_index if v == state.server_id else state.progress[v].match_index
            for v in state.configuration.voters
        ]
        state.current_term = state.log.term_at(quorum.agreed(matches)) or term
        original(state)
        state.current_term = term

    patch.setattr(replication, "advance_commit", advance_commit)
    return {}


def learners_and_the_removed_count(patch: Patch) -> dict[str, Any]:
    """Everybody who ever acknowledged counts, whether or not it votes."""
    original = replication.advance_commit
    acknowledged: dict[tuple[str, int], dict[str, int]] = {}

    def advance_commit(state: RaftState) -> None:
        known = acknowledged.setdefault((state.server_id, state.current_term), {})
        known.update((s, p.match_index) for s, p in state.progress.items())
        needed = quorum.majority(len(state.configuration.voters))

        def agreed(values: Sequence[int]) -> int:
            counted = sorted([state.log.durable_index, *known.values()], reverse=True)
            return counted[needed - 1] if len(counted) >= needed else 0

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(replication, "agreed", agreed)
            original(state)

    patch.setattr(replication, "advance_commit", advance_commit)
    return {}


def the_leader_counts_itself_before_its_disk(patch: Patch) -> dict[str, Any]:
    original = replication.advance_commit

    def advance_commit(state: RaftState) -> None:
        durable, state.log.durable_index = state.log.durable_index, state.log.last_index
        original(state)
        state.log.durable_index = durable

    patch.setattr(replication, "advance_commit", advance_commit)
    patch.setattr("braft_core.raft.replication.replicate", _replicate_then_commit(advance_commit))
    return {}


def _replicate_then_commit(
    advance_commit: Callable[[RaftState], None],
) -> Callable[[RaftState], None]:
    original = replication.replicate

    def replicate(state: RaftState) -> None:
        advance_commit(state)
        if state.role is Role.LEADER:
            original(state)

    return replicate


def any_acknowledgement_covers_the_whole_log(patch: Patch) -> dict[str, Any]:
    """``last_log`` of any answer, a heartbeat's too, is taken for the match index."""
    original = replication.on_append_response

    def on_append_response(state: RaftState, message: AppendEntriesResponse) -> None:
        original(state, message)
        progress = state.progress.get(message.sender)
        if progress is not None and message.success:
            progress.match_index = min(message.last_log, state.log.last_index)
            replication.advance_commit(state)

    patch.setattr(replication, "on_append_response", on_append_response)
    return {}


# -- elections -----------------------------------------------------------------------------


class CredulousCore(RaftCore):
    """Counts votes that were given in another term."""

    def step(self, message: Message) -> None:
        if isinstance(message, RequestVoteResponse) and message.granted:
            message.term = self.current_term
        super().step(message)


def _count_any_vote(patch: Patch) -> None:
    original = election._is_ours

    def is_ours(state: RaftState, message: Any) -> bool:
        return isinstance(message, RequestVoteResponse) or original(state, message)

    patch.setattr(election, "_is_ours", is_ours)


def stale_votes_count(patch: Patch) -> dict[str, Any]:
    _count_any_vote(patch)
    return {"core_factory": CredulousCore}


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


def any_log_is_good_enough_for_a_vote(patch: Patch) -> dict[str, Any]:
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


# -- logs ----------------------------------------------------------------------------------


def every_append_truncates(patch: Patch) -> dict[str, Any]:
    """A late duplicate deletes entries that were acknowledged since."""

    def take(state: RaftState, entries: Sequence[Entry]) -> None:
        if entries:
            if entries[0].index <= state.log.last_index:
                state.log.truncate(entries[0].index, state.next_batch)
            state.append(list(entries))

    patch.setattr(replication, "_take", take)
    return {}


def no_consistency_check(patch: Patch) -> dict[str, Any]:
    """Entries are taken wherever the log is long enough, whatever stands before them."""
    original = replication.on_append

    def on_append(state: RaftState, message: Any) -> None:
        known = state.log.term_at(message.prev_log_index)
        if known is not None and not message.heartbeat:
            message.prev_log_term = known
        original(state, message)

    patch.setattr(replication, "on_append", on_append)
    return {}


# -- reads ---------------------------------------------------------------------------------


def reads_without_a_round(patch: Patch) -> dict[str, Any]:
    def confirm(state: RaftState) -> None:
        state.reads.extend(ReadReady(r.read_id, state.commit_index) for r in state.pending_reads)
        state.pending_reads.clear()

    patch.setattr(reads, "confirm", confirm)
    return {}


def reads_before_the_first_commit(patch: Patch) -> dict[str, Any]:
    """A new leader does not know yet how much its predecessors committed."""
    patch.setattr(reads, "_commit", lambda state: state.commit_index)
    return {}


# -- membership ----------------------------------------------------------------------------


def two_changes_at_once(patch: Patch) -> dict[str, Any]:
    original = membership.change

    def change(state: RaftState, kind: str, server_id: str, address: str) -> int:
        committed = state.commit_index
        state.commit_index = max(committed, state.log.configuration_index)
        try:
            return original(state, kind, server_id, address)
        finally:
            state.commit_index = committed

    patch.setattr(membership, "change", change)
    return {}


def change_before_the_first_commit(patch: Patch) -> dict[str, Any]:
    """The bug of single-server changes that was published in 2015."""
    original = membership.change

    def change(state: RaftState, kind: str, server_id: str, address: str) -> int:
        committed = state.commit_index
        if state.log.configuration_index <= committed:
            state.commit_index = state.log.last_index
        try:
            return original(state, kind, server_id, address)
        finally:
            state.commit_index = committed

    patch.setattr(membership, "change", change)
    return {}


MUTANTS = (
    Mutant(vote_is_not_stored, ("one vote per term", "votes are durable before they are spoken")),
    Mutant(
        answers_leave_before_the_sync,
        (
            "terms are durable before they are spoken",
            "votes are durable before they are spoken",
            "acknowledge only what is durable",
        ),
    ),
    Mutant(
        half_is_a_majority,
        ("commit needs a durable majority", "a leader has the votes of a majority"),
    ),
    Mutant(an_older_term_is_committed_by_counting, ("commit only own term by counting",)),
    Mutant(learners_and_the_removed_count, ("commit needs a durable majority",)),
    Mutant(the_leader_counts_itself_before_its_disk, ("commit needs a durable majority",)),
    Mutant(any_acknowledgement_covers_the_whole_log, ("commit needs a durable majority",)),
    Mutant(
        stale_votes_count,
        ("election safety", "a leader has the votes of a majority"),
        lambda plan: plan.founders >= 3 and plan.jitter >= 0.05,
    ),
    Mutant(
        a_doubled_vote_counts_twice,
        ("election safety", "a leader has the votes of a majority"),
        lambda plan: plan.founders >= 4 and plan.duplication > 0.05,
    ),
    Mutant(a_server_votes_twice, ("stored vote never changes", "one vote per term")),
    Mutant(any_log_is_good_enough_for_a_vote, ("leader completeness",)),
    Mutant(no_pre_vote, ("PreVote before a campaign",)),
    Mutant(no_no_op, ("recovery",)),
    Mutant(every_append_truncates, ("committed entries stay",)),
    Mutant(no_consistency_check, ("log matching", "state machine safety")),
    Mutant(reads_without_a_round, ("a read sees all commits before it",)),
    Mutant(reads_before_the_first_commit, ("a read sees all commits before it",)),
    Mutant(two_changes_at_once, ("one configuration change at a time",)),
    Mutant(change_before_the_first_commit, ("change only after a commit in the own term",)),
)


def hunt(mutant: Mutant, patch: Patch) -> tuple[int, Report | None]:
    """Run seeds until one finds the mutant; how many were run, and what the last one said."""
    arguments = mutant.plant(patch)
    suited = (seed for seed in count() if mutant.suits(draw_plan(seed)))
    for runs, seed in enumerate(islice(suited, MOST_SEEDS), 1):
        report = run_seed(seed, **arguments)
        if not report.ok:
            return runs, report
    return MOST_SEEDS, None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.plant.__name__)
def test_mutant_is_found(
    mutant: Mutant, monkeypatch: Patch, record_property: Callable[[str, object], None]
) -> None:
    seeds, report = hunt(mutant, monkeypatch)
    record_property("seeds", seeds)
    assert report is not None, f"not found in {seeds} seeds"
    assert report.invariant in mutant.rules, report.detail
