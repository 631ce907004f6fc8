"""Snapshots and log compaction (Raft §7): when the log no longer reaches a follower.

The core never sees a snapshot's contents. It is told that one was taken (:func:`taken`), says
whom to send it to, and on the follower's side hands a received one to the driver to restore.
"""

from __future__ import annotations

from braft_core.errors import InvariantViolation
from braft_core.raft.limits import MAX_SERVERS
from braft_core.raft.messages import InstallSnapshot, InstallSnapshotResponse
from braft_core.raft.progress import Progress, ProgressState
from braft_core.raft.ready import ConfigurationCommitted
from braft_core.raft.state import RaftState
from braft_core.raft.types import SnapshotMeta

__all__ = ["is_wanted", "on_install", "on_response", "refusal", "respond", "send", "taken"]


def taken(state: RaftState, meta: SnapshotMeta, compact_to: int) -> int:
    """A snapshot was stored here, durably; returns the index up to which the log was compacted.

    ``compact_to`` leaves a tail for followers that are a little behind. Entries that a follower
    needs after the snapshot which it is receiving are kept as well, within a limit.
    """
    if meta.index > state.last_applied:
        raise InvariantViolation(
            f"a snapshot at {meta.index} is ahead of the applied index {state.last_applied}"
        )
    if state.snapshot is None or meta.index >= state.snapshot.index:
        state.snapshot = meta
    log = state.log
    target = min(compact_to, meta.index, log.durable_index)
    oldest = state.log.last_index - state.config.max_retained_entries
    for progress in state.progress.values():
        if progress.state is ProgressState.SNAPSHOT:
            target = min(target, max(progress.snapshot_index, oldest))
    if target > log.compacted_index:
        log.compact(target)
    return log.compacted_index


def send(state: RaftState, server: str, progress: Progress) -> None:
    """The log does not reach back to what ``server`` needs: send the newest snapshot instead."""
    meta = state.snapshot
    if meta is None or meta.index < state.log.compacted_index:
        raise InvariantViolation(
            f"server {server} needs entry {progress.next_index}, the log begins at "
            f"{state.log.first_index}, and no snapshot covers what is missing",
            server=server,
        )
    request_id = state.request_id()
    progress.snapshot_sent(request_id, meta.index)
    state.messages.append(
        InstallSnapshot(
            sender=state.server_id,
            to=server,
            term=state.current_term,
            meta=meta,
            request_id=request_id,
        )
    )


def on_response(state: RaftState, message: InstallSnapshotResponse) -> bool:
    """The transfer ended; returns whether the follower now holds more than was known."""
    progress = state.progress.get(message.sender)
    if progress is None or message.request_id != progress.snapshot_request:
        return False
    progress.snapshot_request = 0
    if progress.state is not ProgressState.SNAPSHOT:
        return False
    if not message.success:
        progress.probe(pause=True)
        return False
    progress.last_contact = state.now
    news = progress.accepted(progress.snapshot_index)
    # Where it stands beyond the snapshot is not known: it may have kept entries of its own.
    progress.probe()
    return news


def refusal(state: RaftState, message: InstallSnapshot) -> str:
    """Return which rule the offer of a snapshot breaks, "" if it breaks none."""
    meta = message.meta
    if message.sender == state.server_id:
        return "it comes from this server itself"
    if message.term == state.current_term and state.leader not in ("", message.sender):
        return f"{state.leader} leads term {message.term}, not {message.sender}"
    if not 0 < meta.term <= message.term or meta.index < 1:
        return f"no leader of term {message.term} has entry {meta.index} of term {meta.term}"
    if not 0 <= meta.configuration_index <= meta.index:
        return f"its configuration is of entry {meta.configuration_index}, behind {meta.index}"
    if not meta.configuration.voters or len(meta.configuration.servers) > MAX_SERVERS:
        return (
            f"its configuration has {len(meta.configuration.voters)} voters and "
            f"{len(meta.configuration.servers)} servers"
        )
    return ""


def is_wanted(state: RaftState, message: InstallSnapshot) -> bool:
    """Return whether the contents of an offered snapshot are of any use.

    They are not if the term is old, or if the log holds the snapshot's last entry. The core
    answers such an offer from its description alone.
    """
    meta = message.meta
    newer = message.term >= state.current_term and meta.index > state.commit_index
    return newer and state.log.term_at(meta.index) != meta.term


def on_install(state: RaftState, message: InstallSnapshot) -> None:
    """A snapshot arrived from the leader of the current term (the caller adopted it).

    Without an id it is only the description of one: its contents were of no use.
    """
    meta, log = message.meta, state.log
    if meta.index > state.commit_index:
        if log.term_at(meta.index) == meta.term:
            # Raft §7: the log already holds it and what follows; only the commit index is news.
            state.commit_index = meta.index
        elif not meta.id:
            state.respond(_response(state, message, False))
            return
        else:
            _replace(state, meta)
    state.messages_after_persist.append(_response(state, message, True))


def _replace(state: RaftState, meta: SnapshotMeta) -> None:
    state.log.restore(meta, state.next_batch)
    state.snapshot = state.restoring = meta
    state.commit_index = state.handed_to_apply_index = meta.index
    state.configuration_changed()
    state.events.append(ConfigurationCommitted(meta.configuration, meta.configuration_index))


def respond(state: RaftState, message: InstallSnapshot, success: bool) -> None:
    """Answer without having taken anything."""
    state.respond(_response(state, message, success))


def _response(state: RaftState, message: InstallSnapshot, success: bool) -> InstallSnapshotResponse:
    return InstallSnapshotResponse(
        sender=state.server_id,
        to=message.sender,
        term=state.current_term,
        success=success,
        request_id=message.request_id,
        context=message.context,
    )
