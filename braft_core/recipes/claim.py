"""What locks, seats and elected leaders have in common: a place in a line, held by a lease.

A contender gets a lease, and puts a key with it into the line. It holds the place if fewer than
``seats`` contenders came before it; otherwise it waits for one of those to go. The revision that
made its key is its token. The end revokes the lease, and so deletes the key, whatever happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, Final, Self

from braft_core.errors import BraftError, InvalidRequest, LeaseLost, LockLost, NotAcquired
from braft_core.recipes.arguments import wait_of
from braft_core.recipes.body import Body
from braft_core.recipes.interface import RecipeStore
from braft_core.recipes.line import contender_key, line_of
from braft_core.recipes.steps import AwaitChange, Grant, Newest, Steps, Transact, arun, run
from braft_core.store import Change, Condition, Entry, Key, Lease, Once, Put

__all__ = ["AcquirableClaim", "Claim"]

#: The shortest timeout of a request of a contender that waits for a limited time, seconds.
_PATIENCE: Final = 1.0


class Claim:
    """A place that this process waits for, and then holds, in a statement. Thread-safe.

    An object is used once. In an ``async with`` statement the body is cancelled when the place is
    lost, and the statement raises the loss. In a ``with`` statement :attr:`lost` is set, and the
    end of the statement raises the loss, unless the body raises.

    It is lost when its lease is: see :class:`~braft_core.store.Lease`.
    """

    #: What it is called, in keys and messages.
    kind: ClassVar[str] = "lock"

    def __init__(
        self,
        store: RecipeStore,
        monotonic: Callable[[], float],
        name: str,
        *,
        value: bytes = b"",
        seats: int = 1,
        ttl: float = 10.0,
        wait: float | None = None,
        cancel: bool = True,
    ) -> None:
        self._store, self._monotonic = store, monotonic
        self._prefix = line_of(self.kind, name)
        self._value, self._seats = value, seats
        self._wait, self._cancel = wait_of(wait), cancel
        self._lease = store.lease(ttl)
        self._body = Body()
        self._state = "new"
        #: Its name.
        self.name = name
        #: Its key in the store, empty before it is acquired.
        self.key = b""
        #: The fencing token: larger than those of all earlier holders. 0 before it is acquired.
        self.token = 0
        #: Set when it is lost: ``lost.is_set()``, ``lost.wait(timeout)``, ``await lost``.
        self.lost: Once = self._lease.lost

    def __repr__(self) -> str:
        lost = " lost" if self.lost.is_set() else ""
        return f"<{type(self).__name__} {self.name!r} token={self.token} {self._state}{lost}>"

    @property
    def lease(self) -> Lease:
        """The lease that holds it: other keys may go with it too."""
        return self._lease

    @property
    def remaining(self) -> float:
        """For how many seconds nobody else can hold it, if its lease is not renewed."""
        return self._lease.remaining if self._state == "held" else 0.0

    def check(self) -> None:
        """Raise unless it is held at this moment.

        :raises LockLost: it is lost (:class:`LeadershipLost` for an election).
        :raises InvalidRequest: it is not acquired yet, or released.
        """
        if self._state != "held":
            raise InvalidRequest(f"{self!r} is not held; use it in a with statement")
        try:
            self._lease.check()
        except LeaseLost as error:
            raise self._lost_error(error.message) from error

    def on_lost(self, callback: Callable[[BraftError], object]) -> Callable[[], None]:
        """Call ``callback(error)`` when it is lost; see :meth:`Lease.on_lost`.

        :returns: a function that ends this.
        """
        return self._lease.on_lost(lambda error: callback(self._lost_error(error.message)))

    def fence(self) -> Condition:
        """Return the condition that holds in the store while this is held.

        ``if_held=`` uses it. In a transaction of your own it is one of ``when``.

        :raises InvalidRequest: it is not acquired yet.
        """
        if not self.token:
            raise InvalidRequest(f"{self!r} is not acquired yet; use it in a with statement")
        return Key(self.key).created == self.token

    def refused(self) -> BraftError:
        """Take note that a write was refused since this is not held; return the error."""
        self._lease.lose("its key is gone")
        return self._lost_error("a later holder may have taken over")

    # -- the statement ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        run(self._acquiring(), self._store)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._leave()
        if kind is None and self.lost.is_set():
            raise self._lost_error()

    async def __aenter__(self) -> Self:
        await arun(self._acquiring(), self._store)
        if self._cancel:
            self._body.begin(self.lost)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            is_ours = self._body.end(kind)
        except asyncio.CancelledError:
            self._lease.abandon()
            raise
        await self._aleave()
        if self.lost.is_set() and (kind is None or is_ours):
            raise self._lost_error() from error

    # -- inside ----------------------------------------------------------------------------------

    def _leave(self) -> None:
        self._state = "released"
        self._lease.close()

    async def _aleave(self) -> None:
        self._state = "released"
        await self._lease.aclose()

    def _acquiring(self) -> Steps[None]:
        if self._state != "new":
            raise InvalidRequest(f"{self!r} was used before; make another one")
        self._state = "waiting"
        deadline = None if self._wait is None else self._monotonic() + self._wait
        try:
            yield Grant(self._lease, self._patience(deadline))
            key = contender_key(self._prefix, self._lease.id)
            put = Put(key, self._value, self._lease)
            # Nobody is there, or somebody is: the key is put in any case.
            entered = yield Transact(
                [Key(prefix=self._prefix).version == 0], [put], [put], self._patience(deadline)
            )
            self.key, token = key, entered.revision
            yield from self._taking_place(entered.succeeded, token, deadline)
            if self.lost.is_set():
                raise self._not_acquired("its lease ended meanwhile")
        except BaseException:
            self._state = "failed"
            self._lease.abandon()  # the key goes with it, also if it is put later
            raise
        self.token = token
        self._state = "held"

    def _taking_place(self, alone: bool, token: int, deadline: float | None) -> Steps[None]:
        """Wait for the place; ``alone``: nobody else was in the line."""
        while not alone:
            patience = self._patience(deadline)
            revision, line = yield Newest(self._prefix, self._seats + 1, token, patience)
            if not line or line[0].key != self.key:
                raise self._not_acquired("its lease ended while it waited")
            if len(line) <= self._seats:
                return
            look_again = yield self._place_before(line[1], revision, deadline)
            if not look_again:
                why = "its lease ended while it waited"
                raise self._not_acquired(why if self.lost.is_set() else _holder(line[1]))

    def _place_before(self, ahead: Entry, revision: int, deadline: float | None) -> AwaitChange:
        # Each waits for the one before it alone, so that one that goes wakes one. Of several seats
        # any may become free.
        return AwaitChange(
            ahead.key if self._seats == 1 else self._prefix,
            revision,
            _is_delete,
            self._seats > 1,
            deadline,
            self._monotonic,
            self.lost,
        )

    def _patience(self, deadline: float | None) -> float | None:
        """Return the timeout of a request."""
        return None if deadline is None else max(deadline - self._monotonic(), _PATIENCE)

    def _not_acquired(self, why: str) -> NotAcquired:
        within = "" if self._wait is None else f" within {self._wait:g} s"
        return NotAcquired(
            f"{self.kind} {self.name!r} was not acquired{within}: {why}",
            name=self.name,
            wait=self._wait,
        )

    def _lost_error(self, why: str = "its lease ended") -> BraftError:
        return LockLost(
            f"{self.kind} {self.name!r} is lost: {why}",
            name=self.name,
            token=self.token,
            lease=self._lease.id,
        )


class AcquirableClaim(Claim):
    """A place that can be had without a statement, too."""

    def acquire(self) -> Self:
        """Wait for it without a statement; :meth:`release` ends it.

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


def _is_delete(change: Change) -> bool:
    return change.type == "delete"


def _holder(ahead: Entry) -> str:
    shown = f", value {ahead.value!r:.80}" if ahead.value else ""
    return f"lease {ahead.lease} is ahead since revision {ahead.created}{shown}"
