"""uvicorn, owned: it serves on a loop in a thread of its own, and leaves nothing behind.

Owns the listening socket, the thread and the loop. Connections are accepted here rather than by
asyncio, so that one that is still at its TLS handshake counts as well. No signal handler is
installed.
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
from braft_core.http.connection import Connection, Shared
from braft_core.http.connection_table import ConnectionSlot, ConnectionTable, connection_limits
from braft_core.http.request_guard import RequestGuard
from braft_core.http.server_loop import close_loop, make_loop
from braft_core.transport.accept_backoff import PAUSE, AcceptBackoff

__all__ = ["UvicornServer"]

logger = logging.getLogger(__name__)

#: Seconds that a TLS handshake may take.
HANDSHAKE_SECONDS: Final = 5.0
_TICK: Final = 0.5
_POLL: Final = 0.02
#: Connections that are accepted in one turn of the loop.
_BATCH: Final = 64
#: Seconds until it is looked again whether there is room for a connection.
_ROOM: Final = 0.05
#: Errors of one connection that was lost before it was accepted.
_LOST: Final = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ECONNRESET})


class UvicornServer:
    """One period of service, from start to stop."""

    def __init__(
        self,
        app: RequestGuard,
        listener: socket.socket,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """:param tls: the context for each connection; ``None``: no TLS."""
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

    def drain(self) -> None:
        """Let the loop send callers elsewhere, and wait until it has."""
        self._draining.set()
        self._signal()
        self._drained.wait(grace_periods.DRAIN + 1.0)

    def stop(self) -> None:
        """End the loop and its thread."""
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
            logger.critical("the HTTP server cannot go on", exc_info=True)
        finally:
            self._ready.set()
            self._drained.set()
            close_loop(loop)
            self._listener.close()

    async def _serve(self) -> None:
        self._listener.setblocking(False)
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._table = ConnectionTable(connection_limits(descriptors))
        self._shared = Shared(self._table)
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
            timeout_keep_alive=3600,  # connections are watched here
        )
        self._config.load()
        self._date()
        self._listen(True)
        self._ready.set()
        while not (self._draining.is_set() or self._stopping.is_set()):
            await self._tick(_TICK)
        self._take_no_more()
        if self._draining.is_set():
            await self._while(self._is_used, grace_periods.DRAIN)
            self._drained.set()
        while not self._stopping.is_set():
            await self._tick(_TICK)
        await self._while(self._is_busy, grace_periods.STOP_GRACE)
        for task in self._pending:
            task.cancel()
        if self._held is not None:
            self._held[0].close()
        for connection in list(self._state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    async def _tick(self, seconds: float) -> None:
        """Wait a while, or until somebody wants something; then look at all connections."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()
        self._date()
        now = asyncio.get_running_loop().time()
        for connection in list(self._state.connections):
            if isinstance(connection, Connection):
                connection.check(now)

    async def _while(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while condition() and time.monotonic() < deadline:
            await self._tick(_POLL)

    def _is_busy(self) -> bool:
        return any(c.busy for c in self._connections())

    def _is_used(self) -> bool:
        now = asyncio.get_running_loop().time()
        return bool(self._pending) or any(
            c.busy or c.lively(now, grace_periods.LIVELY) for c in self._connections()
        )

    def _connections(self) -> list[Any]:
        return list(self._state.connections)

    def _date(self) -> None:
        """What each answer says: the time, and neither program nor version."""
        self._state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]

    # -- connections ---------------------------------------------------------------------------

    def _listen(self, on: bool) -> None:
        loop = asyncio.get_running_loop()
        if on:
            loop.add_reader(self._listener.fileno(), self._accept)
        else:
            loop.remove_reader(self._listener.fileno())

    def _take_no_more(self) -> None:
        """Refuse connections from now on.

        Those that the kernel has made for us are taken first: their callers may have sent a
        request, and could not tell a reset from one that was carried out.
        """
        self._shared.leaving = True
        while self._accept() == _BATCH:
            pass
        self._listen(False)
        self._listener.close()

    def _accept(self) -> int:
        """Take what waits; returns how many there were."""
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
            self._take(sock, slot)
        return _BATCH

    def _hold(self, sock: socket.socket, peer: Any) -> None:
        """Keep a connection, and leave others waiting, until there is room for it."""
        if self._shared.leaving:
            sock.close()
            return
        self._held = sock, peer
        self._listen(False)
        asyncio.get_running_loop().call_later(_ROOM, self._go_on)

    def _pause(self, error: OSError) -> None:
        """Leave connections waiting for a while: there are no descriptors for them."""
        if not self._backoff.exhausted_by(error, time.monotonic()):
            raise error
        self._table.evict(time.monotonic())
        self._listen(False)
        asyncio.get_running_loop().call_later(PAUSE, self._go_on)

    def _go_on(self) -> None:
        if not self._shared.leaving:
            self._listen(True)
            if self._held is not None:
                self._accept()

    def _take(self, sock: socket.socket, slot: ConnectionSlot) -> None:
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
        # From here on the socket is the transport's, which closes it.
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
                self._table.forget(slot)


def _cancel(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()
