"""Runs uvicorn on an event loop in a thread that the node owns.

Owns the listening socket, the thread and the loop. It accepts connections itself, rather than
through asyncio, so that those in their TLS handshake count as well. Installs no signal handlers.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState

from braft_core.http import grace_periods
from braft_core.http.connection import Connection, SharedState
from braft_core.http.connection_table import (
    ConnectionSlot,
    ConnectionTable,
    Limits,
    connection_limits,
)
from braft_core.http.request_guard import RequestGuard
from braft_core.http.server_loop import close_loop, make_loop
from braft_core.transport.accept_backoff import PAUSE, AcceptBackoff

__all__ = ["UvicornServer"]

logger = logging.getLogger(__name__)

#: Seconds that a TLS handshake may take.
HANDSHAKE_SECONDS: Final = 5.0
_TICK: Final = 0.5
_POLL: Final = 0.02
#: Most connections that are accepted in one iteration of the loop.
_BATCH: Final = 64
#: Seconds between two checks for room for an accepted connection.
_ROOM_CHECK: Final = 0.05
#: Errors of a connection that was lost before it was accepted.
_LOST: Final = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ECONNRESET})


class UvicornServer:
    """Serves one listening socket with uvicorn."""

    def __init__(
        self,
        app: RequestGuard,
        listener: socket.socket,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Start to serve.

        :param tls: the TLS context of connections; ``None`` for plain HTTP.
        """
        self._app = app
        self._listener = listener
        self._tls = tls
        self._name = f"braft-{port}-http"
        self._backoff = AcceptBackoff(f"HTTP on port {port}", logger)
        self._draining, self._drained = threading.Event(), threading.Event()
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"{self._name}-loop", daemon=True)
        self._thread.start()
        self._ready.wait()

    @staticmethod
    def max_streams() -> int:
        """Return how many answers may go on at a time: half of the requests in progress."""
        return _limits().processing // 2

    def drain(self) -> None:
        """Drain connections, and wait for that; see :meth:`HTTPServer.drain`."""
        self._draining.set()
        self._signal()
        self._drained.wait(grace_periods.DRAIN + 1.0)

    def stop(self) -> None:
        """Stop the loop and its thread."""
        self._stopping.set()
        self._signal()
        self._thread.join()

    def _signal(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake.set)

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        loop = make_loop(self._name)
        self._loop = loop
        try:
            loop.run_until_complete(self._serve())
        except Exception:
            logger.critical("the HTTP server failed and has stopped", exc_info=True)
        finally:
            self._ready.set()
            self._drained.set()
            close_loop(loop)
            self._listener.close()

    async def _serve(self) -> None:
        self._listener.setblocking(False)
        self._table = ConnectionTable(_limits())
        self._shared = SharedState(self._table)
        self._state = ServerState()
        self._held: tuple[socket.socket, Any] | None = None
        self._pending: set[asyncio.Task[None]] = set()
        self._config = uvicorn.Config(
            self._app,
            lifespan="off",
            log_config=None,
            access_log=False,
            interface="asgi3",
            proxy_headers=False,
            ws="none",
            server_header=False,
            timeout_keep_alive=3600,  # Connection.check closes idle ones
        )
        self._config.load()
        self._set_date_header()
        self._listen(True)
        self._ready.set()
        while not (self._draining.is_set() or self._stopping.is_set()):
            await self._tick(_TICK)
        self._stop_accepting()
        if self._draining.is_set():
            await self._wait_while(self._is_used, grace_periods.DRAIN)
            self._drained.set()
        while not self._stopping.is_set():
            await self._tick(_TICK)
        await self._wait_while(self._is_busy, grace_periods.STOP_GRACE)
        for task in self._pending:
            task.cancel()
        if self._held is not None:
            self._held[0].close()
        for connection in list(self._state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    async def _tick(self, seconds: float) -> None:
        """Wait for a timeout or a signal, then enforce the timeouts of all connections."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()
        self._set_date_header()
        now = asyncio.get_running_loop().time()
        for connection in list(self._state.connections):
            if isinstance(connection, Connection):
                connection.check(now)

    async def _wait_while(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while condition() and time.monotonic() < deadline:
            await self._tick(_POLL)

    def _is_busy(self) -> bool:
        return any(c.busy for c in self._connections())

    def _is_used(self) -> bool:
        now = asyncio.get_running_loop().time()
        return bool(self._pending) or any(
            c.busy or c.recently_used(now, grace_periods.RECENT) for c in self._connections()
        )

    def _connections(self) -> list[Any]:
        return list(self._state.connections)

    def _set_date_header(self) -> None:
        """Set the headers of every answer: the date, and no ``Server``."""
        self._state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]

    # -- connections ---------------------------------------------------------------------------

    def _listen(self, on: bool) -> None:
        loop = asyncio.get_running_loop()
        if on:
            loop.add_reader(self._listener.fileno(), self._accept)
        else:
            loop.remove_reader(self._listener.fileno())

    def _stop_accepting(self) -> None:
        """Refuse new connections from now on.

        Those already established by the kernel are accepted first: their callers may have sent a
        request, and after a reset could not tell whether it was executed.
        """
        self._shared.draining = True
        while self._accept() == _BATCH:
            pass
        self._listen(False)
        self._listener.close()

    def _accept(self) -> int:
        """Accept waiting connections; return how many there were."""
        for count in range(_BATCH):
            try:
                sock, peer = self._held or self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return count
            except OSError as error:
                if error.errno in _LOST:
                    continue
                self._pause(error)
                return count
            self._held = None
            slot = self._table.admit(str(peer[0]), time.monotonic())
            if slot is None:
                self._hold(sock, peer)
                return count
            self._start_connection(sock, slot)
        return _BATCH

    def _hold(self, sock: socket.socket, peer: Any) -> None:
        """Keep an accepted connection until there is room, and accept no others meanwhile."""
        if self._shared.draining:
            sock.close()
            return
        self._held = sock, peer
        self._listen(False)
        asyncio.get_running_loop().call_later(_ROOM_CHECK, self._resume_accepting)

    def _pause(self, error: OSError) -> None:
        """Pause accepting: the process is out of file descriptors."""
        if not self._backoff.exhausted_by(error, time.monotonic()):
            raise error
        self._table.evict(time.monotonic())
        self._listen(False)
        asyncio.get_running_loop().call_later(PAUSE, self._resume_accepting)

    def _resume_accepting(self) -> None:
        if not self._shared.draining:
            self._listen(True)
            if self._held is not None:
                self._accept()

    def _start_connection(self, sock: socket.socket, slot: ConnectionSlot) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._connect(sock, slot))

        def drop() -> None:
            task.cancel()
            sock.close()

        slot.close = drop
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _connect(self, sock: socket.socket, slot: ConnectionSlot) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        # From here on the transport owns the socket and closes it.
        slot.close = partial(_cancel, task)
        options: dict[str, Any] = {}
        if self._tls is not None:
            options = {"ssl": self._tls, "ssl_handshake_timeout": HANDSHAKE_SECONDS}
        connected = False
        try:
            await loop.connect_accepted_socket(
                lambda: Connection(self._shared, slot, self._config, self._state), sock, **options
            )
            connected = True
        except (OSError, TimeoutError) as error:  # ssl.SSLError is one of them
            logger.debug("no connection with %s: %s", slot.address, error)
        finally:
            if not connected:
                self._table.release(slot)


def _limits() -> Limits:
    return connection_limits(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _cancel(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()
