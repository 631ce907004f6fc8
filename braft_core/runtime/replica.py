"""The member part of a node: it exists while the node belongs to a cluster.

A replica owns the consensus core with its driver, the writer thread and the snapshots. The server
makes it when the node becomes a member, and drops it when the node leaves its cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from braft_core.errors import BraftError
from braft_core.raft import HardState, RaftConfig, RaftCore, Role, SnapshotMeta
from braft_core.runtime import clock
from braft_core.runtime.admission import CommandAdmission
from braft_core.runtime.applier import Applier
from braft_core.runtime.components import Components
from braft_core.runtime.core_events import EventPublisher
from braft_core.runtime.driver import Driver
from braft_core.runtime.forwarding import Forwarder
from braft_core.runtime.retry_queue import RetryQueue
from braft_core.runtime.snapshots import SnapshotPolicy, Snapshotter
from braft_core.runtime.staleness import StalenessBound
from braft_core.runtime.writer import Writer

__all__ = ["Replica"]


class Replica:
    """One node's membership in one cluster. Lives on the loop, except :meth:`close`.

    :param explain: says why there is no leader, "" if nothing is wrong.
    :param on_fatal: called once if the replica cannot go on.
    """

    def __init__(
        self,
        components: Components,
        applier: Applier,
        *,
        forwarder: Forwarder,
        retries: RetryQueue,
        publisher: EventPublisher,
        admission: CommandAdmission,
        explain: Callable[[], str],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        settings, timing = components.settings, components.timing
        self._storage = components.storage
        self._applier = applier
        self._snapshot = components.initial.snapshot
        self.core = _core(components)
        policy = SnapshotPolicy(
            settings.snapshot_entries, settings.snapshot_bytes, settings.snapshot_trailing
        )
        self.snapshotter = Snapshotter(
            components, applier, self.core, policy, publisher.on_snapshot
        )
        self.driver = Driver(
            self.core,
            components.transport,
            applier,
            forward=forwarder.commands,
            retry=lambda commands: retries.put_all(commands, at_once=True),
            read_remote=forwarder.reads,
            on_event=publisher.on_event,
            on_restore=self._restore,
            on_refused=self.snapshotter.discard,
            compact=self.snapshotter.name,
            on_named=self.snapshotter.named,
            on_fatal=on_fatal,
            explain=lambda: explain() or admission.waiting,
            admit=admission.admit,
            staleness=StalenessBound(settings.election_timeout, settings.heartbeat_interval),
            timing=timing,
        )
        self.writer = Writer(
            components.storage,
            asyncio.get_running_loop(),
            f"braft-{components.ports.raft}-writer",
            self.driver.on_durable,
            self.driver.on_disk_trouble,
            timing,
            components.platform,
        )

    @property
    def is_leader(self) -> bool:
        """Whether this node believes that it leads. Any thread."""
        return self.core.role is Role.LEADER

    def start(self) -> None:
        """Restore the snapshot of the store, then run the core."""
        self.writer.start()
        if self._snapshot is not None:
            self._load(self._snapshot)
        self.driver.start(self.writer)
        self.snapshotter.start(self._snapshot, self.driver.snapshot_taken)

    def _restore(self, meta: SnapshotMeta) -> None:
        """Hand a snapshot that was received completely to the state machine."""
        self.snapshotter.received(meta)
        self._load(meta)

    def _load(self, meta: SnapshotMeta) -> None:
        chunks = self._storage.snapshots.open(meta.id)
        self._applier.restore(meta.index, meta.term, chunks)

    def set_campaign_enabled(self, enabled: bool, fault: str) -> None:
        """Allow or forbid campaigns; with a ``fault`` of the state, do not lead either.

        A leader that cannot apply committed entries can neither answer nor serve reads, and one
        whose state has diverged must not.
        """

        def act() -> None:
            self.core.set_campaign_enabled(enabled and not fault)
            if fault and self.is_leader:
                self.core.step_down(fault)

        self.driver.call(act)

    def halt(self, reason: BraftError) -> None:
        """Stop the core and the snapshots at once; settle all requests. Idempotent."""
        self.driver.halt(reason)
        self.snapshotter.cancel()

    async def stop(self) -> None:
        """Wait for the end of the tasks, after :meth:`halt`."""
        await self.snapshotter.stop()

    def close(self, timeout: float) -> None:
        """*Any thread*, after :meth:`halt`: let the writer finish."""
        self.writer.run(self.snapshotter.name_last)
        self.writer.stop(timeout)


def _core(components: Components) -> RaftCore:
    settings, stored = components.settings, components.initial.stored
    return RaftCore(
        components.server_id,
        config=RaftConfig(
            heartbeat_interval=settings.heartbeat_interval,
            election_timeout=settings.election_timeout,
            election_jitter=settings.election_timeout / 2,
            lease_reads=settings.lease_reads,
            request_timeout=settings.election_timeout / 2,
            max_uncommitted_entries=settings.max_outstanding,
        ),
        random=components.platform.new_random(),
        now=clock.monotonic(),
        hard_state=stored.hard_state or HardState(),
        entries=stored.entries,
        compacted_index=stored.compacted_index,
        compacted_term=stored.compacted_term,
        snapshot=components.initial.snapshot,
    )
