"""Watches of the Kubernetes API, which report that something changed, not what.

Owns one thread and one connection per watch. Each change leads to a new list request, so a watch
may break, be refused (410 Gone, an expired token) or report a change twice: it is restarted, and
the discovery polls meanwhile.
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

#: Seconds before a watch that ended early is restarted: doubled from the first to the second.
_MIN_RETRY, _MAX_RETRY = 0.2, 15.0
#: A watch that lasted longer, in seconds, ended normally.
_STABLE_AFTER = 10.0

Connect = Callable[[], KubeApi]


class Watch:
    """One watch, on a daemon thread, until it is stopped.

    :param connect: makes a connection; called again after every failure, so that it reads a new
        token.
    :param kind: ``services`` or ``pods``.
    :param news: called on the thread whenever the API sent data.
    """

    def __init__(
        self, connect: Connect, kind: str, labels: Mapping[str, str], news: Callable[[], None]
    ) -> None:
        self._connect, self._kind, self.labels, self._news = connect, kind, dict(labels), news
        self._stopped = threading.Event()
        self._stream: Any = None
        #: Whether the watch is open.
        self.established = False
        self._thread = threading.Thread(target=self._run, name=f"braft-k8s-{kind}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the watch, and wait for its thread."""
        self._stopped.set()
        stream = self._stream
        if stream is not None:
            _interrupt(stream)
        self._thread.join()

    def _run(self) -> None:
        delay = _MIN_RETRY
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                self._follow()
            except Unreachable as error:
                log.debug("%s", error)
            finally:
                self.established = False
            if time.monotonic() - began > _STABLE_AFTER:
                delay = _MIN_RETRY
            # Neither watch reports what changed between them.
            self._news()
            self._stopped.wait(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the nodes
            delay = min(_MAX_RETRY, delay * 2)

    def _follow(self) -> None:
        api = self._connect()
        try:
            with api.watch(self._kind, self.labels) as stream:
                self._stream = stream
                if self._stopped.is_set():  # stop() may have run before there was a stream
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
    """The watches of one discovery: its services, and the pods that their selectors match."""

    def __init__(
        self, connect: Connect, labels: Mapping[str, str], news: Callable[[], None]
    ) -> None:
        self._connect, self._news = connect, news
        #: Serialises follow() with stop(): no watch starts after stop().
        self._lock = threading.Lock()
        self._stopped = False
        self._services = Watch(connect, "services", labels, news)
        self._pods: Watch | None = None

    @property
    def established(self) -> bool:
        """Whether all watches are open, so that no change is missed."""
        pods = self._pods
        return self._services.established and pods is not None and pods.established

    def follow(self, selectors: list[dict[str, str]]) -> None:
        """Watch the pods of one selector, or of several: then all pods of the namespace.

        Blocks until a watch that is no longer needed has ended. Does nothing after :meth:`stop`.
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
        """Close all watches, and start no other. Safe from any thread."""
        with self._lock:
            self._stopped = True
        for watch in (self._services, self._pods):
            if watch is not None:
                watch.stop()


def _interrupt(stream: Any) -> None:
    """Wake the thread that reads a stream; closing the stream here would wait for the thread."""
    sock = socket_of(stream)
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
