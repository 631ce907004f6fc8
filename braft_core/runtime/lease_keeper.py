"""Renew the leases that this process holds, and report those it has lost.

All renewals that come within :attr:`Timing.renew_gather` are one command. A lease is renewed after
a third of its ttl, and again until that succeeds or the lease may end. Then it counts as lost, a
second before anybody else could act: see :mod:`braft_core.store.lease`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

from braft_core.errors import BraftError
from braft_core.runtime import clock
from braft_core.runtime.components import Components
from braft_core.runtime.events import Events
from braft_core.runtime.requests import Command, Query
from braft_core.services.envelope import encode_command
from braft_core.services.store.leases import MAX_RENEWED
from braft_core.store.held_leases import HeldLeases
from braft_core.store.lease import Lease

__all__ = ["LeaseKeeper", "Renewals", "Renewed"]

_log = logging.getLogger(__name__)


class _Server(Protocol):
    """What the keeper needs of the server."""

    @property
    def components(self) -> Components:
        """The components of the node."""

    def submit(self, request: Command | Query) -> None:
        """Take a request."""


class Renewed(NamedTuple):
    """The answer to a renewal."""

    #: Seconds; 0 if there is no such lease.
    ttl: int | float
    #: When the renewal was sent, monotonic seconds: the ttl begins then or later.
    sent_at: float


class Renewals:
    """Gathers renewals into commands. Lives on the loop."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._timing = server.components.timing
        self._waiting: list[tuple[int, asyncio.Future[Renewed]]] = []

    def renew(self, lease: int) -> asyncio.Future[Renewed]:
        """Renew a lease by its id. The future raises what :meth:`Node.execute` does."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Renewed] = loop.create_future()
        if not self._waiting:
            loop.call_later(self._timing.renew_gather, self._send)
        self._waiting.append((lease, future))
        return future

    def _send(self) -> None:
        batch, self._waiting = self._waiting[:MAX_RENEWED], self._waiting[MAX_RENEWED:]
        loop = asyncio.get_running_loop()
        if self._waiting:
            loop.call_soon(self._send)
        leases = list(dict.fromkeys(lease for lease, _ in batch))
        data = encode_command(self._server.components.serializer, "store", "renew", [leases])
        # Without a session: a renewal that is repeated renews again, which does no harm.
        command = Command(data, self._timing.renew_timeout, loop)
        sent_at = clock.monotonic()
        self._server.submit(command)
        command.awaitable.add_done_callback(partial(_answer, batch, leases, sent_at))


def _answer(
    batch: list[tuple[int, asyncio.Future[Renewed]]],
    leases: list[int],
    sent_at: float,
    answer: asyncio.Future[Any],
) -> None:
    error = answer.exception()
    ttls = {} if error is not None else dict(zip(leases, answer.result(), strict=True))
    for lease, future in batch:
        if future.done():
            continue  # its caller has left
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(Renewed(ttls[lease], sent_at))


class LeaseKeeper:
    """Lives on the loop, except what is marked *any thread*."""

    def __init__(self, server: _Server, events: Events) -> None:
        self._server = server
        self._events = events
        self._timing = server.components.timing
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held = HeldLeases()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self.renewals = Renewals(server)

    def start(self) -> None:
        """Accept leases."""
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Give up all leases: nobody renews them any more."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._held.lose_all("the node was stopped")

    def hold(self, lease: Lease) -> None:
        """*Any thread.* Keep a granted lease until :meth:`release`, or until it is lost."""
        if not self._post(partial(self._hold, lease)):
            lease.lose("the node was stopped")

    def release(self, lease: Lease) -> None:
        """*Any thread.* Renew a lease no longer."""
        self._post(partial(self._held.remove, lease.id))

    def abandon(self, lease_id: int) -> None:
        """*Any thread.* Revoke a lease whose grant was interrupted; wait for nothing."""
        self._post(partial(self._revoke, lease_id))

    def call(self, action: Callable[[], None]) -> None:
        """*Any thread.* Make a call on the events thread."""
        self._events.call(action)

    def _post(self, action: Callable[[], object]) -> bool:
        """Run an action on the loop; return ``False`` if that has ended."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(action)
                return True
        return False

    def _hold(self, lease: Lease) -> None:
        if self._stopped:
            lease.lose("the node was stopped")
            return
        self._held.add(lease, clock.monotonic())
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._held:
            for lease_id in self._held.due(clock.monotonic()):
                renewal = self.renewals.renew(lease_id)
                renewal.add_done_callback(partial(self._renewed, lease_id))
            await asyncio.sleep(self._timing.lease_check)

    def _renewed(self, lease_id: int, renewal: asyncio.Future[Renewed]) -> None:
        error = renewal.exception()
        if error is not None:  # the next round tries again
            _log.debug("lease %d could not be renewed: %s", lease_id, error)
            self._held.failed(lease_id)
        else:
            self._held.renewed(lease_id, *renewal.result())

    def _revoke(self, lease_id: int) -> None:
        data = encode_command(self._server.components.serializer, "store", "revoke", [lease_id])
        command = Command(data, self._timing.lease_timeout, asyncio.get_running_loop())
        command.awaitable.add_done_callback(_ignore)
        self._server.submit(command)


def _ignore(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled() and isinstance(error := answer.exception(), BraftError):
        _log.debug("an interrupted grant was not revoked: %s", error)
