"""What of this server's state is durable, and the rules for a disk that takes long.

Term and vote are durable before they are spoken (Raft §5.1, §5.2), so each step of an election
waits for a disk. The papers assume that this is quick compared with the election timeout. Where it
is not, a server that went by its timeout alone would begin the next term before anybody could
answer in this one, and no election would ever end. So elections here take the time that the disk
takes:

* A server begins no election while its own term and vote are not durable.
* It then gives the others as long as its own disk took: they have to store their votes too.
* Votes of the current term count whenever they come (``election.on_vote_response``).
"""

from __future__ import annotations

from typing import NamedTuple

from braft_core.raft.ready import Ready
from braft_core.raft.state import RaftState
from braft_core.raft.types import HardState

__all__ = ["Batch", "is_outpaced", "persisted", "record_batch", "vote_is_durable"]


#: A sync counts as at most so many election timeouts: a longer one was rather a pause of the
#: machine, or a disk that was full, and says nothing of the next.
_LONGEST = 10.0


class Batch(NamedTuple):
    """A Ready on its way to the disk, and what is durable once it has arrived."""

    number: int
    hard_state: HardState | None
    last_index: int
    last_term: int
    emitted_at: float
    #: Whether there is something to write at all.
    writes: bool


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
    """Note that the batch of that number, and all before it, are durable."""
    waited = not vote_is_durable(state)
    while state.unsynced and state.unsynced[0].number <= number:
        batch = state.unsynced.popleft()
        if batch.hard_state is not None:
            state.durable_hard_state = batch.hard_state
        if batch.writes:
            longest = _LONGEST * state.config.election_timeout
            state.last_sync_seconds = min(state.now - batch.emitted_at, longest)
        state.log.stable_to(batch.number, batch.last_index, batch.last_term)
    if waited and vote_is_durable(state):
        _wait_for_others(state)


def vote_is_durable(state: RaftState) -> bool:
    """Return whether a crash would keep the current term and vote."""
    return state.durable_hard_state == state.hard_state


def _wait_for_others(state: RaftState) -> None:
    """Let others have the time that our own disk took, before we begin an election.

    A candidate's requests leave only now, and each voter stores its vote before it answers. A
    voter's answer leaves only now too; the candidate may wait for more of them.
    """
    wait = state.last_sync_seconds * (2.0 + state.random())
    state.election_deadline = max(state.election_deadline, state.now + wait)


def is_outpaced(state: RaftState) -> bool:
    """Return whether the others store for long what our own disk does not.

    A leader applies, and so answers, only what is durable here too. One whose disk stands still
    makes everybody wait, although the others are a majority without it. If they do not commit
    either, another leader would be no better.
    """
    durable = state.log.durable_index
    if durable >= state.outpaced_at:
        state.outpaced_at = state.commit_index if state.commit_index > durable else 0
        state.outpaced_since = state.now
    if not state.outpaced_at:
        return False
    patience = max(state.config.disk_patience, 2.0 * state.last_sync_seconds)
    return state.now - state.outpaced_since > patience
