"""Planted bugs of snapshots, compaction and sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from braft_core.abc import StoredState
from braft_core.raft import snapshot
from braft_core.raft.log import RaftLog
from braft_core.raft.messages import InstallSnapshot, InstallSnapshotResponse
from braft_core.raft.state import RaftState
from braft_core.raft.types import Configuration, SnapshotMeta
from braft_core.services.envelope import SESSION_ID_BYTES
from braft_core.services.sessions import SessionTable
from braft_core.services.state_machine import StateMachine
from braft_core.storage.recovery import Recovery
from braft_testing.simulation import clients, snapshots
from braft_testing.simulation.disk import Compaction, Disk
from braft_testing.simulation.frontend import Frontend
from braft_testing.simulation.plan import Plan
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]

_RAISES = "the core raises no unexpected error"
_SAME = (
    "all servers give the same answers",
    "states converge",
    "a snapshot holds the state at its index",
)


def _often(plan: Plan) -> bool:
    return 0 < plan.snapshot_every <= 20 and plan.initial_voters >= 3 and plan.snapshot_tail <= 3


# -- installing ----------------------------------------------------------------------------


def the_old_state_stays_after_an_install(patch: Patch) -> dict[str, Any]:
    def restore(frontend: Frontend, meta: SnapshotMeta, contents: bytes) -> None:
        frontend.applied, frontend.applied_term = meta.index, meta.term

    patch.setattr(Frontend, "restore", restore)
    return {}


def an_install_drops_what_follows_it(patch: Patch) -> dict[str, Any]:
    """Replace a log that already holds the snapshot's last entry, against Raft §7."""

    def on_install(state: RaftState, message: InstallSnapshot) -> None:
        if message.meta.index > state.commit_index:
            snapshot._replace(state, message.meta)
        state.messages_after_persist.append(snapshot._response(state, message, True))

    patch.setattr(snapshot, "on_install", on_install)
    return {}


def a_late_snapshot_is_installed(patch: Patch) -> dict[str, Any]:
    """Install a snapshot although all its entries, and more, are committed here."""

    def on_install(state: RaftState, message: InstallSnapshot) -> None:
        if state.log.term_at(message.meta.index) != message.meta.term:
            snapshot._replace(state, message.meta)
        state.messages_after_persist.append(snapshot._response(state, message, True))

    patch.setattr(snapshot, "on_install", on_install)
    return {}


def an_install_is_acknowledged_at_once(patch: Patch) -> dict[str, Any]:
    original = snapshot.on_install

    def on_install(state: RaftState, message: InstallSnapshot) -> None:
        original(state, message)
        state.messages.append(state.messages_after_persist.pop())

    patch.setattr(snapshot, "on_install", on_install)
    return {}


def an_installed_snapshot_counts_for_the_whole_log(patch: Patch) -> dict[str, Any]:
    original = snapshot.on_response

    def on_response(state: RaftState, message: InstallSnapshotResponse) -> bool:
        progress = state.progress.get(message.sender)
        if progress is not None:
            progress.snapshot_index = state.log.last_index
        return original(state, message)

    patch.setattr(snapshot, "on_response", on_response)
    return {}


def a_broken_transfer_counts_as_done(patch: Patch) -> dict[str, Any]:
    original = snapshot.on_response

    def on_response(state: RaftState, message: InstallSnapshotResponse) -> bool:
        message.success = True
        return original(state, message)

    patch.setattr(snapshot, "on_response", on_response)
    return {}


# -- taking and compacting -----------------------------------------------------------------


def compaction_beyond_what_was_applied(patch: Patch) -> dict[str, Any]:
    def taken(state: RaftState, meta: SnapshotMeta, compact_to: int) -> int:
        state.snapshot = meta
        if state.log.durable_index > state.log.compacted_index:
            state.log.compact(state.log.durable_index)
        return state.log.compacted_index

    patch.setattr(snapshot, "taken", taken)
    return {}


def a_snapshot_with_the_newest_configuration(patch: Patch) -> dict[str, Any]:
    """Store the configuration in use, whose entry lies behind the snapshot."""

    def configuration_entry_at(log: RaftLog, index: int) -> tuple[int, Configuration]:
        return log.configuration_index, log.configuration

    patch.setattr(RaftLog, "configuration_entry_at", configuration_entry_at)
    return {}


def a_snapshot_index_is_ahead_of_its_state(patch: Patch) -> dict[str, Any]:
    """Capture the state, apply entries, and name the snapshot after the last of them."""
    original = snapshots.Snapshotter._written

    def written(self: snapshots.Snapshotter, live: Any, capture: snapshots.Capture) -> None:
        frontend = live.frontend
        if frontend.applied > capture.at:
            index, configuration = live.core.log.configuration_entry_at(frontend.applied)
            capture = snapshots.Capture(
                frontend.applied, frontend.applied_term, configuration, index, capture.chunks
            )
        original(self, live, capture)

    patch.setattr(snapshots.Snapshotter, "_written", written)
    return {}


class OvercompactingDisk(Disk):
    """Compacts the log further than requested."""

    def compact(self, compaction: Compaction) -> None:
        upto = min(compaction.upto + 1, self.volatile.last_index)
        super().compact(Compaction(upto, self.volatile.term_at(upto)))


def the_log_is_compacted_beyond_the_snapshot(patch: Patch) -> dict[str, Any]:
    return {"disk_class": OvercompactingDisk}


def a_crash_before_compaction_is_not_repaired(patch: Patch) -> dict[str, Any]:
    def reconcile(state: StoredState, metas: Sequence[SnapshotMeta]) -> Recovery:
        newest = max(metas, key=lambda meta: meta.index, default=None)
        return Recovery(newest, None, state)

    patch.setattr(snapshots, "reconcile", reconcile)
    return {}


# -- sessions ------------------------------------------------------------------------------


def snapshots_forget_the_sessions(patch: Patch) -> dict[str, Any]:
    patch.setattr(SessionTable, "__bool__", lambda self: False)
    return {}


def a_retried_command_is_applied_again(patch: Patch) -> dict[str, Any]:
    def apply_once(self: StateMachine, data: bytes, context: Any) -> Any:
        return self._execute(data, context)

    patch.setattr(StateMachine, "_apply_once", apply_once)
    return {}


def a_session_forgets_its_last_answer(patch: Patch) -> dict[str, Any]:
    original = SessionTable.finish

    def finish(self: SessionTable, session_id: bytes, sequence: int, outcome: Any) -> None:
        original(self, session_id, sequence, outcome)
        self._sessions[session_id].answers.pop(sequence)

    patch.setattr(SessionTable, "finish", finish)
    return {}


def session_ids_collide(patch: Patch) -> dict[str, Any]:
    patch.setattr(clients, "new_session", lambda rng: bytes((rng.randrange(2),)) * SESSION_ID_BYTES)
    return {}


def _retries(plan: Plan) -> bool:
    return plan.session_share > 0.2 and plan.client_timeout < 1.5


MUTANTS = (
    Mutant(the_old_state_stays_after_an_install, _SAME, _often),
    Mutant(
        an_install_drops_what_follows_it,
        ("committed entries are never dropped", "commit index within the log"),
        _often,
        200,
    ),
    Mutant(
        a_late_snapshot_is_installed,
        (
            "the commit index never decreases",
            "committed entries are never dropped",
            "entries are applied in order",
        ),
        _often,
        100,
    ),
    Mutant(an_install_is_acknowledged_at_once, ("acknowledged entries are durable",), _often),
    Mutant(
        an_installed_snapshot_counts_for_the_whole_log,
        ("committed entries are durable on a majority", "recovery"),
        _often,
    ),
    Mutant(
        a_broken_transfer_counts_as_done,
        ("committed entries are durable on a majority", "recovery"),
        _often,
        100,
    ),
    Mutant(
        compaction_beyond_what_was_applied,
        ("only committed entries are compacted", f"{_RAISES} (InvariantViolation)"),
        _often,
    ),
    Mutant(
        a_snapshot_with_the_newest_configuration,
        ("a snapshot holds the configuration at its index",),
        lambda plan: _often(plan) and "membership" in plan.faults and plan.apply_latency > 0,
        100,
    ),
    Mutant(
        a_snapshot_index_is_ahead_of_its_state,
        _SAME,
        lambda plan: _often(plan) and plan.snapshot_time > 0,
    ),
    Mutant(
        the_log_is_compacted_beyond_the_snapshot,
        ("only entries in a snapshot are compacted", "the core's log matches the disk"),
        _often,
    ),
    Mutant(
        a_crash_before_compaction_is_not_repaired,
        (
            "the log has no gaps",
            "entries are applied in order",
            f"{_RAISES} (InvariantViolation)",
            "commit index within the log",
            "log matching",
            # The log ends before the snapshot that the server reports.
            "acknowledged entries are durable",
        ),
        lambda plan: _often(plan) and plan.snapshot_crash > 0,
        100,
    ),
    Mutant(
        snapshots_forget_the_sessions,
        (*_SAME, "session exactly-once"),
        lambda plan: _often(plan) and plan.session_share > 0.2,
    ),
    Mutant(a_retried_command_is_applied_again, ("session exactly-once",), _retries),
    Mutant(a_session_forgets_its_last_answer, ("session exactly-once", "recovery"), _retries),
    Mutant(session_ids_collide, ("session exactly-once", "linearizability"), _retries),
)
