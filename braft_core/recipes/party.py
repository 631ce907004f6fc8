"""``node.party(name)``: who is here."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

from braft_core.recipes.claim import Claim
from braft_core.recipes.interface import RecipeStore
from braft_core.recipes.steps import AwaitChange, Oldest, Steps, any_change, arun, run
from braft_core.store import Entry
from braft_core.store.keys import Bytes, as_bytes

__all__ = ["Guest", "Party", "PartyWatch"]


class Guest(NamedTuple):
    """One that has joined a party."""

    #: What it says of itself.
    value: bytes
    #: The revision in which it joined.
    token: int
    #: Its lease.
    lease: int


class Party(Claim):
    """A party, which this process joins in a statement, or only looks at.

    It leaves with the end of the statement, at once for others; if the process dies, or its
    network, after the ttl. When its lease is lost, others may not see it any more: the body of
    ``async with`` is cancelled then, unless ``cancel=False``.
    """

    kind = "party"

    def __init__(
        self,
        store: RecipeStore,
        monotonic: Callable[[], float],
        name: str,
        *,
        value: Bytes = b"",
        ttl: float = 10.0,
        cancel: bool = True,
    ) -> None:
        said = as_bytes("value", value)
        super().__init__(store, monotonic, name, value=said, ttl=ttl, cancel=cancel)

    def join(self) -> Self:
        """Join without a statement; :meth:`leave` ends it.

        :raises InvalidArgument: the ttl is not accepted.
        :raises BraftError: as :meth:`braft_core.Node.execute`.
        """
        return self.__enter__()

    async def ajoin(self) -> Self:
        """Call :meth:`join` asynchronously. The task is not cancelled on loss."""
        await arun(self._acquiring(), self._store)
        return self

    def leave(self) -> None:
        """Leave, at once for others. Wait at most five seconds. Idempotent."""
        self._leave()

    async def aleave(self) -> None:
        """Call :meth:`leave` asynchronously."""
        await self._aleave()

    def guests(self, *, timeout: float | None = None) -> list[Guest]:
        """Return all that are here, in the order in which they joined. A linearizable read."""
        return run(_guests(self._prefix, timeout), self._store)

    async def aguests(self, *, timeout: float | None = None) -> list[Guest]:
        """Call :meth:`guests` asynchronously."""
        return await arun(_guests(self._prefix, timeout), self._store)

    def watch(self) -> PartyWatch:
        """Iterate over the lists of guests, now and after changes: ``for`` or ``async for``."""
        return PartyWatch(self._store, self._prefix)

    def _taking_place(self, alone: bool, token: int, deadline: float | None) -> Steps[None]:
        yield from ()  # there is a place for everybody


class PartyWatch:
    """The guests of a party, now and after each change. Lists replaced soon may be left out.

    It goes on until the loop is left; one thread or task iterates.
    """

    def __init__(self, store: RecipeStore, prefix: bytes) -> None:
        self._store, self._prefix = store, prefix
        self._seen: list[Guest] | None = None
        self._revision = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[Guest]:
        return run(self._next(), self._store)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Guest]:
        return await arun(self._next(), self._store)

    def _next(self) -> Steps[list[Guest]]:
        while True:
            if self._revision:
                yield AwaitChange(self._prefix, self._revision, any_change, is_prefix=True)
            self._revision, found = yield Oldest(self._prefix, limit=0)
            guests = [_guest(entry) for entry in found]
            if guests != self._seen:
                self._seen = guests
                return guests


def _guests(prefix: bytes, timeout: float | None) -> Steps[list[Guest]]:
    _, found = yield Oldest(prefix, timeout, limit=0)
    return [_guest(entry) for entry in found]


def _guest(entry: Entry) -> Guest:
    return Guest(entry.value, entry.created, entry.lease)
