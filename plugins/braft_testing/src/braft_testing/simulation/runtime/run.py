"""One run: make a cluster of real nodes, let clients and faults at it, heal it, and judge."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from braft_core.abc import Service
from braft_core.config import Settings
from braft_core.errors import BraftError
from braft_core.runtime import clock
from braft_core.runtime.timing import Timing
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.history import Outcome as Answered
from braft_testing.simulation.runtime import judges
from braft_testing.simulation.runtime.clients import Clients
from braft_testing.simulation.runtime.clocks import MachineClock
from braft_testing.simulation.runtime.discovery import Directory
from braft_testing.simulation.runtime.faults import Adversary
from braft_testing.simulation.runtime.ledger import Ledger, Planned, services_of
from braft_testing.simulation.runtime.network import VirtualNetwork
from braft_testing.simulation.runtime.node import Life, SimulatedNode, Surroundings, address_of
from braft_testing.simulation.runtime.observed import DurabilityJudge
from braft_testing.simulation.runtime.operators import Operators
from braft_testing.simulation.runtime.plan import RuntimePlan, draw_runtime_plan
from braft_testing.simulation.runtime.scheduler import Process, Scheduler
from braft_testing.simulation.runtime.virtual_loop import VirtualLoop
from braft_testing.simulation.trace import Trace

__all__ = ["Outcome", "World", "close_task", "run_seed"]

_MOST_STEPS = 3_000_000
#: Virtual seconds after the faults within which the cluster serves again.
_RECOVERY = 60.0
#: Virtual seconds that a command of a node itself may take at rest.
_IN_FLIGHT = 5.0
#: So often a coroutine may await something while it is closed.
_MOST_AWAITS = 50
_START = 1000.0


@dataclass(slots=True)
class Outcome:
    """What became of one seed."""

    seed: int
    plan: RuntimePlan
    #: The rule that was broken, "" if none was.
    rule: str = ""
    detail: str = ""
    #: Of the trace: two runs with one digest are the same run.
    digest: str = ""
    tail: list[str] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    messages: int = 0
    lives: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    #: Whether the search for an order of the registers' operations was given up.
    undecided: bool = False

    @property
    def ok(self) -> bool:
        """Whether every rule held."""
        return not self.rule


def run_seed(
    seed: int,
    *,
    seconds: float | None = None,
    plan: RuntimePlan | None = None,
    echo: bool = False,
    make: Callable[[int, RuntimePlan, bool], World] | None = None,
) -> Outcome:
    """Run one seed.

    :param seconds: how long faults happen, virtual seconds; default: drawn.
    :param plan: instead of the one that the seed draws.
    :param echo: print every line of the trace.
    :param make: makes another kind of run; default: :class:`World`.
    """
    plan = plan or draw_runtime_plan(seed, seconds)
    outcome = Outcome(seed, plan)
    world = (make or World)(seed, plan, echo)
    with world.installed():
        try:
            world.run()
        except InvariantBroken as broken:
            outcome.rule, outcome.detail = broken.invariant, broken.message
        finally:
            world.close()
    world.report(outcome)
    return outcome


class World:
    """One run. The base of runs with callers and judges of their own."""

    #: Returns the services of a version of the program, beside ``kv``.
    services: Callable[[int], tuple[Service, ...]] = staticmethod(services_of)

    def __init__(self, seed: int, plan: RuntimePlan, echo: bool) -> None:
        self._plan = plan
        self._rng = random.Random(f"runtime {seed}")  # noqa: S311 - reproducible
        self._scheduler = Scheduler(_MOST_STEPS)
        self._scheduler.now = _START
        self._trace = Trace(lambda: self._scheduler.now - _START, keep=400, echo=echo)
        self._slow: dict[str, float] = {}
        self._undecided = False
        #: Errors in the log that are not braft's own: something failed inside a node.
        self._logged: list[str] = []
        #: Random numbers of delays, drawn most often.
        self._delays = random.Random(f"runtime delays {seed}")  # noqa: S311 - reproducible
        count = plan.servers + plan.spares
        around = self._around = Surroundings(
            str(seed),
            self._scheduler,
            VirtualNetwork(self._scheduler, self._delays, self._travel),
            Directory(self._rng, [address_of(number) for number in range(count)]),
            _settings(plan),
            Timing(),
            plan.servers,
            self._takes,
            DurabilityJudge(),
            self.services,
        )
        nodes = self._nodes = [SimulatedNode(number, around) for number in range(count)]
        if plan.membership == "replace":  # one at most: its data may be lost at any time
            for node in nodes[plan.servers : plan.servers + 1]:
                node.ephemeral = True
        operators = self._operators = Operators(self._rng, around, nodes, self._trace)
        self._adversary = Adversary(
            plan, self._rng, around, nodes, self._trace, self._slow, self._waiting, operators
        )
        process = Process("clients", self._scheduler, lambda kind: self._takes("clients", kind))
        loop = self._loop = VirtualLoop(process, "clients")  # type: ignore[abstract]  # as in platform
        self._clients = Clients(
            plan,
            random.Random(f"runtime clients {seed}"),  # noqa: S311 - reproducible
            self._trace,
            loop,
            self._up,
        )

    # -- time --------------------------------------------------------------------------------

    def _travel(self) -> float:
        return self._delays.uniform(0.1, 2.0) * self._plan.network

    def _takes(self, process: str, kind: str) -> float:
        """Return how long one step of a thread takes."""
        draw = self._delays.random()
        if kind == "turn":
            return 1e-6 + 5e-5 * draw
        extra = self._slow.get(f"{process.partition('.')[0]} {kind}", 0.0) * draw
        if kind == "writer":
            return (0.2 + 2 * draw) * self._plan.disk + extra
        return extra + ((1e-6 + 5e-4 * draw) if draw < 0.95 else 0.02 * self._delays.random())

    def _waiting(self, life: Life) -> list[str]:
        return [what for called, what in self._clients.open.values() if called is life]

    def _up(self) -> list[SimulatedNode]:
        return [node for node in self._nodes if node.life is not None]

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Replace clock and log for the run.

        Garbage is collected afterwards, or it would decide when generators end.
        """
        scheduler, logger = self._scheduler, logging.getLogger("braft_core")
        handler = _LogToTrace(self._trace, self._logged)
        right = MachineClock(lambda: scheduler.now)

        def machine() -> MachineClock:
            return right if scheduler.process is None else scheduler.process.clock

        readings = clock.Clock(
            lambda: machine().monotonic(), lambda: machine().wall_ns(), lambda: 0.0
        )
        before = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        collects = gc.isenabled()
        gc.disable()
        try:
            with clock.installed(readings):
                yield
        finally:
            logger.removeHandler(handler)
            logger.level, logger.propagate = before
            if collects:
                gc.enable()

    # -- the run -----------------------------------------------------------------------------

    def run(self) -> None:
        """Run it. :raises InvariantBroken: a rule was broken."""
        self._loop.begin()
        for node in self._nodes[: self._plan.servers]:
            self._adversary.start(node)
        self._loop.call_soon(self._clients.start)
        self._adversary.run(self._plan.chaos)
        self._trace.add("the faults end")
        self._adversary.heal(1.0)
        self._adversary.upgrade_all()
        self._await_members()
        self._await_service()
        self._clients.stop()
        self._await_rest()
        self._adversary.calm()
        self._judge()
        self._restart_all()
        self._judge()
        for node in self._nodes:
            self._adversary.stop(node)
        self._check_failures()

    def _await_members(self) -> None:
        """Wait until all nodes vote. :raises InvariantBroken: they do not in time."""
        deadline = self._scheduler.now + 2 * _RECOVERY
        while missing := self._operators.restore():
            if self._scheduler.now > deadline:
                raise InvariantBroken("nodes become voters again", missing)
            self._adversary.heal(0.5)

    def _await_service(self) -> None:
        """Write through every node. :raises InvariantBroken: one does not serve in time."""
        scheduler, deadline = self._scheduler, self._scheduler.now + _RECOVERY
        for node in self._nodes:
            while True:
                served = self._call(node)
                if served is Answered.OK:
                    break
                if scheduler.now > deadline:
                    why = node.server.view.ready()[1] if node.life is not None else "it is down"
                    raise InvariantBroken("the cluster serves again", f"{node.name}: {why}")
                self._adversary.heal(0.5)

    def _call(self, node: SimulatedNode) -> Answered:
        life = node.life
        if life is None:
            return Answered.FAILED
        work = self._clients.ledger(
            self._rng, "final", life, "final", reads=False, version=self._plan.versions
        )
        task = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._scheduler.run_until(task.done, self._scheduler.now + _RECOVERY)
        return task.result().outcome if task.done() else Answered.UNKNOWN

    def _await_rest(self) -> None:
        """Wait until every call is answered, and all nodes have applied the same."""
        self._scheduler.run_for(self._plan.request_timeout + 3.0)
        judges.check_calls(what for life, what in self._clients.open.values() if life.process.alive)
        judges.check_calls(self._operators.waiting())
        equal = self._scheduler.run_until(
            lambda: len({node.applied for node in self._nodes}) == 1,
            self._scheduler.now + _RECOVERY,
        )
        if not equal:
            applied = {node.name: node.applied for node in self._nodes}
            raise InvariantBroken("nodes converge", str(applied))
        # Nodes commit checkpoints of their own now and then.
        until = self._scheduler.now + _IN_FLIGHT
        while (left := judges.left_in_queues(self._nodes)) and self._scheduler.now < until:
            self._scheduler.run_for(0.05)
        if left:
            raise InvariantBroken("queues are empty at rest", left)

    def _judge(self) -> None:
        judges.check_states(self._nodes)
        for node in self._nodes:
            judges.check_ledger(self._clients.notes, _accounts(node))
        self._undecided |= not judges.check_registers(self._clients.history)
        if self._clients.wrong:
            raise InvariantBroken("answers are of the error tree", self._clients.wrong[0])
        if self._clients.late:
            raise InvariantBroken("every call is answered", self._clients.late[0])
        self._check_failures()

    def _restart_all(self) -> None:
        """Stop all nodes, and start them on what their disks hold."""
        for node in self._nodes:
            self._adversary.stop(node)
        self._adversary.heal(1.0)
        self._await_members()
        self._await_service()
        self._await_rest()

    def _check_failures(self) -> None:
        for broken in self._around.judge.broken:
            raise broken
        failures = [*self._logged, *self._operators.failures()]
        failures += [what for node in self._nodes for what in node.failures]
        for node in self._nodes:
            if node.life is not None:
                failures.extend(node.life.process.failures)
        if failures:
            raise InvariantBroken("nothing fails inside a node", failures[0])

    # -- the end -----------------------------------------------------------------------------

    def close(self) -> None:
        """Drop what is left, without letting it run."""
        for node in self._nodes:
            if node.life is not None:
                node.life.process.end()
        self._loop.process.end()
        for node in self._nodes:
            for platform in node.platforms:
                for running in platform.loops:
                    running.drop()
        for loop in _loops(self._nodes, self._loop):
            for task in loop.tasks:
                close_task(task)

    def report(self, outcome: Outcome) -> None:
        """Fill in what happened."""
        outcome.digest, outcome.tail = self._trace.digest, self._trace.tail(80)
        outcome.seconds = self._scheduler.now - _START
        outcome.steps, outcome.messages = self._scheduler.steps, self._around.network.messages
        outcome.lives = sum(node.lives for node in self._nodes)
        outcome.faults = self._adversary.counts
        outcome.undecided = self._undecided
        answers = [note.outcome for note in self._clients.notes]
        answers += [operation.outcome for operation in self._clients.history.operations]
        outcome.answers = Counter(answer.value for answer in answers)


def _settings(plan: RuntimePlan) -> Settings:
    given: dict[str, Any] = {
        "cluster_name": "simulated",
        "discovery": "none",
        "http": False,
        "data_dir": ":memory:",
        "sleep": (0.0, 0.1),
        "autopilot": "on" if plan.membership == "autopilot" else "off",
        "dead_after": plan.dead_after,
        "leader_steady": plan.dead_after / 2,
        "removal_window": plan.removal_window,
        "request_timeout": plan.request_timeout,
        "election_timeout": plan.election_timeout,
        "heartbeat_interval": plan.heartbeat_interval,
        "snapshot_entries": plan.snapshot_entries,
        "snapshot_trailing": plan.snapshot_trailing,
        "max_outstanding": plan.max_outstanding,
        "lease_reads": plan.lease_reads,
        "digest_interval": plan.digest_interval,
    }
    return Settings.load(kwargs=given, environ={})


class _LogToTrace(logging.Handler):
    """Notes what the simulated nodes log: they run on the thread that made this."""

    def __init__(self, trace: Trace, failures: list[str]) -> None:
        super().__init__()
        self._trace, self._failures = trace, failures
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return  # a real node of this process
        text = record.getMessage()
        self._trace.add(f"log {record.levelname} {text}")
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, (BraftError, Planned)):
            self._failures.append(f"{text}: {error!r}")


def _accounts(node: SimulatedNode) -> dict[str, list[int]]:
    """Return all accounts of a node, of all its services."""
    found: dict[str, list[int]] = {}
    for service in node.server.components.machine._services.values():
        if isinstance(service, Ledger):
            found.update(service.dump())
    return found


def _loops(nodes: list[SimulatedNode], clients: VirtualLoop) -> Iterator[VirtualLoop]:
    yield clients
    for node in nodes:
        for platform in node.platforms:
            for loop in platform.loops:
                yield loop.loop


def close_task(task: asyncio.Task[Any]) -> None:
    """Close what a dead process left, now and not when the garbage collector comes by."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    work = task.get_coro()
    for _ in range(_MOST_AWAITS):
        try:
            work.close()
        except RuntimeError:  # it awaits something at its end, too
            continue
        except Exception:  # noqa: BLE001 - what it does at its end meets a closed loop
            return
        return
