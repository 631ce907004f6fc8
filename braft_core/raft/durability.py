"""What of this server's state is durable, and how elections cope with slow disks.

Term and vote are durable before they are sent (Raft §5.1, §5.2), so each step of an election waits
for a disk. The papers assume that a write takes much less than the election timeout. On a slower
disk, a server that obeyed its timeout alone would start the next term before anybody could answer,
and no election would ever succeed. Therefore:

* A server starts no election while its own term and vote are not durable.
* It then waits as long again as its own write took, because the others must store their votes.
* Votes of the current term count however late they arrive (``election.on_vote_response``).
"""

from __future__ import annotations

from braft_core.raft.ready import Batch, Ready
from braft_core.raft.state import RaftState

__all__ = ["is_behind", "is_outpaced", "persisted", "record_batch", "vote_is_durable"]


#: A write counts as at most this many election timeouts. A longer one was probably a suspended
#: machine or a full disk, which predicts nothing about the next write.
_MAX_SYNC_TIMEOUTS = 10.0


def record_batch(state: RaftState, ready: Ready) -> None:
    """Remember a batch until it is durable."""
    log = state.log
    state.unsynced.append(
        Batch(
            ready.number,
            ready.hard_state,
            log.last_index,
            log.last_term,
            state.now,
            ready.must_persist,
        )
    )


def persisted(state: RaftState, number: int) -> None:
    """Note that the batch with that number, and all before it, are durable."""
    waited = not vote_is_durable(state)
    while state.unsynced and state.unsynced[0].number <= number:
        batch = state.unsynced.popleft()
        if batch.hard_state is not None:
            state.durable_hard_state = batch.hard_state
        if batch.writes:
            longest = _MAX_SYNC_TIMEOUTS * state.config.election_timeout
            state.last_sync_seconds = min(state.now - batch.emitted_at, longest)
        state.log.stable_to(batch.number, batch.last_index, batch.last_term)
    if waited and vote_is_durable(state):
        _wait_for_others(state)


def vote_is_durable(state: RaftState) -> bool:
    """Return True if the current term and vote would survive a crash."""
    return state.durable_hard_state == (state.current_term, state.voted_for)


def _wait_for_others(state: RaftState) -> None:
    """Postpone our next election by about twice the time that our own write took.

    A candidate's requests leave only now, and each voter stores its vote before it answers. A
    voter's answer leaves only now, and the candidate may still wait for others.
    """
    wait = state.last_sync_seconds * (2.0 + state.random())
    state.election_deadline = max(state.election_deadline, state.now + wait)


def is_behind(state: RaftState) -> bool:
    """Return True while :func:`is_outpaced` must look at each moment."""
    return bool(state.outpaced_at) or state.commit_index > state.log.durable_index


def is_outpaced(state: RaftState) -> bool:
    """Return True if our disk has long been behind the commit index.

    A leader applies and answers only what is durable here too. If its disk hangs, every client
    waits although the others are a majority. If nothing is committed without our disk, another
    leader would be no better.
    """
    durable = state.log.durable_index
    if durable >= state.outpaced_at:
        state.outpaced_at = state.commit_index if state.commit_index > durable else 0
        state.outpaced_since = state.now
    if not state.outpaced_at:
        return False
    patience = max(state.config.disk_patience, 2.0 * state.last_sync_seconds)
    return state.now - state.outpaced_since > patience
