"""The consensus core: one Raft server as a pure state machine.

The driver owns sockets, disks and clocks. The core takes inputs (a message, the time, a proposal …)
and returns their consequences as :class:`~braft_core.raft.ready.Ready` batches. After any input,
call :meth:`RaftCore.poll` until it returns ``None``.

Equal inputs give equal outputs: time and randomness are passed in, and nothing iterates over a set.
The core is neither thread-safe nor reentrant; it has one owner.

An :class:`~braft_core.errors.InvariantViolation` means that the core is broken and must not be used
any more. A message that breaks a rule of the protocol raises
:class:`~braft_core.errors.ProtocolViolation`; the core can be used as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from braft_core.errors import Busy, NotLeader
from braft_core.raft import (
    confchange,
    dispatch,
    durability,
    election,
    reads,
    replication,
    rules,
    snapshot,
    transfer,
)
from braft_core.raft.config import RaftConfig
from braft_core.raft.log import RaftLog
from braft_core.raft.messages import InstallSnapshot, Message
from braft_core.raft.progress import ProgressState
from braft_core.raft.ready import Ready
from braft_core.raft.stamps import Stamps
from braft_core.raft.state import RaftState
from braft_core.raft.status import CoreStatus
from braft_core.raft.types import Entry, EntryType, HardState, Role, SnapshotMeta

__all__ = ["RaftCore"]

#: ``tuple.__new__`` skips the Python-level ``Entry.__new__``, the larger part of an entry's cost.
_new_tuple: Any = tuple.__new__

#: The first stamp is drawn from this range, so that a restarted server hardly ever repeats stamps.
_STAMP_RANGE = 1 << 52


def _log(entries: Sequence[Entry], index: int, term: int, newest: SnapshotMeta | None) -> RaftLog:
    if newest is None:
        return RaftLog(entries, index, term)
    return RaftLog(entries, index, term, newest.configuration, newest.configuration_index)


class RaftCore(CoreStatus):
    """One Raft server. See the module docstring for the rules of use."""

    def __init__(
        self,
        server_id: str,
        *,
        config: RaftConfig,
        random: Callable[[], float],
        now: float,
        hard_state: HardState,
        entries: Sequence[Entry],
        compacted_index: int = 0,
        compacted_term: int = 0,
        snapshot: SnapshotMeta | None = None,
    ) -> None:
        """Start as a follower from what the disk holds.

        :param entries: the log after the compacted index.
        :param snapshot: the newest stored one, if any; the state machine must hold it already.
        :param random: returns uniform numbers in [0, 1); the core's only source of randomness.
        :param now: monotonic seconds; no later time may be smaller.
        """
        applied = snapshot.index if snapshot is not None else compacted_index
        state = RaftState(
            server_id=server_id,
            config=config,
            random=random,
            now=now,
            log=_log(entries, compacted_index, compacted_term, snapshot),
            stamps=Stamps(1 + int(random() * _STAMP_RANGE), config.heartbeat_interval / 8),
            current_term=hard_state.term,
            voted_for=hard_state.voted_for,
            commit_index=applied,
            last_applied=applied,
            handed_to_apply_index=applied,
            snapshot=snapshot,
            durable_hard_state=hard_state,
            emitted_hard_state=hard_state,
        )
        super().__init__(state)
        election.start(state)

    # -- inputs --------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Advance the clock to ``now``. Call this before the other inputs of the same moment."""
        state = self._state
        state.now = max(state.now, now)
        if state.role is not Role.LEADER:
            election.election_tick(state)
        elif state.now >= self.next_deadline() or durability.is_behind(state):
            self._leader_tick()

    def _leader_tick(self) -> None:
        state = self._state
        election.check_quorum(state)
        if state.role is Role.LEADER and durability.is_outpaced(state):
            state.become_follower(state.current_term, "", "its disk is slower than the others'")
        if state.role is Role.LEADER:
            replication.leader_tick(state)
            transfer.abort_if_late(state)
        else:
            election.election_tick(state)

    def step(self, message: Message) -> None:
        """Process a message. Every request is answered exactly once.

        :raises ProtocolViolation: the message breaks a rule of the protocol and was ignored.
        """
        dispatch.step(self._state, message)

    def propose(
        self,
        commands: Sequence[bytes],
        *,
        type: EntryType = EntryType.COMMAND,
        appended_at: int = 0,
    ) -> tuple[int, int]:
        """Append entries; return the index of the first one, and the term.

        :param appended_at: wall clock, nanoseconds since the epoch, stored with each entry.
        :raises NotLeader: this server is not the leader.
        :raises Busy: too much is uncommitted, or leadership is being transferred.
        """
        state = self._require_leader()
        if state.transfer_to:
            successor = state.transfer_to
            raise Busy(f"leadership is being transferred to {successor}", successor=successor)
        size = sum([len(data) for data in commands])
        self._check_room(len(commands), size)
        first, term = state.log.last_index + 1, state.current_term
        kind = int(type)
        state.append(
            [
                _new_tuple(Entry, (index, term, kind, data, b"", appended_at))
                for index, data in enumerate(commands, first)
            ]
        )
        state.uncommitted_bytes += size
        return first, term

    def _check_room(self, count: int, size: int) -> None:
        state, config = self._state, self._state.config
        waiting = state.log.last_index - state.commit_index
        too_many = waiting + count > config.max_uncommitted_entries
        too_big = state.uncommitted_bytes + size > config.max_uncommitted_bytes
        if waiting and (too_many or too_big):
            raise Busy(
                f"{waiting} entries ({state.uncommitted_bytes} bytes) wait to be committed; "
                f"the limits are {config.max_uncommitted_entries} and "
                f"{config.max_uncommitted_bytes}",
                entries=waiting,
                bytes=state.uncommitted_bytes,
            )

    def read(self, read_id: int) -> None:
        """Start a linearizable read; ``Ready.reads`` will name ``read_id``.

        :raises NotLeader: this server is not the leader.
        """
        state = self._require_leader()
        reads.register(state, read_id)
        reads.confirm(state)

    def lease_read(self) -> int:
        """Return the index at which a read may be served now; -1 without a valid lease.

        Only for reads that arrived before the last :meth:`tick`. With an older time, a leader that
        was paused in between would not notice that it was replaced. Use :meth:`read` on -1.
        """
        return reads.lease_index(self._state)

    def change_membership(self, kind: str, server_id: str, address: str = "") -> int:
        """Change the configuration by one server; return the index that holds the result.

        :param kind: one of :data:`braft_core.raft.confchange.KINDS`.
        :raises NotLeader: this server is not the leader.
        :raises Rejected: the change is not possible, with the reason.
        :raises Busy: another change or a transfer is pending, or nothing of this leader's term is
            committed yet.
        """
        state = self._require_leader()
        if state.transfer_to:
            raise Busy(f"leadership is being transferred to {state.transfer_to}")
        return confchange.change(state, kind, server_id, address)

    def transfer_leadership(self, to: str = "") -> str:
        """Start a leadership transfer; return the target's id. See :func:`.transfer.begin`."""
        return transfer.begin(self._require_leader(), to)

    def step_down(self, reason: str) -> None:
        """Give up leadership, for example because this server cannot apply entries."""
        state = self._state
        if state.role is Role.LEADER:
            state.become_follower(state.current_term, "", reason)

    def set_campaign_enabled(self, enabled: bool) -> None:
        """Allow or forbid campaigns, those for a TimeoutNow included; initially allowed."""
        election.set_campaign_enabled(self._state, enabled)

    def persisted(self, number: int) -> None:
        """Note that the Ready with that number, and all before it, are durable."""
        state = self._state
        durability.persisted(state, number)
        election.own_vote_durable(state)
        if state.role is Role.LEADER:
            replication.advance_commit(state)
            reads.confirm(state)

    def applied(self, index: int) -> None:
        """Note that the state machine has applied everything up to ``index``."""
        self._state.last_applied = max(self._state.last_applied, index)

    def snapshot_taken(self, meta: SnapshotMeta, compact_to: int) -> int:
        """Compact the log behind a durable snapshot; return the index up to which it was compacted.

        :param compact_to: compact at most up to this index.
        """
        return snapshot.taken(self._state, meta, compact_to)

    def needs_snapshot(self, message: InstallSnapshot) -> bool:
        """Return True if the contents of an offered snapshot are needed.

        :raises ProtocolViolation: the offer breaks a rule of the protocol.
        """
        rules.check(self._state, message)
        return snapshot.is_needed(self._state, message)

    def connection_lost(self, peer: str) -> None:
        """Note that an established connection to ``peer`` broke; its process has probably died."""
        state = self._state
        if state.role is Role.LEADER:
            self.unreachable(peer)
        elif state.role is Role.FOLLOWER and peer == state.leader and state.may_campaign:
            election.on_leader_lost(state)

    def unreachable(self, peer: str) -> None:
        """Note that requests to ``peer`` were dropped; the next heartbeat probes it again."""
        progress = self._state.progress.get(peer)
        if progress is not None and progress.state is not ProgressState.SNAPSHOT:
            progress.probe(pause=True)

    # -- outputs -------------------------------------------------------------------------

    def poll(self) -> Ready | None:
        """Return the consequences of the inputs since the last call, ``None`` without any."""
        state = self._state
        if state.role is Role.LEADER:
            replication.replicate(state)
            if state.pending_reads:
                reads.start_round(state)
        return self._take_ready() if self._has_ready() else None

    def _has_ready(self) -> bool:
        state = self._state
        return bool(
            state.messages
            or state.messages_after_persist
            or state.events
            or state.reads
            or state.log.has_unstable
            or state.restoring is not None
            or state.emitted_hard_state != (state.current_term, state.voted_for)
            or min(state.commit_index, state.log.durable_index) > state.handed_to_apply_index
        )

    def _take_ready(self) -> Ready:
        state = self._state
        truncate_from, entries = state.log.take_unstable()
        ready = Ready(
            number=state.next_batch,
            hard_state=self._changed_hard_state(),
            truncate_from=truncate_from,
            snapshot=state.restoring,
            entries=entries,
            messages=state.messages,
            messages_after_persist=state.messages_after_persist,
            committed=self._take_committed(),
            reads=state.reads,
            events=state.events,
        )
        state.next_batch += 1
        state.restoring = None
        state.messages, state.messages_after_persist = [], []
        state.reads, state.events = [], []
        durability.record_batch(state, ready)
        return ready

    def next_deadline(self) -> float:
        """Return the latest time at which :meth:`tick` should be called."""
        state = self._state
        if state.role is Role.LEADER:
            return min(
                state.heartbeat_due,
                state.quorum_check_due,
                state.notify_due,
                state.transfer_deadline,
            )
        return max(state.election_deadline, state.vote_lease_until)

    def _changed_hard_state(self) -> HardState | None:
        state = self._state
        if state.emitted_hard_state == (state.current_term, state.voted_for):
            return None
        state.emitted_hard_state = state.hard_state
        return state.hard_state

    def _take_committed(self) -> list[Entry]:
        """Return the entries that may be applied now: committed, and durable here.

        After a restart the log must reach as far as the state machine did.
        """
        state = self._state
        limit = min(state.commit_index, state.log.durable_index)
        if limit <= state.handed_to_apply_index:
            return []
        first, state.handed_to_apply_index = state.handed_to_apply_index + 1, limit
        return state.log.slice(first, limit + 1)

    def _require_leader(self) -> RaftState:
        state = self._state
        if state.role is not Role.LEADER:
            hint = f"; {state.leader} does" if state.leader else "; no leader is known"
            raise NotLeader(
                f"{state.server_id} does not lead term {state.current_term}{hint}",
                leader=state.leader,
                term=state.current_term,
            )
        return state
