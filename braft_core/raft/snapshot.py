"""Snapshots and log compaction (Raft §7), for followers that need entries before our log.

The core never sees the contents of a snapshot. The driver reports one that was taken
(:func:`taken`). The core decides to whom it is sent, and has the driver restore a received one.
"""

from __future__ import annotations

from braft_core.errors import InvariantViolation
from braft_core.raft.messages import InstallSnapshot, InstallSnapshotResponse
from braft_core.raft.progress import Progress, ProgressState
from braft_core.raft.ready import ConfigurationCommitted
from braft_core.raft.state import RaftState
from braft_core.raft.types import SnapshotMeta

__all__ = ["is_needed", "on_install", "on_response", "respond", "send", "taken"]


def taken(state: RaftState, meta: SnapshotMeta, compact_to: int) -> int:
    """Compact the log behind a durable snapshot; return the index up to which it was compacted.

    ``compact_to`` keeps a tail for followers that are a little behind. Entries that a follower
    needs after the snapshot that it is receiving are also kept, within a limit.
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
    """Send the newest snapshot to a server that needs entries before our log."""
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
    """Process the end of a transfer; return True if the follower's match index grew."""
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
    advanced = progress.accepted(progress.snapshot_index)
    # Its log after the snapshot is unknown: it may have kept entries.
    progress.probe()
    return advanced


def is_needed(state: RaftState, message: InstallSnapshot) -> bool:
    """Return True if the contents of an offered snapshot are needed.

    They are not if the term is old or the log holds the snapshot's last entry. The core then
    answers the offer without the contents.
    """
    meta = message.meta
    newer = message.term >= state.current_term and meta.index > state.commit_index
    return newer and state.log.term_at(meta.index) != meta.term


def on_install(state: RaftState, message: InstallSnapshot) -> None:
    """Process a snapshot of the leader. The caller has adopted the term.

    Without an id it is only an offer, whose contents were not needed.
    """
    meta, log = message.meta, state.log
    if meta.index > state.commit_index:
        if log.term_at(meta.index) == meta.term:
            # Raft §7: the log already holds all of it; only the commit index is new.
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
    """Answer an offer without storing anything."""
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
