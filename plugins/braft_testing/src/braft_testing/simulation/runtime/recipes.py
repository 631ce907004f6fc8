"""Recipes of the store in whole nodes: programs in the nodes' processes use one lock, and lead.

A program dies and freezes with its node. It acts on something outside of the cluster while it holds
the lock, or while its node leads, after ``check()``, and writes to the store with ``if_held``.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

from braft_core.abc import Service
from braft_core.errors import BraftError, OutcomeUnknown
from braft_core.recipes import Leadership, Lock
from braft_core.services.store import StoreService
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.runtime.ledger import services_of
from braft_testing.simulation.runtime.node import Life, SimulatedNode
from braft_testing.simulation.runtime.plan import RuntimePlan, draw_runtime_plan
from braft_testing.simulation.runtime.run import World, close_task
from braft_testing.simulation.runtime.virtual_loop import VirtualLoop

__all__ = ["RecipeWorld", "draw_recipe_plan"]

#: Faults in which no process and no leader stands still, so that a lease keeps its whole promise.
_ORDINARY = (
    "kill",
    "stop",
    "partition",
    "one_way",
    "loss",
    "sever",
    "transfer",
    "snapshot",
    "isolate",
)
_STANDING = ("still", "freeze", "slow_disk")
#: Virtual seconds after the faults within which the programs end, and their leases.
_REST = 60.0
_ROOT = b"_braft/"
#: Where leaders claim their terms.
_TERM = b"_braft/leadership"


def draw_recipe_plan(seed: int, seconds: float | None = None) -> RuntimePlan:
    """Draw the plan of a seed: in every third run processes freeze and disks stall."""
    rng = random.Random(f"recipe plan {seed}")  # noqa: S311 - reproducible
    plan = draw_runtime_plan(seed, seconds)
    kinds = _ORDINARY + (_STANDING if seed % 3 == 0 else ())
    faults = tuple(kind for kind in kinds if rng.random() < 0.5) or ("kill",)
    return replace(
        plan,
        servers=rng.choice((3, 3, 5)),
        clients=1,
        think_time=0.2,
        faults=faults,
        membership="",
        spares=0,
        versions=1,
        between_faults=max(plan.between_faults, 1.0),
    )


class RecipeWorld(World):
    """One run with a program in each process."""

    @staticmethod
    def services(version: int) -> tuple[Service, ...]:
        """See the base class."""
        return (*services_of(version), StoreService())

    def __init__(self, seed: int, plan: RuntimePlan, echo: bool) -> None:
        super().__init__(seed, plan, echo)
        self._programs = random.Random(f"recipes {seed}")  # noqa: S311 - reproducible
        self._seen: set[int] = set()
        self._loops: list[VirtualLoop] = []
        self._ended = False
        #: Tokens in the order in which their holders acted outside of the cluster.
        self.acts: dict[str, list[int]] = {"lock": [], "leader": []}
        #: Values of fenced writes that were acknowledged.
        self.written: dict[str, list[bytes]] = {"lock": [], "leader": []}
        self._values = 0
        self._scheduler.after(0.0, self._look)

    def _look(self) -> None:
        """Start a program in each new process."""
        for node in self._up():
            life = node.life
            if life is not None and id(life) not in self._seen and not self._ended:
                self._seen.add(id(life))
                loop = VirtualLoop(life.process, "program")  # type: ignore[abstract]
                self._loops.append(loop)
                loop.begin()
                rng = random.Random(self._programs.random())  # noqa: S311 - reproducible
                loop.call_soon(self._begin, loop, life, rng)
        self._scheduler.after(0.05, self._look)

    def _begin(self, loop: VirtualLoop, life: Life, rng: random.Random) -> None:
        for number in range(2):
            loop.create_task(self._contend(life, random.Random(rng.random() + number)))  # noqa: S311
        loop.create_task(self._lead(life, random.Random(rng.random())))  # noqa: S311

    async def _contend(self, life: Life, rng: random.Random) -> None:
        while not self._ended:
            await asyncio.sleep(rng.expovariate(5.0))
            lock = life.lock(
                "shared", ttl=rng.choice((2, 3, 6)), wait=rng.choice((None, None, 0, 0.5))
            )
            try:
                async with lock:
                    await self._act(life, lock, "lock", rng)
            except BraftError as error:
                self._trace.add(f"{life.process.name} {type(error).__name__} {error}")

    async def _lead(self, life: Life, rng: random.Random) -> None:
        while not self._ended:
            await asyncio.sleep(rng.uniform(0.0, 0.2))
            try:
                async with life.leadership(wait=rng.choice((0.5, 5.0))) as term:
                    await self._act(life, term, "leader", rng)
            except BraftError as error:
                self._trace.add(f"{life.process.name} {type(error).__name__} {error}")

    async def _act(self, life: Life, held: Lock | Leadership, key: str, rng: random.Random) -> None:
        self._trace.add(f"{life.process.name} acts as {key} {held.token}")
        for _ in range(rng.randint(1, 12)):
            held.check()
            self.acts[key].append(held.token)
            self._values += 1
            value = b"%d %d" % (held.token, self._values)
            try:
                await life.store.aput(key, value, if_held=held, timeout=1.0)
            except OutcomeUnknown:
                pass
            else:
                self.written[key].append(value)
            await asyncio.sleep(rng.uniform(0.0, 0.2))

    # -- judging -----------------------------------------------------------------------------

    def _await_rest(self) -> None:
        self._ended = True
        deadline = self._scheduler.now + _REST
        while left := self._left():
            if self._scheduler.now > deadline:
                raise InvariantBroken("recipes leave nothing", str(left))
            self._scheduler.run_for(0.25)
        super()._await_rest()

    def _left(self) -> list[str]:
        found = [
            f"task {task.get_name()} of {loop.process.name}"
            for loop in self._loops
            if loop.process.alive
            for task in loop.tasks
        ]
        for node in self._up():
            keyspace = _store(node)._keyspace
            records = keyspace.records(_ROOT, b"_braft0", 0)
            found += [repr(record[0]) for record in records if record[0] != _TERM]
            found += [f"lease {lease}" for lease in keyspace.leases.ids(0, 100)]
        return found

    def _judge(self) -> None:
        super()._judge()
        for key, acts in self.acts.items():
            if not set(self._plan.faults) & set(_STANDING) and acts != sorted(acts):
                raise InvariantBroken("nobody acts after a later holder", f"{key} {_falls(acts)}")
            history = _history(self._nodes[0], key.encode())
            tokens = [int(value.split()[0]) for value in history]
            if tokens != sorted(tokens):
                rule = "fenced writes are in the order of tokens"
                raise InvariantBroken(rule, f"{key} {_falls(tokens)}")
            if len(set(history)) != len(history):
                raise InvariantBroken("a fenced write takes effect once", f"{key} {history}")
            if missing := set(self.written[key]) - set(history):
                raise InvariantBroken("acknowledged fenced writes are there", f"{key} {missing}")

    def close(self) -> None:
        """See the base class."""
        super().close()
        for loop in self._loops:
            loop.close()
            for task in loop.tasks:
                close_task(task)


def _store(node: SimulatedNode) -> Any:
    return node.server.components.machine._services["store"]


def _history(node: SimulatedNode, key: bytes) -> list[bytes]:
    """Return all values that the key was given, in the order of revisions."""
    store, begin, found = _store(node), 1, list[bytes]()
    while True:
        current, following, events = store.events(begin, 1 << 30)
        found += [record[1] for record, _ in events if record[0] == key]
        if following > current:
            return found
        begin = following


def _falls(tokens: list[int]) -> str:
    at = next(n for n in range(1, len(tokens)) if tokens[n] < tokens[n - 1])
    return f"token {tokens[at]} after {tokens[at - 1]}"
