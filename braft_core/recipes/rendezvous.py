"""``node.rendezvous(name, n)``: processes that wait for each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from braft_core.recipes.arguments import count_of
from braft_core.recipes.claim import Claim
from braft_core.recipes.interface import RecipeStore
from braft_core.recipes.steps import AwaitChange, Oldest, Steps, Transact, any_change
from braft_core.store import Entry, Key, Put

__all__ = ["Rendezvous"]

#: The key of a line that says up to which token all were released. It stays.
_RELEASED: Final = b"released"


class Rendezvous(Claim):
    """A meeting of ``n`` processes, which all wait until the last of them has come.

    The body begins in each of them then, also in one that is slow while others have ended theirs.
    Those that come later make the next group of ``n``. One that dies, or gives up, before its group
    is complete does not count; after that the others do not notice. The end of the statement does
    not wait for the others.
    """

    kind = "rendezvous"

    def __init__(
        self,
        store: RecipeStore,
        monotonic: Callable[[], float],
        name: str,
        n: int,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        cancel: bool = True,
    ) -> None:
        self._number = count_of("n", n, 10_000)
        super().__init__(store, monotonic, name, ttl=ttl, wait=wait, cancel=cancel)

    def _taking_place(self, alone: bool, token: int, deadline: float | None) -> Steps[None]:
        marker = self._prefix + _RELEASED
        while True:
            revision, found = yield Oldest(self._prefix, self._patience(deadline), limit=0)
            changed, released = _released(found, marker)
            if token <= released:
                return
            waiting = [
                entry.created for entry in found if entry.created > released and entry.key != marker
            ]
            if token not in waiting:
                raise self._not_acquired("its lease ended while it waited")
            if len(waiting) >= self._number:
                last = b"%d" % waiting[self._number - 1]
                unchanged = Key(marker).revision == changed
                yield Transact([unchanged], [Put(marker, last)], [], self._patience(deadline))
                continue
            look_again = yield AwaitChange(
                self._prefix,
                revision,
                any_change,
                True,
                deadline,
                self._monotonic,
                self.lost,
            )
            if not look_again:
                lost = "its lease ended while it waited"
                missing = f"{len(waiting)} of {self._number} are here"
                raise self._not_acquired(lost if self.lost.is_set() else missing)


def _released(found: list[Entry], marker: bytes) -> tuple[int, int]:
    """Return the revision of the marker, and the last token that it releases."""
    for entry in found:
        if entry.key == marker:
            return entry.revision, int(entry.value)
    return 0, 0
