"""Linearizable reads by read index (thesis §6.4): no log entry, one heartbeat round per batch.

A read is served at the commit index of its arrival, once the server has proved that it was still
leader *after* the arrival: a majority answered requests that were sent later. All waiting reads
share a round; reads that arrive during a round wait for the next one.
"""

from __future__ import annotations

from braft_core.raft import replication
from braft_core.raft.quorum import majority, majority_index
from braft_core.raft.ready import ReadReady
from braft_core.raft.state import PendingRead, RaftState
from braft_core.raft.types import Role

__all__ = ["confirm", "lease_index", "register", "start_round"]


def register(state: RaftState, read_id: int) -> None:
    """Register a read that arrived at the leader."""
    state.pending_reads.append(PendingRead(read_id, state.next_request_id, _read_index(state)))


def lease_index(state: RaftState) -> int:
    """Return the index at which a read may be served without a round; -1 without a lease.

    The lease is valid while a majority of voters has granted a vote lease in answer to recent
    requests (thesis §6.4.1). See ``RaftConfig.lease_reads`` for the assumptions.
    """
    config = state.config
    if not config.lease_reads or state.role is not Role.LEADER or state.lease_invalidated:
        return -1
    me, progress = state.server_id, state.progress
    leased = sorted(
        (state.now if voter == me else progress[voter].leased_at for voter in state.log.voters),
        reverse=True,
    )
    start = leased[majority(len(leased)) - 1]
    valid = state.now < start + config.election_timeout * (1.0 - config.clock_drift)
    return _read_index(state) if valid else -1


def _read_index(state: RaftState) -> int:
    """Return the commit index; -1 while it may be behind that of an earlier leader."""
    in_term = state.log.term_at(state.commit_index) == state.current_term
    return state.commit_index if in_term else -1


def start_round(state: RaftState) -> None:
    """Start a round that proves leadership, unless one is under way and not yet overdue.

    The caller has checked that this server leads and that reads wait.
    """
    if all(read.announced for read in state.pending_reads) or not state.other_voters:
        return
    waiting = any(read.announced for read in state.pending_reads)
    if waiting and state.now - state.read_round_at < state.config.heartbeat_interval:
        return
    state.read_round_at = state.now
    for read in state.pending_reads:
        read.announced = True
    replication.prove_leadership(state)


def confirm(state: RaftState) -> None:
    """Release the reads for which leadership is proved, in order of arrival."""
    if state.role is not Role.LEADER or not state.pending_reads:
        return
    current = _read_index(state)
    if current < 0:
        return
    me, progress = state.server_id, state.progress
    proved = majority_index(
        [
            state.next_request_id if voter == me else progress[voter].acked_request
            for voter in state.log.voters
        ]
    )
    done = 0
    for read in state.pending_reads:
        if read.threshold > proved:
            break
        index = read.index if read.index >= 0 else current
        state.reads.append(ReadReady(read.read_id, index))
        done += 1
    del state.pending_reads[:done]
