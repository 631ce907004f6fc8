"""Waitress, owned: it listens, runs in threads of its own, and leaves none behind.

Owns sockets, threads and limits of the HTTP port. Knows an application and nothing behind it.

Health checks have a thread to themselves. All others may be waiting for a commit that a lost
quorum delays, and a node that is taken for dead at that moment, and restarted, helps nobody.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import falcon
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import ChunkedReceiver
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask
from waitress.utilities import BadRequest

from braft_core.abc import NodeAPI
from braft_core.errors import ConfigError
from braft_core.http.app import make_app
from braft_core.http.auth import OPEN_PATHS
from braft_core.http.buffers import BodyBuffer
from braft_core.http.wire import MAX_BODY_BYTES
from braft_core.tokens import Keyring
from braft_core.transport.exhaustion import Exhaustion

__all__ = ["HTTPServer"]

logger = logging.getLogger(__name__)

#: How many requests are served at once.
THREADS = 16
#: Open connections, idle ones included.
CONNECTION_LIMIT = 1000
#: Seconds of silence after which a connection is closed.
CHANNEL_TIMEOUT = 60
#: Above what resources accept, so that they, not Waitress, word the usual refusal.
HARD_BODY_LIMIT = MAX_BODY_BYTES + (1 << 20)
#: Bytes that a chunked body may spend on one chunk's size and remarks, or on its trailer.
MAX_CHUNK_LINE = 16 << 10
#: Seconds that callers have, when the node is about to stop, to be answered and to go elsewhere.
DRAIN = 0.5
#: A connection that was used within so many seconds may bring a request at any moment.
LIVELY = 1.0
#: The wall clock was set if it differs from the monotonic one by so many seconds more than before.
_CLOCK_STEP = 1.0
#: Seconds that requests under way have to finish when the server stops.
STOP_GRACE = 0.5


class HTTPServer:
    """The HTTP port of one node. ``start`` and ``stop`` may be called from any thread."""

    def __init__(
        self,
        node: NodeAPI,
        host: str,
        port: int,
        extend: Callable[[falcon.App[Any, Any]], None] | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        """:param host: address to listen on; "" is all of them.
        :param port: 0 for a free one; :attr:`port` then tells which after ``start``.
        :param extend: see :func:`~braft_core.http.app.make_app`.
        :param keyring: likewise.
        """
        self._node = node
        self._host = host
        self._extend = extend
        self._keyring = keyring
        self._running: _Running | None = None
        self._lock = threading.Lock()
        self.port = port

    def start(self) -> None:
        """Listen and serve. Calling it again while it runs does nothing.

        :raises ConfigError: naming address and port, if they cannot be had.
        """
        with self._lock:
            if self._running is None:
                app = make_app(self._node, self._extend, self._keyring)
                listener = _listen(self._host, self.port)
                self.port = int(listener.getsockname()[1])
                self._running = _Running(app, listener, self.port)

    def drain(self) -> None:
        """Send callers elsewhere while the node still serves, so that its stop cuts none of them.

        New connections are refused, which tells a client that nothing was sent; on those that
        there are each answer says that it is the last. Returns when no connection was used lately,
        or after :data:`DRAIN` seconds; whoever waits longer is answered when the node stops.
        """
        with self._lock:
            running = self._running
        if running is not None:
            running.drain()

    def stop(self) -> None:
        """Stop accepting, let requests under way finish (:data:`STOP_GRACE`), end all threads.

        A request that waits for the node longer than that loses its connection; its thread ends
        as soon as the node answers, which a node that stops does at once. Idempotent.
        """
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.stop()


class _Running:
    """One period of service, from start to stop."""

    def __init__(self, app: falcon.App[Any, Any], listener: socket.socket, port: int) -> None:
        self._sockets: dict[int, Any] = {}
        self._draining, self._drained = threading.Event(), threading.Event()
        self._stopping = threading.Event()
        self._lanes = _Lanes(f"braft-{port}-http")
        self._server = _Server(app, self._sockets, listener, self._lanes)
        self._thread = threading.Thread(
            target=self._serve, name=f"braft-{port}-http-loop", daemon=True
        )
        self._thread.start()

    def drain(self) -> None:
        """Let the loop send callers elsewhere, and wait until it has."""
        self._draining.set()
        self._server.pull_trigger()
        self._drained.wait(DRAIN + 1.0)

    def stop(self) -> None:
        """End the loop, then the workers."""
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join()
        self._lanes.stop(STOP_GRACE / 2)

    def _serve(self) -> None:
        """The thread that owns the sockets: one round per wake-up until told to stop."""
        while not (self._draining.is_set() or self._stopping.is_set()):
            self._round(1.0)
        self._server.take_no_more()
        if self._draining.is_set():
            self._rounds_while(lambda: self._server.busy or self._server.lively, DRAIN)
            self._drained.set()
        while not self._stopping.is_set():
            self._round(1.0)
        self._rounds_while(lambda: self._server.busy, STOP_GRACE)
        self._server.close_everything()

    def _rounds_while(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while condition() and time.monotonic() < deadline:
            self._round(0.02)

    def _round(self, timeout: float) -> None:
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._sockets, count=1)


class _Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no type information
    """Waitress's parser, with our buffer and a limit for what a chunked body says about itself.

    An unfinished line is looked at anew, whole, with every packet. One of megabytes would keep the
    one thread busy that owns all sockets, those of health checks among them.
    """

    def parse_header(self, header_plus: bytes) -> None:
        """Called by Waitress once the head of a request is there."""
        super().parse_header(header_plus)
        if self.body_rcv is not None:
            self.body_rcv.buf = BodyBuffer(self.adj.inbuf_overflow)

    def received(self, data: bytes) -> int:
        """Take what arrived; the number of bytes that belong to this request."""
        consumed = int(super().received(data))
        body = self.body_rcv
        if isinstance(body, ChunkedReceiver):
            unfinished = max(len(body.control_line), len(body.trailer))
            if unfinished > MAX_CHUNK_LINE:
                self.error = BadRequest(f"a chunk's head exceeds {MAX_CHUNK_LINE} bytes")
                self.completed = True
        return consumed


class _Task(WSGITask):  # type: ignore[misc]  # waitress has no type information
    """A request; when callers are sent elsewhere its answer says that no other will follow."""

    def build_response_header(self) -> bytes:
        """Called by Waitress before the first byte of an answer."""
        if self.channel.server.leaving:
            self.set_close_on_finish()
        return bytes(super().build_response_header())


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no type information
    """A connection, with that parser and that task."""

    parser_class = _Parser
    task_class = _Task


class _Server(TcpWSGIServer):  # type: ignore[misc]  # waitress has no type information
    """Waitress's server on a socket of ours, with an end that its worker threads survive."""

    channel_class = _Channel
    #: Whether callers are sent elsewhere. Set on the loop's thread, read by workers.
    leaving = False

    def __init__(
        self,
        app: falcon.App[Any, Any],
        sockets: dict[int, Any],
        listener: socket.socket,
        lanes: _Lanes,
    ) -> None:
        self._exhaustion = Exhaustion(f"HTTP on port {listener.getsockname()[1]}", logger)
        self._wall_offset = time.time() - time.monotonic()
        self._trigger_lock = threading.Lock()
        self._trigger_open = True
        super().__init__(
            app,
            sockets,
            True,
            listener,
            dispatcher=lanes,
            adj=Adjustments(
                sockets=[listener],
                ident="braft",
                channel_timeout=CHANNEL_TIMEOUT,
                connection_limit=CONNECTION_LIMIT,
                max_request_body_size=HARD_BODY_LIMIT,
                # Answers are in memory already; a file for them would be one more thing to fail.
                outbuf_overflow=sys.maxsize,
            ),
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )

    @property
    def busy(self) -> bool:
        """Whether a request is under way or an answer not yet sent."""
        channels = list(self.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)

    @property
    def lively(self) -> bool:
        """Whether a connection was used lately: to close it could cross with its next request."""
        since = time.time() - LIVELY  # the clock that Waitress notes activity by
        return any(channel.last_activity > since for channel in self.active_channels.values())

    def readable(self) -> bool:
        """Called by the loop before each round: whether to look for new connections."""
        self._follow_clock()
        return bool(super().readable()) and not self._exhaustion.is_paused(time.monotonic())

    def _follow_clock(self) -> None:
        """Move what Waitress noted by the wall clock along when that is set.

        A machine that learns the time after its boot would have all connections closed as idle
        for decades, and one that is set back would close none any more.
        """
        step = time.time() - time.monotonic() - self._wall_offset
        if abs(step) > _CLOCK_STEP:
            self._wall_offset += step
            self.next_channel_cleanup += step
            for channel in self.active_channels.values():
                channel.last_activity += step

    def accept(self) -> Any:
        """Called by Waitress; ``None`` if there is no connection, or no room for it."""
        try:
            return super().accept()
        except OSError as error:
            if self._exhaustion.caused(error, time.monotonic()):
                return None
            raise

    def take_no_more(self) -> None:
        """Refuse connections from now on. On the loop's thread.

        Those that the kernel has made for us are taken first: their callers may have sent a
        request, and could not tell a reset from one that was carried out.
        """
        self.leaving = True
        known = -1
        while known < len(self.active_channels):
            known = len(self.active_channels)
            self.handle_accept()
        wasyncore.dispatcher.close(self)

    def pull_trigger(self) -> None:
        """Wake the loop. A worker that outlives the loop must not write to a closed descriptor,
        which may be another file's by then."""
        with self._trigger_lock:
            if self._trigger_open:
                super().pull_trigger()

    def close_everything(self) -> None:
        """Close connections, listener and trigger. On the loop's thread, as its last act."""
        for channel in list(self.active_channels.values()):
            channel.handle_close()
        with self._trigger_lock:
            self._trigger_open = False
            self.close()


class _Lanes:
    """What Waitress takes for its one pool of threads: a pool, and one thread for health checks."""

    def __init__(self, name: str) -> None:
        self._work = _Pool(f"{name}-worker", THREADS)
        self._health = _Pool(f"{name}-health", 1)

    def add_task(self, channel: Any) -> None:
        """Called by Waitress for a connection whose next request is complete."""
        pending = channel.requests
        is_check = bool(pending) and getattr(pending[0], "path", None) in OPEN_PATHS
        (self._health if is_check else self._work).add_task(channel)

    def stop(self, timeout: float) -> None:
        """End all threads; those still waiting for the node after ``timeout`` end by themselves."""
        deadline = time.monotonic() + timeout
        for pool in (self._work, self._health):
            pool.stop(deadline)


class _Pool(ThreadedTaskDispatcher):  # type: ignore[misc]  # waitress has no type information
    """Waitress's pool of threads, with names and an end that can be awaited."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        self._name = name
        self._joinable: list[threading.Thread] = []
        self.set_thread_count(size)

    def start_new_thread(self, target: Callable[[int], None], thread_no: int) -> None:
        """Called by the pool for each thread it wants."""
        name = f"{self._name}-{thread_no}"
        thread = threading.Thread(target=target, name=name, args=(thread_no,), daemon=True)
        self._joinable.append(thread)
        thread.start()

    def stop(self, deadline: float) -> None:
        """Drop what is queued and join the threads until ``deadline`` (monotonic seconds)."""
        self.shutdown(cancel_pending=True, timeout=max(0.0, deadline - time.monotonic()))
        for thread in self._joinable:
            thread.join(max(0.0, deadline - time.monotonic()))


def _listen(host: str, port: int) -> socket.socket:
    try:
        if host in ("", "::") and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
            )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"BRAFT_HPORT: cannot listen on {host or '*'} port {port}: {error};"
            " accepted: an address of this host and a port that is free",
            setting="BRAFT_HPORT",
            host=host,
            port=port,
        ) from error
