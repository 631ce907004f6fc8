"""Clients of simulated nodes: they call the methods of a node, and record what they know."""

from __future__ import annotations

import asyncio
import random
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any

from braft_core.errors import (
    BraftError,
    CommandFailed,
    DeadlineExceeded,
    NotApplied,
    OutcomeUnknown,
    TooStale,
    UnknownCommand,
    UnknownService,
)
from braft_testing.simulation.history import History, Kind, Operation, Outcome
from braft_testing.simulation.runtime.ledger import Planned
from braft_testing.simulation.runtime.node import Life, SimulatedNode
from braft_testing.simulation.runtime.plan import RuntimePlan
from braft_testing.simulation.runtime.scheduler import Process
from braft_testing.simulation.trace import Trace

__all__ = ["Clients", "Note"]

_MAP = "registers"
#: How each version of the program notes a token: the service and its command.
_FORMS = {1: ("ledger", "note"), 2: ("ledger", "record"), 3: ("journal", "note")}
#: Of these a caller knows that nothing has changed. Older versions lack commands and services.
_REFUSALS = (NotApplied, TooStale, DeadlineExceeded, UnknownCommand, UnknownService)
#: Seconds after its deadline within which a call must be answered.
_LATE = 1.0


@dataclass(slots=True)
class Note:
    """One command of the ledger, or one read of an account."""

    account: str
    token: int
    invoked: float
    #: "note", "tokens" or "stale".
    kind: str = "note"
    #: The most seconds by which a stale read may be old, ``None`` if it may be older.
    bound: float | None = None
    returned: float = float("inf")
    outcome: Outcome = Outcome.UNKNOWN
    #: The answer: the number of tokens, or the tokens.
    position: int = 0
    seen: list[int] = field(default_factory=list)


class Clients:
    """All clients of a run. They live on a loop of their own, which nothing kills.

    :param up: returns the nodes that may be called.
    """

    def __init__(
        self,
        plan: RuntimePlan,
        rng: random.Random,
        trace: Trace,
        loop: asyncio.AbstractEventLoop,
        up: Callable[[], list[SimulatedNode]],
    ) -> None:
        self._plan, self._rng, self._trace = plan, rng, trace
        self._loop, self._up = loop, up
        self.history, self.notes = History(), list[Note]()
        #: Calls that have no answer yet, with the node that was called.
        self.open: dict[int, tuple[Life, str]] = {}
        #: Answers that no caller may get.
        self.wrong: list[str] = []
        #: Answers long after the deadline.
        self.late: list[str] = []
        self._numbers = 0
        self._stopped = False

    def start(self) -> None:
        """Begin to call."""
        for number in range(self._plan.clients):
            rng = random.Random(self._rng.random())  # noqa: S311 - reproducible
            self._loop.create_task(self._run(rng, f"c{number}"))

    def stop(self) -> None:
        """Make no more calls."""
        self._stopped = True

    async def _run(self, rng: random.Random, name: str) -> None:
        while not self._stopped:
            await asyncio.sleep(rng.expovariate(1.0 / self._plan.think_time))
            nodes = self._up()
            if nodes and not self._stopped:
                node = rng.choice(nodes)
                life = node.life
                if life is not None:
                    await self._operate(rng, name, life)

    async def _operate(self, rng: random.Random, name: str, life: Life) -> None:
        account = f"a{rng.randrange(self._plan.accounts)}"
        reads = rng.random() < self._plan.reads
        if rng.random() < 0.6:
            await self.ledger(rng, name, life, account, reads=reads)
        else:
            await self.register(rng, name, life, f"r{account}", reads=reads)

    # -- the ledger --------------------------------------------------------------------------

    async def ledger(
        self,
        rng: random.Random,
        name: str,
        life: Life,
        account: str,
        *,
        reads: bool,
        version: int = 0,
    ) -> Note:
        """Append to an account, or read it.

        :param version: of the program that this needs; 0: any of the run.
        """
        version = version or (rng.randint(1, self._plan.versions) if self._plan.versions > 1 else 1)
        service, command = _FORMS[version]
        account += "" if service == "ledger" else "j"
        token = len(self.notes) + 1
        stale = reads and rng.random() < 0.3
        kind = ("stale" if stale else "tokens") if reads else "note"
        note = Note(account, token, self._loop.time(), kind)
        self.notes.append(note)
        if reads:
            consistency: Any = "stale" if stale else rng.choice(("linearizable", "lease"))
            bound = rng.choice((None, 0.5, 2.0)) if stale else None
            if bound is not None:  # by a clock that may be slow
                note.bound = bound / min(self._plan.clock_rates)
            call = life.aquery(
                service, "tokens", account, consistency=consistency, max_staleness=bound
            )
        else:
            call = life.aexecute(service, command, account, token)
        outcome, answer = await self._answer(rng, life, f"{name} {kind} {account} {token}", call)
        note.outcome, note.returned = outcome, self._loop.time()
        if outcome is Outcome.OK and reads:
            note.seen = answer
        elif outcome is Outcome.OK:
            note.position = answer
        return note

    # -- registers of the key-value service -----------------------------------------------------

    async def register(
        self, rng: random.Random, name: str, life: Life, key: str, *, reads: bool
    ) -> Operation:
        """Read or write a register."""
        number = len(self.history.operations) + 1
        kind = Kind.READ if reads else Kind.WRITE
        operation = self.history.invoke(name, kind, key, self._loop.time(), value=number)
        if reads:
            call = life.aquery("kv", "get", _MAP, key)
        else:
            call = life.aexecute("kv", "put", _MAP, key, number)
        what = f"{name} {kind.value} {key} {number}"
        outcome, answer = await self._answer(rng, life, what, call)
        operation.outcome = outcome
        if outcome is not Outcome.UNKNOWN:  # such an operation may still take effect
            operation.returned = self._loop.time()
        if outcome is Outcome.OK:
            if reads:
                operation.seen, operation.revision = answer if answer is not None else (0, 0)
            else:
                operation.revision = answer
        return operation

    # -- one call ----------------------------------------------------------------------------

    async def _answer(
        self, rng: random.Random, life: Life, what: str, call: Any
    ) -> tuple[Outcome, Any]:
        self._numbers += 1
        number = self._numbers
        self.open[number] = (life, what)
        invoked = self._loop.time()
        task = self._loop.create_task(_inside(life.process, call))
        gone: asyncio.Future[None] = self._loop.create_future()
        life.process.on_end[number] = lambda: None if gone.done() else gone.set_result(None)
        if rng.random() < self._plan.cancelled:
            self._loop.call_later(rng.expovariate(1 / 0.05), task.cancel)
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        self.open.pop(number)
        life.process.on_end.pop(number, None)
        if not task.done():
            task.cancel()
            outcome, answer = Outcome.UNKNOWN, None
        else:
            gone.cancel()
            outcome, answer = self._judge(task, what)
            self._check_time(life, what, invoked)
        shown = f"{answer!r:.60}" if outcome is Outcome.OK else type(answer).__name__
        self._trace.add(f"{what} at {life.process.name}: {outcome.value} {shown}")
        return outcome, answer

    def _check_time(self, life: Life, what: str, invoked: float) -> None:
        """Note an answer that came late, unless a part of the node stood still meanwhile."""
        took = self._loop.time() - invoked
        limit = self._plan.request_timeout / life.process.clock.slowest + _LATE
        if took > limit and life.process.still_until < invoked:
            self.late.append(f"{what} took {took:.3f} s")

    def _judge(self, task: asyncio.Task[Any], what: str) -> tuple[Outcome, Any]:
        """Return what the caller knows by this answer."""
        if task.cancelled():
            return Outcome.UNKNOWN, None
        error = task.exception()
        if error is None:
            return Outcome.OK, task.result()
        if isinstance(error, _REFUSALS):
            return Outcome.FAILED, error
        if isinstance(error, CommandFailed) and error.data.get("type") == Planned.__name__:
            return Outcome.FAILED, error
        if isinstance(error, OutcomeUnknown):
            return Outcome.UNKNOWN, error
        if not isinstance(error, BraftError) or not error.data.get("maybe_applied"):
            self.wrong.append(f"{what}: {error!r}")
        return Outcome.UNKNOWN, error


async def _inside(process: Process, work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine as code of the process that it calls: it reads the clocks of that machine."""
    return await _steps(process, work)


@types.coroutine
def _steps(process: Process, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run each step of a coroutine inside the process."""
    step, value = work.send, None
    while True:
        try:
            with process.scheduler.inside(process):
                awaited = step(value)
        except StopIteration as end:
            return end.value
        try:
            step, value = work.send, (yield awaited)
        except BaseException as error:  # noqa: BLE001 - a cancellation, too
            step, value = work.throw, error
