"""Planted bugs of replication, commitment, reads and membership changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from braft_core.raft import confchange, election, quorum, reads, replication, transfer
from braft_core.raft.messages import AppendEntriesResponse
from braft_core.raft.ready import ReadReady
from braft_core.raft.state import RaftState
from braft_core.raft.types import Configuration, Entry, Role
from braft_testing.simulation.edits import Edits
from braft_testing.simulation.plan import Plan
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]


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
        state.current_term = state.log.term_at(quorum.majority_index(matches)) or term
        original(state)
        state.current_term = term

    patch.setattr(replication, "advance_commit", advance_commit)
    return {}


def learners_and_removed_servers_count(patch: Patch) -> dict[str, Any]:
    """Count everyone who ever acknowledged, also learners and removed servers."""
    original = replication.advance_commit
    acknowledged: dict[tuple[str, int], dict[str, int]] = {}

    def advance_commit(state: RaftState) -> None:
        known = acknowledged.setdefault((state.server_id, state.current_term), {})
        known.update((s, p.match_index) for s, p in state.progress.items())
        needed = quorum.majority(len(state.configuration.voters))

        def majority_index(values: Sequence[int]) -> int:
            counted = sorted([state.log.durable_index, *known.values()], reverse=True)
            return counted[needed - 1] if len(counted) >= needed else 0

        with Patch() as inner:
            inner.setattr(replication, "majority_index", majority_index)
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
    patch.setattr(replication, "replicate", _replicate_then_commit(advance_commit))
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
    """Use ``last_log`` of any response, also to a heartbeat, as the match index."""
    original = replication.on_append_response

    def on_append_response(state: RaftState, message: AppendEntriesResponse) -> None:
        original(state, message)
        progress = state.progress.get(message.sender)
        if progress is not None and message.success:
            progress.match_index = min(message.last_log, state.log.last_index)
            replication.advance_commit(state)

    patch.setattr(replication, "on_append_response", on_append_response)
    return {}


# -- logs ----------------------------------------------------------------------------------


def every_append_truncates(patch: Patch) -> dict[str, Any]:
    """Truncate at every append: a late duplicate deletes entries acknowledged since."""

    def append_new(state: RaftState, entries: Sequence[Entry]) -> None:
        if entries:
            if entries[0].index <= state.log.last_index:
                state.log.truncate(entries[0].index, state.next_batch)
            state.append(list(entries))

    patch.setattr(replication, "_append_new", append_new)
    return {}


def no_consistency_check(patch: Patch) -> dict[str, Any]:
    """Accept entries wherever the log is long enough, whatever precedes them."""
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
    """Serve reads before a new leader knows how much its predecessors committed."""
    patch.setattr(reads, "_read_index", lambda state: state.commit_index)
    return {}


# -- membership ----------------------------------------------------------------------------


def two_changes_at_once(patch: Patch) -> dict[str, Any]:
    original = confchange.change

    def change(state: RaftState, kind: str, server_id: str, address: str) -> int:
        committed = state.commit_index
        state.commit_index = max(committed, state.log.configuration_index)
        try:
            return original(state, kind, server_id, address)
        finally:
            state.commit_index = committed

    patch.setattr(confchange, "change", change)
    return {}


def change_before_the_first_commit(patch: Patch) -> dict[str, Any]:
    """Allow the bug of single-server changes that was published in 2015."""
    original = confchange.change

    def change(state: RaftState, kind: str, server_id: str, address: str) -> int:
        committed = state.commit_index
        if state.log.configuration_index <= committed:
            state.commit_index = state.log.last_index
        try:
            return original(state, kind, server_id, address)
        finally:
            state.commit_index = committed

    patch.setattr(confchange, "change", change)
    return {}


def configurations_count_from_their_commit(patch: Patch) -> dict[str, Any]:
    def configuration(state: RaftState) -> Configuration:
        # The bootstrap configuration counts from the start.
        return state.log.configuration_at(max(state.commit_index, 1))

    patch.setattr(RaftState, "configuration", property(configuration))
    return {}


# -- leases --------------------------------------------------------------------------------

_UNBOUNDED_DRIFT = Edits(plan={"bounded_clock_drift": False, "clock_drift": 0.2})
_FRESH = ("a read sees all earlier commits", "linearizability", "revisions grow")


def _leases(plan: Plan) -> bool:
    return plan.config.lease_reads and "diverge" in plan.faults


def leases_while_clocks_jump(patch: Patch) -> dict[str, Any]:
    """Let clocks jump: the code is right, but the assumption of leases does not hold."""
    return {"edits": _UNBOUNDED_DRIFT}


def vote_leases_end_with_the_connection(patch: Patch) -> dict[str, Any]:
    original = election.on_leader_lost

    def on_leader_lost(state: RaftState) -> None:
        state.vote_lease_until = -inf
        original(state)

    patch.setattr(election, "on_leader_lost", on_leader_lost)
    return {}


def vote_leases_are_never_extended(patch: Patch) -> dict[str, Any]:
    patch.setattr(RaftState, "extend_vote_lease", lambda state: state.config.lease_reads)
    return {}


def a_lease_outlives_a_transfer(patch: Patch) -> dict[str, Any]:
    original = transfer._send_timeout_now

    def send(state: RaftState, to: str) -> None:
        original(state, to)
        state.lease_invalidated = False

    patch.setattr(transfer, "_send_timeout_now", send)
    return {}


MUTANTS = (
    Mutant(
        half_is_a_majority,
        (
            "committed entries are durable on a majority",
            "a leader was elected by a majority",
            "PreVote before a campaign",
        ),
    ),
    Mutant(
        an_older_term_is_committed_by_counting,
        ("only entries of the current term are committed by counting",),
    ),
    Mutant(learners_and_removed_servers_count, ("committed entries are durable on a majority",)),
    Mutant(
        the_leader_counts_itself_before_its_disk, ("committed entries are durable on a majority",)
    ),
    Mutant(
        any_acknowledgement_covers_the_whole_log, ("committed entries are durable on a majority",)
    ),
    Mutant(
        every_append_truncates,
        ("committed entries are never dropped", "committed entries are durable on a majority"),
    ),
    Mutant(no_consistency_check, ("log matching", "state machine safety")),
    Mutant(reads_without_a_round, ("a read sees all earlier commits",)),
    Mutant(reads_before_the_first_commit, ("a read sees all earlier commits",)),
    Mutant(two_changes_at_once, ("one configuration change at a time",)),
    Mutant(
        change_before_the_first_commit,
        ("no configuration change before a commit in the leader's term",),
    ),
    Mutant(
        configurations_count_from_their_commit,
        (
            "the latest configuration is in use",
            "events match the core's state",
            "PreVote before a campaign",
            "a leader was elected by a majority",
        ),
    ),
    Mutant(leases_while_clocks_jump, _FRESH, _leases, 100),
    Mutant(
        vote_leases_end_with_the_connection,
        _FRESH,
        lambda plan: _leases(plan) and plan.alarm > 0,
        100,
    ),
    Mutant(
        vote_leases_are_never_extended, _FRESH, lambda plan: _leases(plan) and plan.alarm > 0, 100
    ),
    Mutant(
        a_lease_outlives_a_transfer,
        _FRESH,
        lambda plan: plan.config.lease_reads and "transfer" in plan.faults,
        100,
    ),
)
