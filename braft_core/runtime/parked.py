"""Requests that wait for a cluster: they came before the node became a member.

Owns the handover: a request is parked, submitted to the replica or refused, and never lost between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from braft_core.errors import Stopped
from braft_core.runtime.requests import Command, Query, settle

__all__ = ["ParkedRequests"]

Submit = Callable[[Command | Query], None]


class ParkedRequests:
    """Holds requests until there is a replica. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parked: list[Command | Query] = []
        self._submit: Submit | None = None
        self._stopped: Stopped | None = None

    def submit(self, request: Command | Query) -> None:
        """Hand a request to the replica, or park it until there is one."""
        with self._lock:
            submit, stopped = self._submit, self._stopped
            if submit is None and stopped is None:
                self._parked.append(request)
                return
        if submit is not None:
            submit(request)
        else:
            settle([(request, stopped)])

    def open(self, submit: Submit) -> None:
        """Hand what is parked to a replica, and everything that comes from now on."""
        with self._lock:
            self._submit = submit
            parked, self._parked = self._parked, []
        for request in parked:
            submit(request)

    def close(self) -> None:
        """Park requests again: the node has left its cluster."""
        with self._lock:
            self._submit = None

    def expire(self) -> list[Command | Query]:
        """Return the parked requests whose deadline has passed, and forget them."""
        with self._lock:
            late = [request for request in self._parked if request.remaining() <= 0]
            self._parked = [request for request in self._parked if request.remaining() > 0]
        return late

    def stop(self, reason: Stopped) -> None:
        """Refuse what is parked, and everything that comes while there is no replica."""
        with self._lock:
            self._stopped = reason
            parked, self._parked = self._parked, []
        settle((request, reason) for request in parked)
