"""What goes wrong in a run: the network, the disks, the processes, and the inside of a node."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable

from braft_core.errors import BraftError, StorageError
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.runtime.forgery import call_with_forgery, send_forgery
from braft_testing.simulation.runtime.node import Life, SimulatedNode, Surroundings
from braft_testing.simulation.runtime.operators import Operators
from braft_testing.simulation.runtime.plan import RuntimePlan
from braft_testing.simulation.runtime.scheduler import Killed
from braft_testing.simulation.trace import Trace

__all__ = ["Adversary"]

_RESTART = 0.3


class Adversary:
    """Injects faults from what is the main thread of all nodes: it may block in start and stop."""

    def __init__(
        self,
        plan: RuntimePlan,
        rng: random.Random,
        around: Surroundings,
        nodes: list[SimulatedNode],
        trace: Trace,
        slow: dict[str, float],
        waiting: Callable[[Life], list[str]],
        operators: Operators,
    ) -> None:
        self._plan, self._rng, self._around = plan, rng, around
        self._nodes, self._trace, self._slow = nodes, trace, slow
        self._waiting, self._operators = waiting, operators
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._calm = self._healing = False
        self.counts: Counter[str] = Counter()

    # -- the main thread ---------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let faults happen for so long."""
        scheduler, rng = self._around.scheduler, self._rng
        end = scheduler.now + seconds
        strike = scheduler.now + rng.expovariate(1 / self._plan.between_faults)
        while scheduler.now < end:
            if scheduler.now >= strike:
                strike = scheduler.now + rng.expovariate(1 / self._plan.between_faults)
                self._strike(rng.choice(self._plan.faults))
            self._work(min(end, strike))

    def _work(self, until: float) -> None:
        """Let time pass until the next thing is to be done, and do it."""
        scheduler = self._around.scheduler
        until = min(until, scheduler.now + 0.25, *(when for when, _, _ in self._agenda[:1]))
        scheduler.run_until(lambda: False, until)
        for broken in self._around.judge.broken:
            raise broken
        while self._agenda and self._agenda[0][0] <= scheduler.now:
            heapq.heappop(self._agenda)[2]()
        self._check_versions()
        self._restart_failed()
        if self._plan.membership == "replace":
            self._operators.remove_lost()

    def _check_versions(self) -> None:
        """Check that nobody has used what a member lacks."""
        configuration = self._operators.configuration()
        for node in self._nodes:
            if node.life is None or node.put_back or (stop := node.server.applier.stopped) is None:
                continue
            if configuration is not None and configuration.get(node.server_id) is not None:
                rule = "a node can execute what is committed"
                raise InvariantBroken(rule, f"{node.name}: {stop.message}")

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._agenda, (self._around.scheduler.now + delay, self._order, action))

    def _restart_failed(self) -> None:
        """Do what a supervisor does with a process that ended by itself."""
        for node in self._nodes:
            life = node.life
            if life is not None and life.threads.failure is not None:
                self._trace.add(f"{node.name} failed: {life.threads.failure.message}")
                self.stop(node)
                self._later(_RESTART, lambda node=node: self.start(node))  # type: ignore[misc]

    def start(self, node: SimulatedNode) -> None:
        """Start a node, if it is down; try again later if its disk does not allow it."""
        if node.life is not None:
            return
        formed = any(other.life and other.server.replica for other in self._nodes)
        if not node.lives and node.number >= self._plan.servers and not (formed or self._healing):
            self._later(_RESTART, lambda: self.start(node))
            return
        self._trace.add(f"start {node.name}")
        try:
            node.start()
        except Killed:
            return
        except StorageError as error:
            self._trace.add(f"{node.name} does not start: {error.message}")
            self._later(_RESTART, lambda: self.start(node))
        except BraftError as error:
            raise InvariantBroken("a node starts", f"{node.name}: {error!r}") from error

    def stop(self, node: SimulatedNode) -> None:
        """Stop a node in order."""
        self._trace.add(f"stop {node.name}")
        try:
            node.stop(self._waiting, calm=self._calm)
        except Killed:
            self._trace.add(f"{node.name} was killed while it stopped")
        if node.ephemeral:
            node.renew()

    def kill(self, node: SimulatedNode) -> None:
        """Kill a node's process."""
        if node.life is not None:
            self._trace.add(f"kill {node.name}")
            node.kill(self._rng)
            if node.ephemeral:
                node.renew()

    def calm(self) -> None:
        """Expect of each stop from now on that it leaves nothing."""
        self._calm = True

    def heal(self, seconds: float) -> None:
        """End all faults, start all nodes, and let time pass."""
        around, self._healing = self._around, True
        self._agenda.clear()
        around.network.heal()
        around.network.loss = 0.0
        around.directory.heal()
        self._slow.clear()
        for node in self._nodes:
            node.disk.full = node.disk.broken = False
            node.clock.run_at(1.0)
        end = around.scheduler.now + seconds
        for node in self._nodes:
            self.start(node)
        while around.scheduler.now < end:
            self._work(end)

    def upgrade_all(self) -> None:
        """Let all nodes run the newest version, one after the other."""
        for node in self._nodes:
            if node.version != self._plan.versions:
                self.stop(node)
                node.version, node.put_back = self._plan.versions, False
                self.heal(0.5)

    # -- faults ------------------------------------------------------------------------------

    def _strike(self, kind: str) -> None:
        self.counts[kind] += 1
        self._trace.add(f"fault {kind}")
        getattr(self, f"_{kind}")()

    def _any(self) -> SimulatedNode:
        return self._rng.choice(self._nodes)

    def _pair(self) -> tuple[SimulatedNode, SimulatedNode]:
        return self._any(), self._any()

    def _kill(self) -> None:
        several = self._rng.random() < 0.3
        count = self._rng.randint(1, len(self._nodes)) if several else 1
        victims = self._rng.sample(self._nodes, count)
        for node in victims:
            if node.ephemeral and not self._operators.may_lose(node):
                continue
            self.kill(node)
            self._later(self._rng.expovariate(1.0), lambda node=node: self.start(node))  # type: ignore[misc]

    def _stop(self) -> None:
        node, scheduler = self._any(), self._around.scheduler
        if node.life is None:
            return
        if self._rng.random() < 0.3:
            life = node.life

            def kill() -> None:
                if node.life is life and node.stopping:
                    self.kill(node)

            scheduler.after(self._rng.expovariate(1 / 0.1), kill)
        self.stop(node)
        self._later(self._rng.expovariate(1 / 0.5), lambda: self.start(node))

    def _partition(self) -> None:
        network, some = self._around.network, self._rng.sample(self._nodes, len(self._nodes))
        size = self._rng.randint(1, max(1, len(some) // 2))
        # A broken connection is noticed at once, a silent one after a while.
        breaks = self._rng.random() < 0.5
        for one in some[:size]:
            for other in some[size:]:
                if breaks:
                    network.sever(one.address, other.address)
                network.block(one.address, other.address)
        self._later(self._rng.uniform(0.3, 6.0), network.heal)

    def _isolate(self) -> None:
        """Cut the leader off, in silence. Clients on its side go on to call it."""
        network = self._around.network
        leaders = [node for node in self._nodes if node.life and node.server.is_leader]
        for leader in leaders:
            for node in self._nodes:
                if node is not leader:
                    network.block(leader.address, node.address)
        self._later(self._rng.uniform(0.5, 6.0), network.heal)

    def _clock(self) -> None:
        """Let a clock go wrong: its rate, and the wall clock by a step."""
        node, rng = self._any(), self._rng
        node.clock.run_at(rng.choice(self._plan.clock_rates))
        if rng.random() < 0.5:
            node.clock.wall_offset = rng.choice((-4000.0, -2.0, 0.0, 2.0, 4000.0))
        self._later(rng.uniform(1.0, 8.0), lambda: node.clock.run_at(1.0))

    def _one_way(self) -> None:
        one, other = self._pair()
        network = self._around.network
        if one is not other:
            network.block(one.address, other.address, both=False)
            self._later(self._rng.uniform(0.3, 4.0), network.heal)

    def _loss(self) -> None:
        network = self._around.network
        network.loss = self._rng.choice((0.02, 0.1, 0.3))
        self._later(self._rng.uniform(0.3, 3.0), lambda: setattr(network, "loss", 0.0))

    def _sever(self) -> None:
        one, other = self._pair()
        self._around.network.sever(one.address, other.address)

    def _full_disk(self) -> None:
        disk = self._any().disk
        disk.full = True
        self._later(self._rng.uniform(0.1, 4.0), lambda: setattr(disk, "full", False))

    def _broken_disk(self) -> None:
        self._any().disk.broken = True

    def _slow_disk(self) -> None:
        self._slow_down(f"{self._any().name} writer")

    def _slow_service(self) -> None:
        """Let a service take long for what it applies and answers."""
        self._slow_down(f"{self._any().name} applier")

    def _slow_down(self, lane: str) -> None:
        self._slow[lane] = self._rng.choice((0.05, 0.3, 1.0))
        self._later(self._rng.uniform(0.5, 4.0), lambda: self._hurry(lane))

    def _hurry(self, lane: str) -> None:
        self._slow.pop(lane, None)

    def _still(self) -> None:
        """Let one thread of a node stand still."""
        life = self._any().life
        if life is not None:
            lane = self._rng.choice(list(life.process.lanes.values()))
            lane.stand_still(self._rng.choice((0.05, 0.5, 3.0)))
            self._trace.add(f"{life.process.name}: {lane.name} stands still")

    def _freeze(self) -> None:
        life = self._any().life
        if life is not None:
            life.process.freeze(self._rng.choice((0.2, 1.0, 4.0)))

    def _discovery(self) -> None:
        directory = self._around.directory
        directory.fails, directory.hangs, directory.lacks = self._rng.choice(
            ((0.5, 0.0, 0.0), (0.0, 0.2, 0.0), (0.0, 0.0, 0.4))
        )
        self._later(self._rng.uniform(0.5, 4.0), directory.heal)

    def _transfer(self) -> None:
        node = self._any()
        if node.life is not None and node.server.is_leader:
            node.life.platform.loops[0].submit(_quietly(node.server.admin.transfer("", 1.0)))

    # -- membership and versions -------------------------------------------------------------

    def _join(self) -> None:
        """Start a node that was never there."""
        new = [node for node in self._nodes if not node.lives]
        if new:
            self.start(new[0])

    def _remove(self) -> None:
        self._operators.random_change("remove_server")

    def _demote(self) -> None:
        self._operators.random_change("demote_voter")

    def _promote(self) -> None:
        self._operators.random_change("promote")

    def _replace(self) -> None:
        """Lose the data of a node: one with another id takes its place."""
        node = self._any()
        if node.life is not None and self._operators.may_lose(node):
            self.kill(node)
            node.renew()
            self._later(self._rng.expovariate(1.0), lambda: self.start(node))

    def _away(self) -> None:
        """Let a node be away for so long that it may count as dead."""
        node, away = self._any(), self._plan.dead_after * self._rng.uniform(0.5, 4.0)
        if node.life is not None:
            self.kill(node)
            self._later(away, lambda: self.start(node))

    def _upgrade(self) -> None:
        """Restart a node with the next version of the program, or with the one before."""
        node = self._any()
        back = self._rng.random() < 0.25
        version = max(1, node.version - 1) if back else min(self._plan.versions, node.version + 1)
        if node.life is not None and version != node.version:
            self.stop(node)
            node.put_back = version < node.version
            node.version = version
            self._trace.add(f"{node.name} gets version {version}")
            self._later(self._rng.expovariate(1 / 0.5), lambda: self.start(node))

    # -- forgeries ---------------------------------------------------------------------------

    def _forgery(self) -> None:
        node, known = self._any(), [node.server_id for node in self._nodes]
        for _ in range(self._rng.randint(1, 5)):
            send_forgery(node, known, self._rng, self._trace)

    def _forged_call(self) -> None:
        node = self._any()
        for _ in range(self._rng.randint(1, 5)):
            call_with_forgery(node, self._rng, self._trace)

    def _snapshot(self) -> None:
        node = self._any()
        if node.life is not None and node.server.replica is not None:
            taken = node.server.replica.snapshotter.request()
            node.life.platform.loops[0].submit(_quietly(taken))


async def _quietly(work: object) -> None:
    """Await ``work``; its failure is an answer like others."""
    try:
        await work  # type: ignore[misc]
    except BraftError:
        return
