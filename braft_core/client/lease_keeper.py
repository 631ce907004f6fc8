"""Renew the leases that a client holds, and report those it has lost.

Three threads, which exist once a lease was granted: one watches the time, so that a node that does
not answer cannot delay the report of a loss; one sends renewals; one makes callbacks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from braft_core.errors import BraftError
from braft_core.runtime import clock
from braft_core.runtime.workers import SpawnedThread, ThreadWorker
from braft_core.services.store.leases import MAX_RENEWED
from braft_core.store.caller import StoreCaller
from braft_core.store.held_leases import HeldLeases
from braft_core.store.lease import CLOSE_TIMEOUT, Lease

__all__ = ["LeaseKeeper"]

_log = logging.getLogger(__name__)

#: A node gets this part of a ttl to answer a renewal, but at least so many seconds. So the next
#: node can be asked in time.
_PART: Final = 6
_LEAST_WAIT: Final = 0.5
#: How long :meth:`LeaseKeeper.close` waits for callbacks, seconds.
_CLOSE_WAIT: Final = 1.0
_CLOSED: Final = "the client was closed"


class LeaseKeeper:
    """The leases of one client. Any thread."""

    def __init__(self, caller: StoreCaller, check: float = 0.05) -> None:
        """Create a keeper; nothing runs yet.

        :param check: between two searches for leases to renew, or that are lost, seconds.
        """
        self._caller = caller
        self._check = check
        self._held = HeldLeases()
        #: Guards what is below, and ``_held``. Notified when a lease comes, and at the end.
        self._changed = threading.Condition()
        self._closed = False
        self._started = False
        self._clock = threading.Thread(target=self._watch, name="braft-client-leases", daemon=True)
        self._renewals: ThreadWorker[int] = ThreadWorker(
            "braft-client-renewals", self._renew, many=True
        )
        self._calls: ThreadWorker[Callable[[], None]] = ThreadWorker(
            "braft-client-calls", self._call
        )

    def hold(self, lease: Lease) -> None:
        """Keep a granted lease until :meth:`release`, or until it is lost."""
        with self._changed:
            if not self._closed:
                self._held.add(lease, clock.monotonic())
                self._start()
                self._changed.notify_all()
                return
        lease.lose(_CLOSED)

    def release(self, lease: Lease) -> None:
        """Renew a lease no longer."""
        with self._changed:
            self._held.remove(lease.id)

    def abandon(self, lease_id: int) -> None:
        """Revoke a lease whose grant was interrupted; wait for nothing."""
        SpawnedThread("braft-client-revoke", lambda: self._revoke(lease_id))

    def call(self, action: Callable[[], None]) -> None:
        """Make a call on the thread for callbacks; in this one, if that has ended."""
        if self._closed:
            self._call([action])
        else:
            self._calls.put(action)

    def close(self) -> None:
        """Give up all leases, make the callbacks for that, end the threads. Idempotent."""
        with self._changed:
            self._held.lose_all(_CLOSED)
            self._closed = True
            self._changed.notify_all()
            if not self._started:
                return
        if threading.current_thread() is not self._clock:
            self._clock.join(_CLOSE_WAIT)
        self._renewals.stop(0)
        self._calls.stop(_CLOSE_WAIT)

    # -- the threads -----------------------------------------------------------------------------

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for each in (self._clock, self._renewals, self._calls):
                each.start()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                for lease_id in self._held.due(clock.monotonic()):
                    self._renewals.put(lease_id)
                self._changed.wait(self._check if self._held else None)

    def _renew(self, waiting: Sequence[int]) -> None:
        for begin in range(0, len(waiting), MAX_RENEWED):
            self._renew_some(waiting[begin : begin + MAX_RENEWED])

    def _renew_some(self, lease_ids: Sequence[int]) -> None:
        with self._changed:
            shortest = self._held.shortest_ttl(lease_ids)
        wait = max(shortest / _PART, _LEAST_WAIT)
        sent_at = clock.monotonic()
        ttls = None
        try:
            ttls = self._caller.execute("store", "renew", list(lease_ids), timeout=wait)
        except BraftError as error:  # the next check tries again
            _log.debug("%d leases could not be renewed: %s", len(lease_ids), error)
        with self._changed:
            for number, lease_id in enumerate(lease_ids):
                if ttls is None:
                    self._held.failed(lease_id)
                else:
                    self._held.renewed(lease_id, ttls[number], sent_at)

    def _call(self, actions: Sequence[Callable[[], None]]) -> None:
        for action in actions:
            try:
                action()
            except Exception:  # noqa: BLE001 - a callback's bug is its own
                _log.exception("a callback of a lease raised")

    def _revoke(self, lease_id: int) -> None:
        with suppress(BraftError):
            self._caller.execute("store", "revoke", lease_id, timeout=CLOSE_TIMEOUT)
