"""The consensus core: one Raft server as a pure state machine.

Bytes, sockets, disks and clocks are the driver's. The core takes inputs (a message, the time, a
proposal …) and hands out one :class:`~braft_core.raft.ready.Ready` batch of consequences. Equal
inputs give equal outputs: time and randomness come in from outside, nothing iterates over a set.
Not thread-safe and not reentrant: it has one owner. After any input, ask :meth:`RaftCore.ready`.
An :class:`~braft_core.errors.InvariantViolation` means that the core itself is in a state that must
not be; it must not be used any more. A peer's message that breaks a rule of the protocol raises a
:class:`~braft_core.errors.ProtocolViolation` instead, and the core goes on.
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

#: ``tuple.__new__`` skips the Python-level ``Entry.__new__``, most of what an entry costs here.
_new_tuple: Any = tuple.__new__

#: First stamps are drawn from so many: a life of a server hardly ever repeats those of another one.
_STAMPS = 1 << 52


def _log(entries: Sequence[Entry], index: int, term: int, newest: SnapshotMeta | None) -> RaftLog:
    if newest is None:
        return RaftLog(entries, index, term)
    return RaftLog(entries, index, term, newest.configuration, newest.configuration_index)


class RaftCore(CoreStatus):
    """One server. See the module docstring for the rules of use."""

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

        :param entries: the log, from just behind the compacted index.
        :param snapshot: the newest stored one, if there is any; the state machine already holds it.
        :param random: uniform in [0, 1), the core's only source of chance.
        :param now: monotonic seconds; all later times must not be smaller.
        """
        applied = snapshot.index if snapshot is not None else compacted_index
        state = RaftState(
            server_id=server_id,
            config=config,
            random=random,
            now=now,
            log=_log(entries, compacted_index, compacted_term, snapshot),
            stamps=Stamps(1 + int(random() * _STAMPS), config.heartbeat_interval / 8),
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
        """Time is ``now``. Call it first among the inputs of a moment."""
        state = self._state
        state.now = max(state.now, now)
        if state.role is Role.LEADER:
            election.check_quorum(state)
        if state.role is Role.LEADER and durability.is_outpaced(state):
            state.become_follower(state.current_term, "", "its disk is slower than the others'")
        if state.role is Role.LEADER:
            replication.leader_tick(state)
            transfer.abort_if_late(state)
        else:
            election.election_tick(state)

    def step(self, message: Message) -> None:
        """A message arrived. One that breaks no rule of the protocol is answered exactly once.

        :raises ProtocolViolation: it breaks one. The core is as if it had not come, and goes on.
        """
        dispatch.step(self._state, message)

    def propose(
        self,
        commands: Sequence[bytes],
        *,
        type: EntryType = EntryType.COMMAND,
        appended_at: int = 0,
    ) -> tuple[int, int]:
        """Append entries; returns the index of the first and the term.

        :param appended_at: wall clock, nanoseconds since the epoch, stored with each entry.
        :raises NotLeader: this server does not lead.
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
        """Ask for a linearizable read; ``Ready.reads`` will name ``read_id``.

        :raises NotLeader: this server does not lead.
        """
        state = self._require_leader()
        reads.register(state, read_id)
        reads.confirm(state)

    def lease_read(self) -> int:
        """The index at which a read that was taken before the last :meth:`tick` may be served now.

        -1 without a valid lease: use :meth:`read` then. The order matters: were the time older than
        the read, a leader that stood still in between would not notice that it was replaced.
        """
        return reads.lease_index(self._state)

    def change_membership(self, kind: str, server_id: str, address: str = "") -> int:
        """Change the configuration by one server; returns the index that holds the result.

        :param kind: one of :data:`braft_core.raft.confchange.KINDS`.
        :raises NotLeader: this server does not lead. :raises Rejected: it makes no sense.
        :raises Busy: another change or a transfer is pending, or it is too early in the term.
        """
        state = self._require_leader()
        if state.transfer_to:
            raise Busy(f"leadership is being transferred to {state.transfer_to}")
        return confchange.change(state, kind, server_id, address)

    def transfer_leadership(self, to: str = "") -> str:
        """Begin to hand leadership over; returns the successor's id. See :mod:`.transfer`."""
        return transfer.begin(self._require_leader(), to)

    def step_down(self, reason: str) -> None:
        """Give leadership up, to whoever is elected, because this server cannot do its work."""
        state = self._state
        if state.role is Role.LEADER:
            state.become_follower(state.current_term, "", reason)

    def set_campaign_enabled(self, enabled: bool) -> None:
        """Allow or forbid campaigns, those for a TimeoutNow included; initially allowed."""
        election.set_campaign_enabled(self._state, enabled)

    def persisted(self, number: int) -> None:
        """The Ready with that number, and all before it, are durable."""
        state = self._state
        durability.persisted(state, number)
        election.own_vote_durable(state)
        replication.advance_commit(state)
        reads.confirm(state)

    def applied(self, index: int) -> None:
        """The state machine has applied everything up to ``index``."""
        self._state.last_applied = max(self._state.last_applied, index)

    def snapshot_taken(self, meta: SnapshotMeta, compact_to: int) -> int:
        """A snapshot is durable: compact up to ``compact_to`` at most; returns where to."""
        return snapshot.taken(self._state, meta, compact_to)

    def offered(self, message: InstallSnapshot) -> tuple[str, bool]:
        """Return which rule an offered snapshot breaks, and whether its contents are wanted."""
        return snapshot.refusal(self._state, message), snapshot.is_wanted(self._state, message)

    def connection_lost(self, peer: str) -> None:
        """An established connection to ``peer`` broke (its process probably died)."""
        state = self._state
        if state.role is Role.LEADER:
            self.unreachable(peer)
        elif state.role is Role.FOLLOWER and peer == state.leader and state.may_campaign:
            election.lost_leader(state)

    def unreachable(self, peer: str) -> None:
        """Requests to ``peer`` were dropped; it is probed again with the next heartbeat."""
        progress = self._state.progress.get(peer)
        if progress is not None and progress.state is not ProgressState.SNAPSHOT:
            progress.probe(pause=True)

    # -- outputs -------------------------------------------------------------------------

    def poll(self) -> Ready | None:
        """Return everything that follows from the inputs so far, once; ``None`` if nothing does."""
        if self._state.role is Role.LEADER:
            replication.replicate(self._state)
            reads.start_round(self._state)
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
            or state.hard_state != state.emitted_hard_state
            or self._applicable() > state.handed_to_apply_index
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
        """When :meth:`tick` should be called at the latest."""
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
        if state.hard_state == state.emitted_hard_state:
            return None
        state.emitted_hard_state = state.hard_state
        return state.hard_state

    def _applicable(self) -> int:
        """Committed and locally durable: a restart must not fall behind what was applied."""
        return min(self._state.commit_index, self._state.log.durable_index)

    def _take_committed(self) -> list[Entry]:
        state, limit = self._state, self._applicable()
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
