"""Waitress, the choice ``BRAFT_HTTP_SERVER=waitress``: a thread for each request under way.

Owns its sockets, threads and limits, and the event loop that runs the ASGI application. Knows an
application and nothing behind it.

Health checks have a thread to themselves. All others may be waiting for a commit that a lost
quorum delays, and a node that is taken for dead at that moment, and restarted, helps nobody.
What Waitress cannot do is in docs/http.md: it reads a body before anybody may look at the token,
speaks no TLS, and its threads are all taken by so many readers that do not read.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from a2wsgi import ASGIMiddleware
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import ChunkedReceiver
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask
from waitress.utilities import BadRequest

from braft_core.http import grace_periods
from braft_core.http.auth import OPEN_PATHS
from braft_core.http.json_body import SERVER_BODY_LIMIT
from braft_core.http.request_guard import RequestGuard
from braft_core.http.server_loop import close_loop, make_loop
from braft_core.http.waitress_buffer import BodyBuffer
from braft_core.transport.accept_backoff import AcceptBackoff

__all__ = ["MAX_CHUNK_LINE", "THREADS", "WaitressServer"]

logger = logging.getLogger(__name__)

#: How many requests are served at once.
THREADS = 16
#: Open connections, idle ones included.
CONNECTION_LIMIT = 1000
#: Seconds of silence after which a connection is closed.
CHANNEL_TIMEOUT = 60
#: Bytes that a chunked body may spend on one chunk's size and remarks, or on its trailer.
MAX_CHUNK_LINE = 16 << 10
#: The wall clock was set if it differs from the monotonic one by so many seconds more than before.
_CLOCK_STEP = 1.0


class WaitressServer:
    """One period of service, from start to stop."""

    def __init__(
        self,
        app: RequestGuard,
        listener: socket.socket,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """:param tls: ``None``: settings that ask Waitress for TLS are refused."""
        self._sockets: dict[int, Any] = {}
        self._draining, self._drained = threading.Event(), threading.Event()
        self._stopping = threading.Event()
        self._lanes = _Lanes(f"braft-{port}-http")
        self._loop = _Loop(f"braft-{port}-http-asgi")
        self._server = _Server(_wsgi(app, self._loop.loop), self._sockets, listener, self._lanes)
        self._thread = threading.Thread(
            target=self._serve, name=f"braft-{port}-http-loop", daemon=True
        )
        self._thread.start()

    def drain(self) -> None:
        """Let the loop send callers elsewhere, and wait until it has."""
        self._draining.set()
        self._server.pull_trigger()
        self._drained.wait(grace_periods.DRAIN + 1.0)

    def stop(self) -> None:
        """End the loop, then the workers."""
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join()
        self._lanes.stop(grace_periods.STOP_GRACE / 2)
        if not self._lanes.threads:
            self._loop.stop()
            return
        # Those that still wait for the node do so on the loop, which ends after them.
        name = f"{self._thread.name}-end"
        threading.Thread(target=self._end_later, name=name, daemon=True).start()

    def _end_later(self) -> None:
        for thread in self._lanes.threads:
            thread.join()
        self._loop.stop()

    def _serve(self) -> None:
        """The thread that owns the sockets: one round per wake-up until told to stop."""
        while not (self._draining.is_set() or self._stopping.is_set()):
            self._round(1.0)
        self._server.take_no_more()
        if self._draining.is_set():
            self._rounds_while(
                lambda: self._server.busy or self._server.lively, grace_periods.DRAIN
            )
            self._drained.set()
        while not self._stopping.is_set():
            self._round(1.0)
        self._rounds_while(lambda: self._server.busy, grace_periods.STOP_GRACE)
        self._server.close_everything()

    def _rounds_while(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while condition() and time.monotonic() < deadline:
            self._round(0.02)

    def _round(self, timeout: float) -> None:
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._sockets, count=1)


def _wsgi(app: RequestGuard, loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """Return ``app`` as a WSGI application that runs on ``loop``."""
    adapted: Any = ASGIMiddleware(app, wait_time=None, loop=loop)  # type: ignore[arg-type]

    def serve(environ: dict[str, Any], start_response: Any) -> Any:
        # The application reads the path as it was sent; the adapter fails where it is not UTF-8.
        environ["PATH_INFO"] = "/"
        return adapted(environ, start_response)

    return serve


class _Loop:
    """The event loop of the application."""

    def __init__(self, name: str) -> None:
        made = threading.Event()

        def run() -> None:
            self.loop = make_loop(name)
            made.set()
            self.loop.run_forever()
            close_loop(self.loop)

        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._thread.start()
        made.wait()

    def stop(self) -> None:
        """End it and its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


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
        app: Callable[..., Any],
        sockets: dict[int, Any],
        listener: socket.socket,
        lanes: _Lanes,
    ) -> None:
        self._backoff = AcceptBackoff(f"HTTP on port {listener.getsockname()[1]}", logger)
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
                ident="",
                channel_timeout=CHANNEL_TIMEOUT,
                connection_limit=CONNECTION_LIMIT,
                max_request_body_size=SERVER_BODY_LIMIT,
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
        since = time.time() - grace_periods.LIVELY  # the clock that Waitress notes activity by
        return any(channel.last_activity > since for channel in self.active_channels.values())

    def readable(self) -> bool:
        """Called by the loop before each round: whether to look for new connections."""
        self._follow_clock()
        return bool(super().readable()) and not self._backoff.is_paused(time.monotonic())

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
            if self._backoff.exhausted_by(error, time.monotonic()):
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

    @property
    def threads(self) -> list[threading.Thread]:
        """Those that have not ended."""
        return self._work.threads_alive + self._health.threads_alive

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

    @property
    def threads_alive(self) -> list[threading.Thread]:
        """Those that have not ended."""
        return [thread for thread in self._joinable if thread.is_alive()]

    def stop(self, deadline: float) -> None:
        """Drop what is queued and join the threads until ``deadline`` (monotonic seconds)."""
        self.shutdown(cancel_pending=True, timeout=max(0.0, deadline - time.monotonic()))
        for thread in self._joinable:
            thread.join(max(0.0, deadline - time.monotonic()))
