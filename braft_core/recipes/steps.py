"""The requests of a recipe as values, so that its rules are written once.

A recipe is a generator: it yields steps and gets their answers. :func:`run` takes them in a thread,
:func:`arun` on an event loop. What a step raises is raised where the recipe yielded it.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from braft_core.errors import Compacted
from braft_core.recipes.interface import RecipeStore
from braft_core.store import Batch, Change, Condition, Entry, Lease, Once, Operation, TxnResult

__all__ = [
    "AwaitChange",
    "Grant",
    "Newest",
    "Oldest",
    "Step",
    "Steps",
    "Transact",
    "any_change",
    "arun",
    "run",
]

_T = TypeVar("_T")


class Step(abc.ABC):
    """One request."""

    @abc.abstractmethod
    def do(self, store: RecipeStore) -> Any:
        """Make the request, and wait for its answer."""

    @abc.abstractmethod
    async def ado(self, store: RecipeStore) -> Any:
        """Call :meth:`do` asynchronously."""


#: A recipe that returns a ``_T``.
Steps: TypeAlias = Generator[Step, Any, _T]


def run(steps: Steps[_T], store: RecipeStore) -> _T:
    """Take all steps in this thread; return what the recipe returns."""
    try:
        step = next(steps)
        while True:
            try:
                answer = step.do(store)
            except BaseException as error:  # noqa: BLE001 - the recipe handles it, or raises it
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: _T = end.value
        return result


async def arun(steps: Steps[_T], store: RecipeStore) -> _T:
    """Call :func:`run` asynchronously. A cancellation is raised in the recipe."""
    try:
        step = next(steps)
        while True:
            try:
                answer = await step.ado(store)
            except BaseException as error:  # noqa: BLE001 - the recipe handles it, or raises it
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: _T = end.value
        return result


@dataclass(frozen=True, slots=True)
class Grant(Step):
    """Get a lease."""

    lease: Lease
    timeout: float | None = None

    def do(self, store: RecipeStore) -> Lease:
        """See the base class."""
        return self.lease.grant(timeout=self.timeout)

    async def ado(self, store: RecipeStore) -> Lease:
        """See the base class."""
        return await self.lease.agrant(timeout=self.timeout)


@dataclass(frozen=True, slots=True)
class Transact(Step):
    """Do a transaction."""

    when: Sequence[Condition] = ()
    then: Sequence[Operation] = ()
    otherwise: Sequence[Operation] = ()
    timeout: float | None = None

    def do(self, store: RecipeStore) -> TxnResult:
        """See the base class."""
        return store.txn(self.when, self.then, self.otherwise, timeout=self.timeout)

    async def ado(self, store: RecipeStore) -> TxnResult:
        """See the base class."""
        return await store.atxn(self.when, self.then, self.otherwise, timeout=self.timeout)


@dataclass(frozen=True, slots=True)
class Oldest(Step):
    """Read the keys of a prefix that were made first."""

    prefix: bytes
    timeout: float | None = None
    #: 0: all of them.
    limit: int = 1

    def do(self, store: RecipeStore) -> tuple[int, list[Entry]]:
        """See the base class."""
        return store.oldest(self.prefix, self.limit, timeout=self.timeout)

    async def ado(self, store: RecipeStore) -> tuple[int, list[Entry]]:
        """See the base class."""
        return await store.aoldest(self.prefix, self.limit, timeout=self.timeout)


@dataclass(frozen=True, slots=True)
class Newest(Step):
    """Read the keys of a prefix that were made last, up to a revision."""

    prefix: bytes
    limit: int
    until: int
    timeout: float | None = None

    def do(self, store: RecipeStore) -> tuple[int, list[Entry]]:
        """See the base class."""
        return store.newest(self.prefix, self.limit, until=self.until, timeout=self.timeout)

    async def ado(self, store: RecipeStore) -> tuple[int, list[Entry]]:
        """See the base class."""
        return await store.anewest(self.prefix, self.limit, until=self.until, timeout=self.timeout)


@dataclass(frozen=True, slots=True)
class AwaitChange(Step):
    """Wait for a change after a revision. The answer is whether the caller should look again.

    It is ``False`` at the deadline, and when ``ended`` happens.
    """

    #: The key, or the prefix if ``is_prefix``.
    key: bytes
    since: int
    wanted: Callable[[Change], bool]
    is_prefix: bool = False
    #: Monotonic seconds; ``None``: wait for as long as it takes.
    deadline: float | None = None
    monotonic: Callable[[], float] | None = None
    ended: Once | None = None

    def do(self, store: RecipeStore) -> bool:
        """See the base class."""
        try:
            with self._watch(store) as changes:
                end = self.ended.listen(changes.close) if self.ended is not None else None
                try:
                    while (left := self._left()) is None or left > 0:
                        batch = next(changes.batches(progress=left), None)
                        if batch is None or self._has(batch):
                            return batch is not None
                    return False
                finally:
                    if end is not None:
                        end()
        except Compacted:  # what was missed may be the change
            return True

    async def ado(self, store: RecipeStore) -> bool:
        """See the base class."""
        try:
            async with self._watch(store) as changes:
                end = self.ended.listen(changes.close) if self.ended is not None else None
                try:
                    while (left := self._left()) is None or left > 0:
                        batch = await anext(changes.batches(progress=left), None)
                        if batch is None or self._has(batch):
                            return batch is not None
                    return False
                finally:
                    if end is not None:
                        end()
        except Compacted:  # what was missed may be the change
            return True

    def _watch(self, store: RecipeStore) -> Any:
        if self.is_prefix:
            return store.watch(self.key, since=self.since)
        return store.watch(key=self.key, since=self.since)

    def _left(self) -> float | None:
        if self.deadline is None or self.monotonic is None:
            return None
        return self.deadline - self.monotonic()

    def _has(self, batch: Batch) -> bool:
        return any(map(self.wanted, batch.changes))


def any_change(_: Change) -> bool:
    """Want each change, as :class:`AwaitChange` asks."""
    return True
