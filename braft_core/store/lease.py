"""``node.lease(ttl)``: a lease of the store that is renewed while this process holds it.

Keys that are put with a lease go when it ends. The store lets a lease end at the earliest a ttl
after its last renewal was sent, less a second for a pause or a forward jump of the leader's clock
(:mod:`braft_core.services.store.leases`). The holder counts that second from its own time. So a
lease is lost here before it ends there, and another process can act.

Must not know how leases are renewed, nor threads or loops of a node or client.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, Protocol, Self

from braft_core.errors import BraftError, InvalidRequest, LeaseLost, NotApplied, Rejected
from braft_core.store.caller import StoreCaller
from braft_core.store.once import Once

__all__ = ["GONE", "Keeper", "Lease"]

#: Seconds by which a lease is lost here before the store may end it.
MARGIN: Final = 1.0
#: Longest wait for the revocation when a lease is closed, seconds. It ends by itself otherwise.
CLOSE_TIMEOUT: Final = 5.0

#: Why a lease is lost that the store does not have any more.
GONE: Final = "it has expired or was revoked"

_SERVICE = "store"


def draw_lease_id() -> int:
    """Return a new id of a lease: 63 random bits, never 0."""
    return secrets.randbits(63) or 1


class Keeper(Protocol):
    """What renews the leases of a process. Any thread may call it."""

    def hold(self, lease: Lease) -> None:
        """Renew a granted lease from now on."""

    def release(self, lease: Lease) -> None:
        """Renew it no longer."""

    def abandon(self, lease_id: int) -> None:
        """Revoke a lease without waiting."""

    def call(self, action: Callable[[], None]) -> None:
        """Make a call on the thread for callbacks."""


class Lease:
    """A lease of this process, for a ``with`` or ``async with`` statement. Thread-safe.

    The statement grants it, and revokes it at the end. If it was lost meanwhile, the end of the
    statement raises :class:`~braft_core.errors.LeaseLost`, unless the body raises. Between the two
    it is renewed after each third of its ttl. Without the statement, call :meth:`grant` and
    :meth:`close`.

    A lease is lost when it could not be renewed in time, was revoked by somebody, or the node was
    stopped (the client closed). A lost lease stays lost, even if the store still has it for a
    while.
    """

    def __init__(
        self,
        caller: StoreCaller,
        keeper: Callable[[], Keeper],
        monotonic: Callable[[], float],
        ttl: float,
    ) -> None:
        """Prepare a lease; :meth:`grant` makes it.

        :param ttl: seconds. With less than about five, an election may cost the lease.
        """
        self._caller = caller
        self._find_keeper = keeper
        self._keeper: Keeper | None = None
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._state = "new"
        self._why = ""
        self._callbacks: list[Callable[[LeaseLost], object]] = []
        #: Its id in the store, drawn at random.
        self.id: int = 0
        #: Seconds; once granted, what the store has granted.
        self.ttl = ttl
        #: Until when it is certain that the lease exists, monotonic seconds.
        self.valid_until = 0.0
        #: Set when the lease is lost: ``lost.is_set()``, ``lost.wait(timeout)``, ``await lost``.
        self.lost = Once()

    def __repr__(self) -> str:
        return f"<Lease {self.id or ''} ttl={self.ttl!r} {self._state}>"

    @property
    def remaining(self) -> float:
        """For how many seconds nobody else can act, if it is not renewed; 0 without a lease."""
        return max(self.valid_until - self._monotonic(), 0.0) if self._state == "held" else 0.0

    def check(self) -> None:
        """Raise unless the lease is held at this moment.

        :raises LeaseLost: it is lost, or it ended a moment ago.
        :raises InvalidRequest: it is not granted yet, or closed.
        """
        if self._state == "lost":
            raise self._lost_error()
        if self._state != "held":
            raise InvalidRequest(f"{self!r} is not held; use it in a with statement")
        if self.remaining <= 0:
            raise LeaseLost(f"lease {self.id} is lost: it was not renewed in time", lease=self.id)

    def on_lost(self, callback: Callable[[LeaseLost], object]) -> Callable[[], None]:
        """Call ``callback(error)`` when the lease is lost, on the thread for callbacks.

        That is the node's events thread, or a thread of the client. If it is lost already, call it
        at once in this thread.

        :returns: a function that ends this.
        """
        with self._lock:
            if not self._why:
                self._callbacks.append(callback)
                return lambda: self._remove(callback)
        callback(self._lost_error())
        return lambda: None

    # -- life ------------------------------------------------------------------------------------

    def grant(self, *, timeout: float | None = None) -> Self:
        """Get the lease from the cluster, and have it renewed from now on.

        :raises InvalidRequest: it was granted before; make another object.
        :raises InvalidArgument: the ttl is not above 0, or too long.
        :raises BraftError: as :meth:`braft_core.Node.execute`.
        """
        begun = self._begin()
        try:
            ttl = self._caller.execute(_SERVICE, "grant", self.id, self.ttl, timeout=timeout)
        except BaseException as error:
            self._failed(error)
            raise
        return self._granted(begun, ttl)

    async def agrant(self, *, timeout: float | None = None) -> Self:
        """Call :meth:`grant` asynchronously."""
        begun = self._begin()
        try:
            ttl = await self._caller.aexecute(_SERVICE, "grant", self.id, self.ttl, timeout=timeout)
        except BaseException as error:
            self._failed(error)
            raise
        return self._granted(begun, ttl)

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Revoke the lease, which deletes its keys. Idempotent.

        If the cluster does not answer within ``timeout`` seconds, return all the same: the lease
        ends by itself after its ttl.
        """
        if self._end():
            with self._revoked(), suppress(BraftError):
                self._caller.execute(_SERVICE, "revoke", self.id, timeout=timeout)

    async def aclose(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Call :meth:`close` asynchronously."""
        if self._end():
            with self._revoked(), suppress(BraftError):
                await self._caller.aexecute(_SERVICE, "revoke", self.id, timeout=timeout)

    def abandon(self) -> None:
        """Give the lease up and wait for nothing: it is revoked soon, or ends after its ttl."""
        if self._end() and self._keeper is not None:
            self._keeper.abandon(self.id)

    @contextmanager
    def _revoked(self) -> Iterator[None]:
        """Have the lease revoked in the background if the caller is interrupted."""
        try:
            yield
        except BaseException:  # cancelled, or Ctrl-C
            if self._keeper is not None:
                self._keeper.abandon(self.id)
            raise

    def __enter__(self) -> Self:
        return self.grant()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None and self.lost.is_set():
            raise self._lost_error()

    async def __aenter__(self) -> Self:
        return await self.agrant()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.aclose()
        if kind is None and self.lost.is_set():
            raise self._lost_error()

    # -- for the keeper --------------------------------------------------------------------------

    def renewed(self, sent_at: float) -> None:
        """Record a renewal that was sent at that time."""
        with self._lock:
            self.valid_until = max(self.valid_until, sent_at + self.ttl - MARGIN)

    def lose(self, why: str) -> None:
        """Record that the lease is lost, and report it."""
        with self._lock:
            if self._state != "held":
                return
            self._state, self._why = "lost", why
            callbacks, self._callbacks = self._callbacks, []
        self.lost.set()
        error = self._lost_error()
        for callback in callbacks:
            if self._keeper is not None:
                self._keeper.call(partial(_call, callback, error))

    # -- inside ----------------------------------------------------------------------------------

    def _begin(self) -> float:
        keeper = self._find_keeper()  # raises if the node does not run, or the client is closed
        with self._lock:
            if self._state != "new":
                raise InvalidRequest(f"{self!r} was granted before; make another one")
            self._state, self._keeper = "granting", keeper
            self.id = draw_lease_id()
        return self._monotonic()

    def _failed(self, error: BaseException) -> None:
        self._state = "failed"
        if self._keeper is not None and not isinstance(error, NotApplied | Rejected):
            self._keeper.abandon(self.id)  # it may be granted all the same

    def _granted(self, begun: float, ttl: Any) -> Self:
        with self._lock:
            self._state, self.ttl = "held", ttl
            self.valid_until = begun + ttl - MARGIN
        if self._keeper is not None:
            self._keeper.hold(self)
        return self

    def _end(self) -> bool:
        """Hold the lease no longer; return whether it is to be revoked."""
        with self._lock:
            before = self._state
            if before in ("held", "lost"):
                self._state = "closed"
        if before == "held" and self._keeper is not None:
            self._keeper.release(self)
        return before == "held" or (before == "lost" and self._why != GONE)

    def _lost_error(self) -> LeaseLost:
        return LeaseLost(f"lease {self.id} is lost: {self._why}", lease=self.id)

    def _remove(self, callback: Callable[[LeaseLost], object]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)


def _call(callback: Callable[[LeaseLost], object], error: LeaseLost) -> None:
    callback(error)
