"""One simulated node: the threads, server and replica of production on virtual parts."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from braft_core.abc import DiscoveryContext, NodeAPI, Service, TransportOptions
from braft_core.compat.go_braft.server_id import RaftID, encode_server_id, new_ksuid
from braft_core.config import Settings, TokenSource
from braft_core.errors import BraftError, Stopped
from braft_core.identity import Ports
from braft_core.node_recipes import RecipeCalls
from braft_core.node_requests import RequestCalls
from braft_core.plugin.manager import Plugins
from braft_core.plugin.registry import Registry
from braft_core.runtime import clock
from braft_core.runtime.advertised_address import AdvertisedAddress
from braft_core.runtime.components import Components
from braft_core.runtime.initial_state import InitialState
from braft_core.runtime.lifecycle import NodeThreads
from braft_core.runtime.timing import Timing
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.cluster import ClusterService
from braft_core.services.kv import KVService
from braft_core.services.members import MembersService
from braft_core.services.state_machine import StateMachine
from braft_core.storage.recovery import recover_store
from braft_core.store import Lease, NodeStore
from braft_testing.simulation.runtime.clocks import MachineClock
from braft_testing.simulation.runtime.discovery import Directory, VirtualDiscovery
from braft_testing.simulation.runtime.disk import PowerCut, VirtualDisk, VirtualStorage
from braft_testing.simulation.runtime.ledger import services_of
from braft_testing.simulation.runtime.network import VirtualNetwork
from braft_testing.simulation.runtime.observed import DurabilityJudge, ObservedTransport
from braft_testing.simulation.runtime.platform import VirtualPlatform
from braft_testing.simulation.runtime.scheduler import Killed, Process, Scheduler

__all__ = ["Life", "SimulatedNode", "Surroundings", "address_of"]

_PORT = 15000
#: Seconds after a stop within which its callers have their answers.
_LAST_ANSWERS = 5.0


def address_of(number: int) -> str:
    """Return the address of a node."""
    return f"10.0.0.{number + 1}:{_PORT}"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all nodes of a cluster share."""

    seed: str
    scheduler: Scheduler
    network: VirtualNetwork
    directory: Directory
    settings: Settings
    timing: Timing
    expect: int
    #: Takes the name of a process and a kind of step.
    latency: Callable[[str, str], float]
    judge: DurabilityJudge
    #: Returns the services of a version of the program, beside ``kv``.
    services: Callable[[int], tuple[Service, ...]] = services_of


class Life(RequestCalls, RecipeCalls):
    """A node from its start to its stop or its death.

    It has the requests, the store and the recipes of a ``Node``.
    """

    def __init__(self, process: Process, platform: VirtualPlatform, components: Components) -> None:
        self.process, self.platform = process, platform
        self._settings = components.settings
        self.threads = NodeThreads(components, cast(NodeAPI, self), lambda _: None)
        self.store = NodeStore(self, self.lease, lambda: self._running().watchers)

    def lease(self, ttl: float = 10.0) -> Lease:
        """See :meth:`braft_core.Node.lease`."""
        return Lease(self, lambda: self._running().lease_keeper, clock.monotonic, ttl)

    def _running(self) -> NodeThreads:
        if not self.process.alive:
            raise Stopped("the process was killed")
        return self.threads


class SimulatedNode:
    """A node with a disk that outlives its processes."""

    def __init__(self, number: int, around: Surroundings) -> None:
        self.number, self._around = number, around
        self.name = f"n{number}"
        self.address = address_of(number)
        self.rng = random.Random(f"{around.seed}/{self.name}")  # noqa: S311 - reproducible
        #: The version of the program that it runs.
        self.version = 1
        #: Whether it runs an older version than before.
        self.put_back = False
        #: Whether it keeps nothing when it stops.
        self.ephemeral = False
        self.renew()
        self.clock = MachineClock(lambda: around.scheduler.now)
        self.lives = 0
        #: The present life, ``None`` while it is down.
        self.life: Life | None = None
        #: Whether an operator's stop is under way.
        self.stopping = False
        #: What went wrong in any life.
        self.failures: list[str] = []
        #: Those of all lives: nothing of a dead process may be destroyed before the run ends.
        self.platforms: list[VirtualPlatform] = []

    @property
    def _ip(self) -> str:
        return self.address.rpartition(":")[0]

    def renew(self) -> None:
        """Let an empty disk take the place of what it had; with that it has another id."""
        self.server_id = encode_server_id(
            RaftID(new_ksuid(self.rng.randbytes, 1_750_000_000), self.name, self._ip, "")
        )
        self.disk = VirtualDisk()

    # -- start and stop ----------------------------------------------------------------------

    def start(self) -> None:
        """Start a process on what the disk holds, as :meth:`braft_core.Node.start` does.

        :raises BraftError: it cannot start. :raises Killed: it was killed meanwhile.
        """
        self.lives += 1
        around = self._around
        name = f"{self.name}.{self.lives}"
        process = Process(name, around.scheduler, partial(around.latency, name), self.clock)
        rng = random.Random(f"{around.seed}/{process.name}")  # noqa: S311 - reproducible
        platform = VirtualPlatform(process, rng)
        self.platforms.append(platform)
        with around.scheduler.inside(process):
            life = self.life = Life(process, platform, self._components(platform))
            try:
                life.threads.start()
            except BraftError:
                self._collect(life)
                self.life = None
                self.disk.power_off()
                raise

    def stop(self, waiting: Callable[[Life], list[str]], *, calm: bool) -> None:
        """Stop the process in order.

        :raises Killed: it was killed meanwhile.

        :param waiting: returns the calls to a life that have no answer yet.
        :param calm: nothing stands still, so everything must have ended within its time.
        """
        life = self.life
        if life is None:
            return
        self.stopping = True
        try:
            with life.process.scheduler.inside(life.process):
                life.threads.stop()
            # Callers on other loops learn of their answers in their next turn.
            life.process.wait(lambda: not waiting(life), _LAST_ANSWERS)
        finally:
            self.stopping = False
        self.failures.extend(f"the stop did not answer {what}" for what in waiting(life))
        self._collect(life)
        if calm:
            self.failures.extend(f"{self.name}: {what}" for what in self._left(life))
        self.life = None
        life.process.end()
        self.disk.power_off()

    def _left(self, life: Life) -> Iterator[str]:
        for loop in life.platform.loops:
            yield from (f"the task {name} was left" for name in loop.left)
        for worker in life.platform.workers.values():
            if not worker.ended:
                yield f"the thread {worker.kind} did not end"
        if self.disk.open_sinks:
            yield f"{self.disk.open_sinks} snapshot files were left"

    def kill(self, rng: random.Random) -> None:
        """End the process at once. The write under way reaches the disk, in part, or not."""
        life = self.life
        if life is None:
            return
        self.life = None
        self._around.network.kill(self.address)
        self._collect(life)
        life.process.end()
        for loop in life.platform.loops:
            self._around.network.forget(loop.loop)
        writer = life.platform.workers.get("writer")
        if writer is not None and rng.random() < 0.5:
            self.disk.fuse = rng.choice((1, 1, 2, 3))
            # Nobody is there to see an error.
            with (
                contextlib.suppress(PowerCut, Exception),
                life.process.scheduler.inside(life.process),
            ):
                writer.finish_after_death()
        self.disk.power_off()

    def _collect(self, life: Life) -> None:
        self.failures.extend(f"{life.process.name}: {what}" for what in life.process.failures)
        life.process.failures.clear()

    # -- parts -------------------------------------------------------------------------------

    def _components(self, platform: VirtualPlatform) -> Components:
        around, settings = self._around, self._around.settings
        storage = VirtualStorage(self.disk)
        stored = storage.open()
        try:
            recovery = recover_store(storage, stored)
        except BaseException:
            storage.close()
            raise
        serializer, plugins = MsgpackSerializer(), Plugins()
        members, cluster = MembersService(), ClusterService()
        services = (KVService(), *around.services(self.version))
        machine = StateMachine([*services, members, cluster], {serializer.tag: serializer})
        tokens = TokenSource(settings)
        ports = Ports(_PORT, _PORT + 1, 0)
        transport = ObservedTransport(
            TransportOptions(
                listen=(self.address, f"{self._ip}:{ports.discovery}"),
                keyring=tokens.keyring,
                cluster_name=settings.cluster_name,
                rpc_timeout=settings.election_timeout,
                options={"network": around.network},
                timing=around.timing.transport,
            ),
            self.disk,
            around.judge,
        )
        context = DiscoveryContext(
            self.server_id, self._ip, "", ports.raft, ports.discovery, 0, settings.cluster_name
        )
        return Components(
            settings=settings,
            timing=around.timing,
            plugins=plugins,
            registry=Registry(plugins),
            advertised=AdvertisedAddress(self._ip, ports.raft),
            host=self._ip,
            follows=False,
            ports=ports,
            server_id=self.server_id,
            storage=storage,
            initial=InitialState(storage, recovery.state, recovery.snapshot),
            transport=transport,
            tokens=tokens,
            discovery=VirtualDiscovery(around.directory, context),
            services=services,
            members=members,
            cluster=cluster,
            machine=machine,
            serializer=serializer,
            expect=around.expect,
            ephemeral=self.ephemeral,
            platform=platform,
        )

    # -- observation -------------------------------------------------------------------------

    @property
    def server(self) -> Any:
        """The server of the present life. :raises Killed: there is none."""
        if self.life is None:
            raise Killed(self.name)
        return self.life.threads._server

    @property
    def applied(self) -> int:
        """The index up to which it has applied, 0 while it is down."""
        return self.server.applier.applied_index if self.life is not None else 0

    def state(self) -> bytes:
        """Return its whole replicated state, as a snapshot holds it."""
        return b"".join(self.server.components.machine.snapshot())
