"""``node.semaphore(name, seats)``: a limited number of holders at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from braft_core.recipes.arguments import count_of
from braft_core.recipes.claim import Claim
from braft_core.recipes.interface import RecipeStore
from braft_core.recipes.steps import arun

__all__ = ["Semaphore"]


class Semaphore(Claim):
    """One seat of a semaphore. Who asks first gets one first.

    All processes must give the same number of seats: each counts those before it by its own. Loss
    and end are those of a :class:`~braft_core.recipes.Lock`. Tokens rise, but several are valid at
    a time, so ``if_held`` protects what belongs to this seat alone.
    """

    kind = "semaphore"

    def __init__(
        self,
        store: RecipeStore,
        monotonic: Callable[[], float],
        name: str,
        seats: int,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        cancel: bool = True,
    ) -> None:
        number = count_of("seats", seats)
        super().__init__(store, monotonic, name, seats=number, ttl=ttl, wait=wait, cancel=cancel)

    def acquire(self) -> Self:
        """Wait for a seat without a statement; see :meth:`Lock.acquire`."""
        return self.__enter__()

    async def aacquire(self) -> Self:
        """Call :meth:`acquire` asynchronously. The task is not cancelled when it is lost."""
        await arun(self._acquiring(), self._store)
        return self

    def release(self) -> None:
        """Give the seat back, at once for others. Wait at most five seconds. Idempotent."""
        self._leave()

    async def arelease(self) -> None:
        """Call :meth:`release` asynchronously."""
        await self._aleave()
