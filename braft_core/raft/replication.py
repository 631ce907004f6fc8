"""Log replication and commitment (Raft §5.3, §5.4), on the leader and on followers."""

from __future__ import annotations

from collections.abc import Sequence

from braft_core.errors import InvariantViolation
from braft_core.raft import confchange, snapshot, transfer
from braft_core.raft.messages import AppendEntries, AppendEntriesResponse
from braft_core.raft.progress import InFlight, Progress, ProgressState
from braft_core.raft.quorum import majority_index
from braft_core.raft.state import NEVER, RaftState
from braft_core.raft.types import Entry, Role

__all__ = [
    "advance_commit",
    "heartbeat",
    "leader_tick",
    "on_append",
    "on_append_response",
    "prove_leadership",
    "replicate",
]


# -- leader ------------------------------------------------------------------------------------


def heartbeat(state: RaftState) -> None:
    """Send a heartbeat to every other server. It has no log position and may overtake entries."""
    for server, progress in state.progress.items():
        _heartbeat(state, server, progress)


def prove_leadership(state: RaftState) -> None:
    """Send every other server a message whose answer proves that we still lead.

    An idle follower gets an empty AppendEntries on the channel of entries, which is the faster one.
    Any other gets a heartbeat, which overtakes the entries in flight.
    """
    for server, progress in state.progress.items():
        idle = progress.state is ProgressState.REPLICATE and not progress.inflight
        if idle and _log_reaches(state, progress):
            _send(state, server, progress, [])
        else:
            _heartbeat(state, server, progress)


def _heartbeat(state: RaftState, server: str, progress: Progress) -> None:
    request_id = state.request_id()
    progress.heartbeat_sent(request_id, state.now)
    state.messages.append(
        AppendEntries(
            sender=state.server_id,
            to=server,
            term=state.current_term,
            prev_log_index=0,
            prev_log_term=0,
            entries=(),
            leader_commit=0,
            request_id=request_id,
        )
    )


def leader_tick(state: RaftState) -> None:
    """Send what is due: heartbeats, retries of lost requests, notices of the commit index."""
    if state.now >= state.heartbeat_due:
        state.heartbeat_due = state.now + state.config.heartbeat_interval
        heartbeat(state)
        for progress in state.progress.values():
            progress.paused = False
            if progress.expired(state.now, state.config.request_timeout):
                progress.probe()
            if not progress.inflight:
                # An idle follower may have restarted and lost the commit index unnoticed.
                progress.commit_sent = 0
                state.notify_due = state.now
    if state.now >= state.notify_due:
        state.notify_due = NEVER
        for server, progress in state.progress.items():
            if progress.state is ProgressState.REPLICATE and _needs_commit_index(state, progress):
                _send(state, server, progress, [])


def replicate(state: RaftState) -> None:
    """Send every follower the entries that its window allows."""
    config = state.config
    last = state.log.last_index
    for server, progress in state.progress.items():
        if progress.next_index == last + 1 and progress.state is ProgressState.REPLICATE:
            continue
        while progress.may_send(config.max_inflight_messages, config.max_inflight_bytes):
            low = progress.next_index
            if not _log_reaches(state, progress):
                snapshot.send(state, server, progress)
                break
            if low > last:
                if progress.state is ProgressState.PROBE:
                    _send(state, server, progress, [])
                break
            high = min(last + 1, low + config.max_append_entries)
            _send(state, server, progress, state.log.slice(low, high, config.max_append_bytes))


def _schedule_commit_notice(state: RaftState, progress: Progress) -> None:
    """Schedule a message with the commit index for a follower that does not have it yet."""
    if state.role is Role.LEADER and _needs_commit_index(state, progress):
        state.notify_due = min(state.notify_due, state.now + state.config.commit_notify_delay)


def _needs_commit_index(state: RaftState, progress: Progress) -> bool:
    known = min(state.commit_index, progress.next_index - 1)
    return progress.commit_sent < known and _log_reaches(state, progress)


def _log_reaches(state: RaftState, progress: Progress) -> bool:
    """Return True if the log still holds the entry before the follower's ``next_index``.

    Compaction can pass a follower whose window is full. It then gets nothing until its answers
    arrive, or a snapshot.
    """
    return state.log.term_at(progress.next_index - 1) is not None


def _send(state: RaftState, server: str, progress: Progress, entries: Sequence[Entry]) -> None:
    prev_index = progress.next_index - 1
    prev_term = state.log.term_at(prev_index)
    if prev_term is None:
        raise InvariantViolation(
            f"entry {prev_index} is not in the log that begins at {state.log.first_index}",
            server=server,
            index=prev_index,
        )
    request_id = state.request_id()
    last_index = prev_index + len(entries)
    size = sum([len(entry.data) for entry in entries])
    progress.sent(request_id, InFlight(prev_index, last_index, size, state.now))
    progress.commit_sent = min(state.commit_index, last_index)
    state.messages.append(
        AppendEntries(
            sender=state.server_id,
            to=server,
            term=state.current_term,
            prev_log_index=prev_index,
            prev_log_term=prev_term,
            entries=entries,
            leader_commit=state.commit_index,
            request_id=request_id,
            echo=progress.stamp,
        )
    )


def on_append_response(state: RaftState, message: AppendEntriesResponse) -> None:
    """Process a follower's answer. The caller has checked that its term is ours and we lead."""
    progress = state.progress.get(message.sender)
    if progress is None:
        return
    late = message.request_id in progress.late
    record = progress.answered(message.request_id, state.now, lease=message.lease)
    if record is not None:
        progress.stamp = message.stamp or progress.stamp
    if not isinstance(record, InFlight):
        return
    if message.success:
        if progress.accepted(record.last_index):
            # What is committed already cannot move the majority's index.
            if progress.match_index > state.commit_index:
                advance_commit(state)
            # A leader that commits its own removal has stepped down now.
            if state.role is Role.LEADER:
                transfer.on_caught_up(state, message.sender)
        _schedule_commit_notice(state, progress)
    elif not late:
        _decrease_next_index(progress, record, message.last_log)


def _decrease_next_index(progress: Progress, record: InFlight, last_log: int) -> None:
    """Decrease ``next_index`` (Raft §5.3); the follower's log matches at most to ``last_log``."""
    hint = min(record.prev_index, last_log + 1)
    # A follower that rejects what it acknowledged has lost its log. Replication cannot repair
    # that, so retry at heartbeats only.
    contradiction = record.prev_index <= progress.match_index
    progress.probe(hint, pause=contradiction)


def advance_commit(state: RaftState) -> None:
    """Commit what a majority holds durably, if it is of the current term (Raft §5.4.2)."""
    if state.role is not Role.LEADER:
        return
    me, log, progress = state.server_id, state.log, state.progress
    index = majority_index(
        [log.durable_index if v == me else progress[v].match_index for v in log.voters]
    )
    if index <= state.commit_index or log.term_at(index) != state.current_term:
        return
    previous = state.commit_index
    state.commit_index = index
    committed = log.slice(previous + 1, index + 1)
    freed = sum([len(entry.data) for entry in committed])
    state.uncommitted_bytes = max(0, state.uncommitted_bytes - freed)
    state.notify_due = min(state.notify_due, state.now + state.config.commit_notify_delay)
    if confchange.on_committed(state, previous):
        _step_down_removed(state)


def _step_down_removed(state: RaftState) -> None:
    """Step down after our removal is committed; followers learn the commit index first (§4.2.2)."""
    for server, progress in state.progress.items():
        if progress.state is ProgressState.REPLICATE and _log_reaches(state, progress):
            _send(state, server, progress, [])
    transfer.hand_over_now(state)
    state.become_follower(state.current_term, "", "removed from the configuration")


# -- follower ----------------------------------------------------------------------------------


def on_append(state: RaftState, message: AppendEntries) -> None:
    """Process entries or a heartbeat of the leader. The caller has adopted the term."""
    if message.heartbeat:
        state.respond(_response(state, message, True, state.log.last_index))
        return
    log = state.log
    prev_term = log.term_at(message.prev_log_index)
    if message.prev_log_index >= log.compacted_index and prev_term != message.prev_log_term:
        state.respond(_response(state, message, False, _match_hint(state, message.prev_log_index)))
        return
    _append_new(state, message.entries)
    matched = message.prev_log_index + len(message.entries)
    _set_commit_index(state, min(message.leader_commit, matched))
    # Wait for the disk even if nothing is new: an earlier batch may not be durable yet.
    state.messages_after_persist.append(_response(state, message, True, log.last_index))


def _response(
    state: RaftState, message: AppendEntries, success: bool, last_log: int
) -> AppendEntriesResponse:
    return AppendEntriesResponse(
        sender=state.server_id,
        to=message.sender,
        term=state.current_term,
        success=success,
        last_log=last_log,
        lease=state.extend_vote_lease(),
        request_id=message.request_id,
        context=message.context,
        stamp=state.stamps.stamp(state.now),
    )


def reject(state: RaftState, message: AppendEntries) -> None:
    """Answer a leader of an older term, without granting it a vote lease."""
    state.respond(
        AppendEntriesResponse(
            sender=state.server_id,
            to=message.sender,
            term=state.current_term,
            success=False,
            last_log=state.log.last_index,
            request_id=message.request_id,
            context=message.context,
        )
    )


def _match_hint(state: RaftState, prev_index: int) -> int:
    """Return how far our log may match: before the conflicting term, or to the commit index."""
    log = state.log
    if prev_index > log.last_index:
        return log.last_index
    return max(log.first_index_of_term_at(prev_index) - 1, state.commit_index)


def _append_new(state: RaftState, entries: Sequence[Entry]) -> None:
    """Append new entries. Truncate at a conflict only, never for a late duplicate (Raft §5.3)."""
    log = state.log
    if not entries:
        return
    start = 0
    if entries[0].index <= log.last_index:
        for entry in entries:
            known = log.term_at(entry.index)
            if known is None and entry.index > log.compacted_index:
                break
            if known is not None and known != entry.term and entry.index > log.compacted_index:
                _truncate(state, entry)
                break
            start += 1
    state.append(entries[start:] if start else entries)


def _truncate(state: RaftState, entry: Entry) -> None:
    if entry.index <= state.commit_index:
        raise InvariantViolation(
            f"the leader of term {state.current_term} replaces committed entry {entry.index}",
            index=entry.index,
            commit_index=state.commit_index,
        )
    if state.log.truncate(entry.index, state.next_batch):
        state.configuration_changed()


def _set_commit_index(state: RaftState, index: int) -> None:
    if index > state.commit_index:
        previous = state.commit_index
        state.commit_index = index
        confchange.on_committed(state, previous)
