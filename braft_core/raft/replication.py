"""Log replication and commitment (Raft §5.3, §5.4), leader's and follower's side."""

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
    "ask_for_proof",
    "heartbeat",
    "leader_tick",
    "on_append",
    "on_append_response",
    "replicate",
]


# -- leader ------------------------------------------------------------------------------------


def heartbeat(state: RaftState) -> None:
    """Tell every other server "I lead this term": no log position, so it can overtake entries."""
    for server, progress in state.progress.items():
        _heartbeat(state, server, progress)


def ask_for_proof(state: RaftState) -> None:
    """Send everybody something whose answer proves that we still lead.

    An idle follower is asked on the lane of the entries, which is the quicker one; one that has
    entries in flight by a heartbeat, which overtakes them.
    """
    for server, progress in state.progress.items():
        idle = progress.state is ProgressState.REPLICATE and not progress.inflight
        if idle and _in_reach(state, progress):
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
    """What a leader does with time: heartbeats, giving up on lost requests, news of commits."""
    if state.now >= state.heartbeat_due:
        state.heartbeat_due = state.now + state.config.heartbeat_interval
        heartbeat(state)
        for progress in state.progress.values():
            progress.paused = False
            if progress.expired(state.now, state.config.request_timeout):
                progress.probe()
            if not progress.inflight:
                # An idle follower may have restarted unseen, and forgotten the commit index.
                progress.commit_sent = 0
                state.notify_due = state.now
    if state.now >= state.notify_due:
        state.notify_due = NEVER
        for server, progress in state.progress.items():
            if progress.state is ProgressState.REPLICATE and _owes_commit(state, progress):
                _send(state, server, progress, [])


def replicate(state: RaftState) -> None:
    """Send every follower what its window allows."""
    config = state.config
    last = state.log.last_index
    for server, progress in state.progress.items():
        while progress.may_send(config.max_inflight_messages, config.max_inflight_bytes):
            low = progress.next_index
            if not _in_reach(state, progress):
                snapshot.send(state, server, progress)
                break
            if low > last:
                if progress.state is ProgressState.PROBE:
                    _send(state, server, progress, [])
                break
            high = min(last + 1, low + config.max_append_entries)
            _send(state, server, progress, state.log.slice(low, high, config.max_append_bytes))


def _schedule_notice(state: RaftState, progress: Progress) -> None:
    """See that a follower which caught up after a commit hears of it, entries or not."""
    if state.role is Role.LEADER and _owes_commit(state, progress):
        state.notify_due = min(state.notify_due, state.now + state.config.commit_notify_delay)


def _owes_commit(state: RaftState, progress: Progress) -> bool:
    known = min(state.commit_index, progress.next_index - 1)
    return progress.commit_sent < known and _in_reach(state, progress)


def _in_reach(state: RaftState, progress: Progress) -> bool:
    """Whether the log still holds the entry that a message to this follower must refer to.

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
    """A follower answered. The caller has dealt with terms; this one is ours and we lead."""
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
            advance_commit(state)
            # Committing can end the leadership (a leader that removed itself).
            if state.role is Role.LEADER:
                transfer.on_caught_up(state, message.sender)
        _schedule_notice(state, progress)
    elif not late:
        _back_off(progress, record, message.last_log)


def _back_off(progress: Progress, record: InFlight, last_log: int) -> None:
    """Try earlier (Raft §5.3); ``last_log`` is how far the follower's log may match at most."""
    hint = min(record.prev_index, last_log + 1)
    # A follower that rejects what it once acknowledged has lost its log. It cannot be helped by
    # replication, and hammering it would only burn both.
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
        _retire(state)


def _retire(state: RaftState) -> None:
    """The leader's removal is committed: pass the news on and step down (thesis §4.2.2)."""
    for server, progress in state.progress.items():
        if progress.state is ProgressState.REPLICATE and _in_reach(state, progress):
            _send(state, server, progress, [])
    transfer.hand_over_now(state)
    state.become_follower(state.current_term, "", "removed from the configuration")


# -- follower ----------------------------------------------------------------------------------


def on_append(state: RaftState, message: AppendEntries) -> None:
    """Entries or a heartbeat from the leader of the current term (the caller adopted it)."""
    if message.heartbeat:
        state.respond(_response(state, message, True, state.log.last_index))
        return
    log = state.log
    prev_term = log.term_at(message.prev_log_index)
    if message.prev_log_index >= log.compacted_index and prev_term != message.prev_log_term:
        state.respond(_response(state, message, False, _hint(state, message.prev_log_index)))
        return
    _take(state, message.entries)
    matched = message.prev_log_index + len(message.entries)
    _learn_commit(state, min(message.leader_commit, matched))
    # Waits for the disk even if there is nothing new: an earlier batch may still be on its way.
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


def refuse(state: RaftState, message: AppendEntries) -> None:
    """Answer a leader of an older term, who is promised nothing."""
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


def _hint(state: RaftState, prev_index: int) -> int:
    """How far our log may match: before the conflicting term, never before the commit index."""
    log = state.log
    if prev_index > log.last_index:
        return log.last_index
    return max(log.first_index_of_term_at(prev_index) - 1, state.commit_index)


def _take(state: RaftState, entries: Sequence[Entry]) -> None:
    """Append what is new. Truncate only at a real conflict: a late duplicate must not (§5.3)."""
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


def _learn_commit(state: RaftState, index: int) -> None:
    if index > state.commit_index:
        previous = state.commit_index
        state.commit_index = index
        confchange.on_committed(state, previous)
