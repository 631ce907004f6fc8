"""Listening sockets: accept connections and do their TLS handshakes.

Owns every connection until its handshake is over. So a node that stops can end handshakes with
silent callers, which asyncio's own server cannot.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from braft_core.abc import TransportTiming
from braft_core.transport import AcceptBackoff
from braft_tcp.connection_slots import ConnectionSlots, Slot

__all__ = ["ListeningSocket"]

_log = logging.getLogger(__name__)

_BACKLOG = 256
#: The first byte of a TLS handshake (RFC 8446, section 5.1). Our own frames begin with 0.
_HANDSHAKE = b"\x16"
#: Connections that are accepted within one turn of the loop.
_AT_ONCE = 64


class ListeningSocket:
    """One listening socket. Made on the loop; needs :meth:`close`.

    :param protocol: makes the protocol of a connection, and stores it in the slot.
    :param slots: limits the connections.
    :param either: whether connections without TLS are accepted as well.
    :raises OSError: the address is taken or not ours.
    """

    def __init__(
        self,
        host: str,
        port: int,
        protocol: Callable[[Slot], asyncio.Protocol],
        slots: ConnectionSlots,
        context: ssl.SSLContext | None,
        timing: TransportTiming,
        *,
        either: bool = False,
    ) -> None:
        self._either = either
        self._protocol, self._slots, self._context = protocol, slots, context
        self._patience = timing.first_bytes if context is not None else None
        self._loop = asyncio.get_running_loop()
        self._socket = _listen(host, port)
        self._entering: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._backoff = AcceptBackoff(f"TCP on port {self.port}", _log, timing.accept_pause)
        self._open()

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for."""
        port: int = self._socket.getsockname()[1]
        return port

    async def close(self) -> None:
        """Stop listening, and cut off those whose handshake is not over. Idempotent."""
        if self._pause is not None:
            self._pause.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        await asyncio.sleep(
            0
        )  # a task that is cancelled before it began would not close its socket
        entering = list(self._entering)
        for task in entering:
            task.cancel()
        await asyncio.gather(*entering, return_exceptions=True)

    def _open(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                caller, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._exhaust(error)
                return
            slot = self._slots.arrive(address[0])
            if slot is None:
                caller.close()
                continue
            caller.setblocking(False)
            slot.entering = task = self._loop.create_task(self._enter(caller, slot))
            self._entering.add(task)
            task.add_done_callback(lambda task, c=caller, s=slot: self._entered(task, c, s))  # type: ignore[misc]

    def _entered(self, task: asyncio.Task[None], caller: socket.socket, slot: Slot) -> None:
        self._entering.discard(task)
        if task.cancelled():
            caller.close()  # it may not have begun
        connection = slot.connection
        if task.cancelled() or connection is None or connection.gone.done():
            self._slots.leave(slot)
        else:
            connection.gone.add_done_callback(lambda _gone: self._slots.leave(slot))

    def _exhaust(self, error: OSError) -> None:
        """Pause accepting, after accept() failed; log exhausted resources at intervals."""
        if not self._backoff.exhausted_by(error, self._loop.time()):
            _log.debug("accept failed: %s", error)
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(self._backoff.pause, self._open)

    async def _enter(self, caller: socket.socket, slot: Slot) -> None:
        context, patience = self._context, self._patience
        try:
            if self._either and not await self._begins_tls(caller):
                context = patience = None
            await self._loop.connect_accepted_socket(
                lambda: self._protocol(slot), caller, ssl=context, ssl_handshake_timeout=patience
            )
        except OSError as error:  # TLS errors and timeouts among them
            _log.debug("a TLS handshake failed: %s", error)
            if slot.connection is not None:
                slot.connection.abort()

    async def _begins_tls(self, caller: socket.socket) -> bool:
        """Return whether a caller's first byte begins a TLS handshake. It is not consumed.

        :raises OSError: no byte comes in time, or the caller goes away.
        """
        readable = asyncio.Event()
        self._loop.add_reader(caller, readable.set)
        try:
            async with asyncio.timeout(self._patience):
                await readable.wait()
            return caller.recv(1, socket.MSG_PEEK) == _HANDSHAKE
        except BaseException:
            self._loop.remove_reader(caller)
            caller.close()
            raise
        finally:
            if caller.fileno() >= 0:
                self._loop.remove_reader(caller)


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    if family == socket.AF_INET6:  # for IPv6 alone; the address has its interface in it
        listening = socket.create_server(address, family=family, backlog=_BACKLOG)
    else:
        listening = socket.create_server(address, backlog=_BACKLOG)
    listening.setblocking(False)
    return listening
