"""Snapshots of a simulated server: taken concurrently, sent, received, and stored.

Owns what the runtime of a real node does around the core. The state is captured between two entries
and written while commands go on; only then the log is compacted. A received snapshot is stored
whole before the core is informed. Each of these steps takes virtual time, and a crash may come
between any two of them. The sender's own transport answers a transfer that times out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from braft_core.errors import StorageCorrupt
from braft_core.raft.messages import InstallSnapshot, InstallSnapshotResponse
from braft_core.raft.types import Configuration, HardState, SnapshotMeta
from braft_core.storage.recovery import Recovery, reconcile
from braft_testing.simulation.disk import Compaction, Disk, LogImage
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.requests import Transfer, duplicate

if TYPE_CHECKING:
    from braft_testing.simulation.network import Envelope
    from braft_testing.simulation.process import Process
    from braft_testing.simulation.server import Server

__all__ = ["Capture", "Snapshotter", "recover"]

#: Snapshots kept: the one in use, and an older one as a fallback.
_KEEP = 2


@dataclass(frozen=True, slots=True)
class Capture:
    """The state after an entry, and the configuration there.

    ``chunks`` are read when the snapshot is written, as on a node: further commands were applied
    meanwhile.
    """

    at: int
    term: int
    configuration: Configuration
    configuration_index: int
    chunks: Iterable[bytes]


@dataclass(slots=True)
class Snapshotter:
    """The snapshots of one life of a server."""

    server: Server
    #: Index of the newest one.
    last: int = 0
    writing: bool = False
    #: Ids of the transfers that were sent and not answered.
    under_way: set[int] = field(default_factory=set)

    # -- taking --------------------------------------------------------------------------

    def consider(self, live: Process) -> None:
        """Capture the state if enough was applied since the last time."""
        every, frontend = self.server.world.plan.snapshot_every, live.frontend
        if every and frontend.applied - self.last >= every:
            self.take(live)

    def take(self, live: Process) -> None:
        """Capture the state now, if anything was applied and snapshots are allowed."""
        frontend = live.frontend
        if self.writing or not frontend.applied or self.is_stopped(live):
            return
        self.writing = True
        if live.frontend.stopped is not None and self.server.world.versions is not None:
            why = live.frontend.stopped.message
            self.server.world.versions.captured_stopped(self.server.id, why)
        at = frontend.applied
        index, configuration = live.core.log.configuration_entry_at(at)
        capture = Capture(
            at, frontend.applied_term, configuration, index, frontend.machine.snapshot()
        )
        delay = self.server.world.plan.snapshot_time * self.server.rng.random()
        self.server.world.scheduler.after(delay, self._written, live, capture)

    def is_stopped(self, live: Process) -> bool:
        """Return whether no snapshot can be taken, because applying has stopped."""
        return live.frontend.stopped is not None

    def _written(self, live: Process, capture: Capture) -> None:
        """Store the written snapshot; the log is compacted in the next turn of the process."""
        server = self.server
        if live is not server.live:
            return
        self.writing = False
        if server.disk.full:
            return  # abandoned; another one is due at once
        meta = server.place(capture)
        self.last = max(self.last, meta.index)
        if server.world.faults.snapshot_placed(server):
            return
        delay = server.world.plan.snapshot_time * server.rng.random() * 0.2
        server.world.scheduler.after(delay, self._report, live, meta)

    def _report(self, live: Process, meta: SnapshotMeta) -> None:
        if live is self.server.live:
            self.server.post(self.compact, live, meta)

    def compact(self, live: Process, meta: SnapshotMeta) -> None:
        """Report a stored snapshot to the core, and compact the log as far as the core says."""
        live.core.applied(live.frontend.applied)
        tail = self.server.world.plan.snapshot_tail
        index = live.core.snapshot_taken(meta, meta.index - tail)
        in_use = live.core.snapshot
        self.server.disk.snapshots.retain(_KEEP, in_use.id if in_use is not None else "")
        term = live.core.log.term_at(index)
        # Beyond our own snapshot the log begins behind a received one, which compacts it itself.
        if self.server.disk.volatile.base < index <= meta.index and term is not None:
            self.server.world.trace.add(f"{self.server.id} compacts its log to {index}")
            self.server.disk.compact(Compaction(index, term))

    # -- sending -------------------------------------------------------------------------

    def send(self, message: InstallSnapshot) -> Transfer | None:
        """Return the transfer; ``None`` if the snapshot cannot be read."""
        self.under_way.add(message.request_id)
        world = self.server.world
        patience = world.plan.transfer_timeout * (0.5 + self.server.rng.random())
        live = self.server.process
        contents = self.server.disk.snapshots.open(message.meta.id)
        delay = 0.0 if contents is None else patience
        world.scheduler.after(delay, self._broken_off, live, message)
        return None if contents is None else Transfer(message, contents)

    def _broken_off(self, live: Process, request: InstallSnapshot) -> None:
        if live is self.server.live and request.request_id in self.under_way:
            self.under_way.discard(request.request_id)
            failure = InstallSnapshotResponse(
                request.to, request.sender, 0, False, request.request_id
            )
            self.server.post(self.server.step, failure)

    # -- receiving -----------------------------------------------------------------------

    def receive(self, live: Process, envelope: Envelope) -> None:
        """Store a received snapshot before the core is informed."""
        delay = self.server.world.plan.snapshot_time * self.server.rng.random()
        self.server.world.scheduler.after(delay, self._received, live, envelope)

    def _received(self, live: Process, envelope: Envelope) -> None:
        server = self.server
        if live is not server.live or server.frozen or server.disk.full:
            return
        sent: Transfer = envelope.payload
        meta = sent.message.meta
        capture = Capture(
            meta.index,
            meta.term,
            meta.configuration,
            meta.configuration_index,
            (sent.contents,),
        )
        message = duplicate(sent.message)
        message.meta = server.place(capture)
        if not server.world.faults.snapshot_placed(server):
            server.deliver(live, envelope, message)


def recover(disk: Disk) -> Recovery | None:
    """Choose a snapshot as a starting node does; ``None`` if it must refuse to start.

    :raises InvariantBroken: if an undamaged disk is refused.
    """
    if disk.unreadable:
        return None
    readable = [meta for meta in disk.snapshots.list() if meta.id not in disk.snapshots.damaged]
    try:
        recovery = reconcile(disk.durable.stored, readable)
    except StorageCorrupt as error:
        if disk.snapshots.damaged:
            return None
        raise InvariantBroken("a server starts from an undamaged disk", error.message) from error
    repair, newest = recovery.repair, recovery.snapshot
    if repair is not None and newest is not None:
        disk.repair(lambda image: _reset(image, repair.hard_state, newest))
    return recovery


def _reset(image: LogImage, hard_state: HardState | None, newest: SnapshotMeta) -> None:
    if hard_state is not None:
        image.set_hard_state(hard_state)
    image.reset(newest)
