"""``node.semaphore(name, seats)``: a limited number of holders at a time."""

from __future__ import annotations

from collections.abc import Callable

from braft_core.recipes.arguments import count_of
from braft_core.recipes.claim import AcquirableClaim
from braft_core.recipes.interface import RecipeStore

__all__ = ["Semaphore"]


class Semaphore(AcquirableClaim):
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
