"""Runs Waitress (``BRAFT_HTTP_SERVER=waitress``), which takes a thread for each request.

Owns its sockets, threads and limits, and the event loop that runs the ASGI application.

Health checks have their own thread: all others may wait for a commit while the quorum is lost, and
an orchestrator must not restart the node then. ``braft docs http`` lists Waitress's limitations: it
reads the body before the token can be checked, has no TLS, and slow readers can occupy all threads.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
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

#: Most requests at a time.
THREADS = 16
#: Most open connections, idle ones included.
CONNECTION_LIMIT = 1000
#: Seconds after which an idle connection is closed.
CHANNEL_TIMEOUT = 60
#: Bytes of an answer that wait for its reader before more of it is made.
OUTPUT_BUFFER = 1 << 20
#: Most bytes of a chunk's header line, or of the trailer, in a chunked body.
MAX_CHUNK_LINE = 16 << 10
#: A change of the difference between wall and monotonic clock that counts as a clock step, seconds.
_CLOCK_STEP = 1.0


class WaitressServer:
    """Serves one listening socket with Waitress."""

    def __init__(
        self,
        app: RequestGuard,
        listener: socket.socket,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Start to serve.

        :param tls: always ``None``: the settings refuse TLS with Waitress.
        """
        self._sockets: dict[int, Any] = {}
        self._draining, self._drained = threading.Event(), threading.Event()
        self._stopping = threading.Event()
        self._dispatcher = _Dispatcher(f"braft-{port}-http")
        self._loop = _ApplicationLoop(f"braft-{port}-http-asgi")
        self._server = _Server(
            _wsgi(app, self._loop.loop), self._sockets, listener, self._dispatcher
        )
        self._thread = threading.Thread(
            target=self._serve, name=f"braft-{port}-http-loop", daemon=True
        )
        self._thread.start()

    @staticmethod
    def max_streams() -> int:
        """Return how many answers may go on at a time: each takes a thread."""
        return THREADS // 2

    def drain(self) -> None:
        """Drain connections, and wait for that; see :meth:`HTTPServer.drain`."""
        self._draining.set()
        self._server.pull_trigger()
        self._drained.wait(grace_periods.DRAIN + 1.0)

    def stop(self) -> None:
        """Stop the loop, then the workers."""
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join()
        self._dispatcher.stop(grace_periods.STOP_GRACE / 2)
        if not self._dispatcher.threads:
            self._loop.stop()
            return
        # Workers that still wait for the node need the asyncio loop, so it stops after them.
        name = f"{self._thread.name}-end"
        threading.Thread(target=self._end_later, name=name, daemon=True).start()

    def _end_later(self) -> None:
        for thread in self._dispatcher.threads:
            thread.join()
        self._loop.stop()

    def _serve(self) -> None:
        """Run the thread that owns the sockets."""
        while not (self._draining.is_set() or self._stopping.is_set()):
            self._round(1.0)
        self._server.stop_accepting()
        if self._draining.is_set():
            self._rounds_while(
                lambda: self._server.busy or self._server.recently_used, grace_periods.DRAIN
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

    def serve(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        # The application reads the raw path; the adapter fails if PATH_INFO is not UTF-8.
        environ["PATH_INFO"] = "/"
        tasks: list[asyncio.Task[None]] = []

        async def run(*request: Any) -> None:
            tasks.extend(task for task in (asyncio.current_task(),) if task is not None)
            await app(*request)

        adapted: Any = ASGIMiddleware(run, wait_time=None, loop=loop)
        try:
            yield from adapted(environ, start_response)
        finally:
            # Waitress closes the answer of a caller that has gone, and the adapter does not let the
            # application know: it would wait for ever to send the next part.
            for task in tasks:
                with suppress(RuntimeError):  # the loop has ended, and its tasks with it
                    loop.call_soon_threadsafe(task.cancel)

    return serve


class _ApplicationLoop:
    """The event loop that runs the ASGI application, in a thread."""

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
        """Stop the loop and its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


class _Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no type information
    """Waitress's parser, with our buffer and a limit for header lines of chunks.

    Waitress scans an unfinished line from its start with every packet. A line of megabytes would
    occupy the one thread that owns all sockets, those of health checks included.
    """

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the head of a request; called by Waitress."""
        super().parse_header(header_plus)
        if self.body_rcv is not None:
            self.body_rcv.buf = BodyBuffer(self.adj.inbuf_overflow)

    def received(self, data: bytes) -> int:
        """Parse received bytes; return how many belong to this request."""
        consumed = int(super().received(data))
        body = self.body_rcv
        if isinstance(body, ChunkedReceiver):
            unfinished = max(len(body.control_line), len(body.trailer))
            if unfinished > MAX_CHUNK_LINE:
                self.error = BadRequest(f"a chunk's head exceeds {MAX_CHUNK_LINE} bytes")
                self.completed = True
        return consumed


class _Task(WSGITask):  # type: ignore[misc]  # waitress has no type information
    """A request; while the server drains, its answer carries ``Connection: close``."""

    def build_response_header(self) -> bytes:
        """Return the head of an answer; called by Waitress."""
        if self.channel.server.draining:
            self.set_close_on_finish()
        return bytes(super().build_response_header())


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no type information
    """A connection that uses our parser and task."""

    parser_class = _Parser
    task_class = _Task


class _Server(TcpWSGIServer):  # type: ignore[misc]  # waitress has no type information
    """Waitress's server on our socket, which worker threads may outlive."""

    channel_class = _Channel
    #: Whether the server drains. Set on the socket thread, read by workers.
    draining = False

    def __init__(
        self,
        app: Callable[..., Any],
        sockets: dict[int, Any],
        listener: socket.socket,
        dispatcher: _Dispatcher,
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
            dispatcher=dispatcher,
            adj=Adjustments(
                sockets=[listener],
                ident="",
                channel_timeout=CHANNEL_TIMEOUT,
                connection_limit=CONNECTION_LIMIT,
                max_request_body_size=SERVER_BODY_LIMIT,
                # Answers are in memory already, so spooling them to a file gains nothing.
                outbuf_overflow=sys.maxsize,
                # A stream waits when its reader is so far behind.
                outbuf_high_watermark=OUTPUT_BUFFER,
            ),
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )

    @property
    def busy(self) -> bool:
        """Whether a request is pending or an answer is not sent completely."""
        channels = list(self.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)

    @property
    def recently_used(self) -> bool:
        """Whether a connection was used recently; closing it could cross with its next request."""
        since = time.time() - grace_periods.RECENT  # Waitress records activity by this clock
        return any(channel.last_activity > since for channel in self.active_channels.values())

    def readable(self) -> bool:
        """Return whether to accept connections; called by the loop before each round."""
        self._follow_clock()
        return bool(super().readable()) and not self._backoff.is_paused(time.monotonic())

    def _follow_clock(self) -> None:
        """Adjust Waitress's times when the wall clock is set, as it measures idling by that.

        Otherwise a step forward closes all connections as idle, and a step back keeps idle ones
        open.
        """
        step = time.time() - time.monotonic() - self._wall_offset
        if abs(step) > _CLOCK_STEP:
            self._wall_offset += step
            self.next_channel_cleanup += step
            for channel in self.active_channels.values():
                channel.last_activity += step

    def accept(self) -> Any:
        """Accept a connection if one waits and a descriptor is free; called by Waitress."""
        try:
            return super().accept()
        except OSError as error:
            if self._backoff.exhausted_by(error, time.monotonic()):
                return None
            raise

    def stop_accepting(self) -> None:
        """Refuse new connections from now on. On the socket thread.

        Those already established by the kernel are accepted first: their callers may have sent a
        request, and after a reset could not tell whether it was executed.
        """
        self.draining = True
        known = -1
        while known < len(self.active_channels):
            known = len(self.active_channels)
            self.handle_accept()
        wasyncore.dispatcher.close(self)

    def pull_trigger(self) -> None:
        """Wake the socket thread, unless it has ended.

        A worker may outlive that thread, and the trigger's descriptor may be another file by then.
        """
        with self._trigger_lock:
            if self._trigger_open:
                super().pull_trigger()

    def close_everything(self) -> None:
        """Close connections, listener and trigger, as the last step of the socket thread."""
        for channel in list(self.active_channels.values()):
            channel.handle_close()
        with self._trigger_lock:
            self._trigger_open = False
            self.close()


class _Dispatcher:
    """Dispatches requests to a pool of worker threads, and health checks to their own thread."""

    def __init__(self, name: str) -> None:
        self._work = _Pool(f"{name}-worker", THREADS)
        self._health = _Pool(f"{name}-health", 1)

    def add_task(self, channel: Any) -> None:
        """Queue the next request of a connection; called by Waitress."""
        pending = channel.requests
        is_check = bool(pending) and getattr(pending[0], "path", None) in OPEN_PATHS
        (self._health if is_check else self._work).add_task(channel)

    @property
    def threads(self) -> list[threading.Thread]:
        """Threads that have not ended."""
        return self._work.threads_alive + self._health.threads_alive

    def stop(self, timeout: float) -> None:
        """Stop all threads; a thread that waits longer than ``timeout`` ends after its request."""
        deadline = time.monotonic() + timeout
        for pool in (self._work, self._health):
            pool.stop(deadline)


class _Pool(ThreadedTaskDispatcher):  # type: ignore[misc]  # waitress has no type information
    """Waitress's thread pool, with thread names and a join at its end."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        self._name = name
        self._joinable: list[threading.Thread] = []
        self.set_thread_count(size)

    def start_new_thread(self, target: Callable[[int], None], thread_no: int) -> None:
        """Start a worker thread; called by Waitress."""
        name = f"{self._name}-{thread_no}"
        thread = threading.Thread(target=target, name=name, args=(thread_no,), daemon=True)
        self._joinable.append(thread)
        thread.start()

    @property
    def threads_alive(self) -> list[threading.Thread]:
        """Threads that have not ended."""
        return [thread for thread in self._joinable if thread.is_alive()]

    def stop(self, deadline: float) -> None:
        """Drop queued requests and join the threads until ``deadline`` (monotonic seconds)."""
        self.shutdown(cancel_pending=True, timeout=max(0.0, deadline - time.monotonic()))
        for thread in self._joinable:
            thread.join(max(0.0, deadline - time.monotonic()))
