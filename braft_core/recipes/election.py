"""``node.election(name)``: one leader at a time, and everybody sees who it is.

The same place in a line as a lock, with a value that the leader may change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

from braft_core.errors import BraftError, LeadershipLost
from braft_core.recipes.claim import Claim
from braft_core.recipes.interface import RecipeStore
from braft_core.recipes.steps import AwaitChange, Oldest, Steps, Transact, any_change, arun, run
from braft_core.store import Change, Entry, Put
from braft_core.store.keys import Bytes, as_bytes

__all__ = ["Election", "ElectionLeader", "Observation"]


class ElectionLeader(NamedTuple):
    """Who leads, as the store knows it."""

    #: What it has proclaimed.
    value: bytes
    #: Its fencing token.
    token: int
    #: Its lease.
    lease: int
    #: The revision of the store in which it proclaimed its value.
    revision: int


class Election(Claim):
    """An election, in which this process may campaign in a statement, or only look.

    On loss another process may lead, at the earliest a moment after :attr:`lost` was set. At the
    end of the statement the next candidate leads at once. If the process dies, or its network, the
    next one leads after the ttl.
    """

    kind = "election"

    def __init__(
        self,
        store: RecipeStore,
        monotonic: Callable[[], float],
        name: str,
        *,
        value: Bytes = b"",
        ttl: float = 10.0,
        wait: float | None = None,
        cancel: bool = True,
    ) -> None:
        proclaimed = as_bytes("value", value)
        super().__init__(
            store, monotonic, name, value=proclaimed, ttl=ttl, wait=wait, cancel=cancel
        )

    def campaign(self) -> Self:
        """Wait until this process leads, without a statement; :meth:`resign` ends it.

        :raises NotAcquired: not within ``wait`` seconds, or its lease ended meanwhile.
        :raises InvalidArgument: the ttl is not accepted.
        :raises BraftError: as :meth:`braft_core.Node.execute`.
        """
        return self.__enter__()

    async def acampaign(self) -> Self:
        """Call :meth:`campaign` asynchronously. The task is not cancelled on loss."""
        await arun(self._acquiring(), self._store)
        return self

    def resign(self) -> None:
        """Lead no longer: the next candidate leads at once. Wait five seconds at most."""
        self._leave()

    async def aresign(self) -> None:
        """Call :meth:`resign` asynchronously."""
        await self._aleave()

    def proclaim(self, value: Bytes, *, timeout: float | None = None) -> int:
        """Change the value of this leader; return the revision.

        :raises LeadershipLost: it does not lead any more; nothing was changed.
        :raises InvalidRequest: it does not lead yet.
        """
        return run(self._proclaiming(value, timeout), self._store)

    async def aproclaim(self, value: Bytes, *, timeout: float | None = None) -> int:
        """Call :meth:`proclaim` asynchronously."""
        return await arun(self._proclaiming(value, timeout), self._store)

    def leader(self, *, timeout: float | None = None) -> ElectionLeader | None:
        """Return who leads, ``None`` if nobody does. A linearizable read."""
        return run(_leader(self._prefix, timeout), self._store)

    async def aleader(self, *, timeout: float | None = None) -> ElectionLeader | None:
        """Call :meth:`leader` asynchronously."""
        return await arun(_leader(self._prefix, timeout), self._store)

    def observe(self) -> Observation:
        """Iterate over the leaders, this one first, with ``for`` or ``async for``."""
        return Observation(self._store, self._prefix)

    def _proclaiming(self, value: Bytes, timeout: float | None) -> Steps[int]:
        put = Put(self.key, as_bytes("value", value), self._lease)
        done = yield Transact([self.fence()], [put], timeout=timeout)
        if not done.succeeded:
            raise self.refused()
        revision: int = done.revision
        return revision

    def _lost_error(self, why: str = "its lease ended") -> BraftError:
        return LeadershipLost(
            f"the leadership of election {self.name!r} is lost: {why}",
            name=self.name,
            token=self.token,
        )


class Observation:
    """The leader, each later one, and each value that one proclaims, as they come.

    Values that are replaced soon may be left out. While nobody leads nothing comes. It goes on
    until the loop is left; one thread or task iterates.
    """

    def __init__(self, store: RecipeStore, prefix: bytes) -> None:
        self._store, self._prefix = store, prefix
        self._seen: ElectionLeader | None = None
        self._key = b""
        self._revision = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ElectionLeader:
        return run(self._next(), self._store)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ElectionLeader:
        return await arun(self._next(), self._store)

    def _next(self) -> Steps[ElectionLeader]:
        while True:
            if self._revision:
                # Of a leader its own key tells all; without one, any that comes.
                yield AwaitChange(
                    self._key or self._prefix,
                    self._revision,
                    any_change if self._key else _is_put,
                    not self._key,
                )
            self._revision, found = yield Oldest(self._prefix)
            self._key = found[0].key if found else b""
            leader = _leader_of(found)
            if leader is not None and leader != self._seen:
                self._seen = leader
                return leader


def _leader(prefix: bytes, timeout: float | None) -> Steps[ElectionLeader | None]:
    _, found = yield Oldest(prefix, timeout)
    return _leader_of(found)


def _leader_of(found: list[Entry]) -> ElectionLeader | None:
    if not found:
        return None
    entry = found[0]
    return ElectionLeader(entry.value, entry.created, entry.lease, entry.revision)


def _is_put(change: Change) -> bool:
    return change.type == "put"
