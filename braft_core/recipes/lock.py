"""``node.lock(name)``: one holder at a time in the whole cluster."""

from __future__ import annotations

from typing import Self

from braft_core.recipes.claim import Claim
from braft_core.recipes.steps import arun

__all__ = ["Lock"]


class Lock(Claim):
    """A lock. Who asks first gets it first.

    On loss another process may hold it, at the earliest a moment after :attr:`lost` was set.
    Closed, it is free at once. If the process dies, or its network, it is free after the ttl.
    """

    kind = "lock"

    def acquire(self) -> Self:
        """Wait for the lock without a statement; :meth:`release` ends it.

        :raises NotAcquired: not within ``wait`` seconds, or its lease ended meanwhile.
        :raises InvalidArgument: the ttl is not accepted.
        :raises BraftError: as :meth:`braft_core.Node.execute`.
        """
        return self.__enter__()

    async def aacquire(self) -> Self:
        """Call :meth:`acquire` asynchronously. The task is not cancelled when it is lost."""
        await arun(self._acquiring(), self._store)
        return self

    def release(self) -> None:
        """Give it back, at once for others. Wait at most five seconds. Idempotent."""
        self._leave()

    async def arelease(self) -> None:
        """Call :meth:`release` asynchronously."""
        await self._aleave()
