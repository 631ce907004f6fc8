"""Watches of the Kubernetes API: they say that something has changed, and never what.

Owns one thread and one connection for each watch. What there is now is listed anew on every piece
of news, so a watch may break, be refused (410 Gone, an expired token) or say the same thing twice
without any harm: it is begun again, and looks come at short intervals meanwhile.
"""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from braft_core.errors import Unreachable
from braft_k8s.api import KubeApi, socket_of

__all__ = ["Watch", "Watches"]

log = logging.getLogger(__name__)

#: Seconds before a watch that ended early is begun again: doubled from the first to the second.
_RETRY_MIN, _RETRY_MAX = 0.2, 15.0
#: A watch that lasted so long ended in good order.
_LASTED = 10.0

Connect = Callable[[], KubeApi]


class Watch:
    """One watch, in a daemon thread, until it is stopped.

    :param connect: makes a connection of its own; called again after every failure, so that a new
        token is read.
    :param kind: ``services`` or ``pods``.
    :param news: called from the thread whenever the API has sent anything.
    """

    def __init__(
        self, connect: Connect, kind: str, labels: Mapping[str, str], news: Callable[[], None]
    ) -> None:
        self._connect, self._kind, self.labels, self._news = connect, kind, dict(labels), news
        self._stopped = threading.Event()
        self._stream: Any = None
        #: Whether the API is sending now.
        self.established = False
        self._thread = threading.Thread(target=self._run, name=f"braft-k8s-{kind}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, and wait for its thread."""
        self._stopped.set()
        stream = self._stream
        if stream is not None:
            _interrupt(stream)
        self._thread.join()

    def _run(self) -> None:
        delay = _RETRY_MIN
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                self._follow()
            except Unreachable as error:
                log.debug("%s", error)
            finally:
                self.established = False
            if time.monotonic() - began > _LASTED:
                delay = _RETRY_MIN
            # What happened between two watches is not told by either.
            self._news()
            self._stopped.wait(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the nodes
            delay = min(_RETRY_MAX, delay * 2)

    def _follow(self) -> None:
        api = self._connect()
        try:
            with api.watch(self._kind, self.labels) as stream:
                self._stream = stream
                if self._stopped.is_set():  # stop() may have come before there was a stream
                    return
                self.established = True
                for chunk in api.chunks(stream):
                    if self._stopped.is_set():
                        return
                    if chunk:
                        self._news()
        finally:
            self._stream = None
            api.close()


class Watches:
    """The watches of one discovery: its services, and the pods that their selectors pick."""

    def __init__(
        self, connect: Connect, labels: Mapping[str, str], news: Callable[[], None]
    ) -> None:
        self._connect, self._news = connect, news
        #: Guards the end: whoever was asked to follow before it may get to it after.
        self._lock = threading.Lock()
        self._stopped = False
        self._services = Watch(connect, "services", labels, news)
        self._pods: Watch | None = None

    @property
    def established(self) -> bool:
        """Whether all of them are up, so that nothing is missed."""
        pods = self._pods
        return self._services.established and pods is not None and pods.established

    def follow(self, selectors: list[dict[str, str]]) -> None:
        """Watch the pods of these selectors: exactly them if it is one, else all of the namespace.

        Blocks until a watch that is not wanted any more has ended. After :meth:`stop`, nothing.
        """
        labels = selectors[0] if len({tuple(sorted(s.items())) for s in selectors}) == 1 else {}
        with self._lock:
            if self._stopped:
                return
            if self._pods is not None and self._pods.labels != labels:
                self._pods.stop()
                self._pods = None
            if self._pods is None:
                self._pods = Watch(self._connect, "pods", labels, self._news)

    def stop(self) -> None:
        """End all of them, and begin no other. From any thread."""
        with self._lock:
            self._stopped = True
        for watch in (self._services, self._pods):
            if watch is not None:
                watch.stop()


def _interrupt(stream: Any) -> None:
    """Wake a thread that waits for the stream: closing it from here would wait for the thread."""
    sock = socket_of(stream)
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
