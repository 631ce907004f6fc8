"""Base class for transports that keep a link to each peer.

Owns the links, the snapshots being sent, and the calls before :meth:`start` and after
:meth:`stop`. Must not know how a link connects.
"""

from __future__ import annotations

import abc
import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from braft_core.abc import Transport, TransportHandler, TransportOptions
from braft_core.addresses import parse_address
from braft_core.auth_failures import refused_token_message
from braft_core.errors import BraftError, DecodeError, ProtocolViolation, Stopped, Unreachable
from braft_core.escaping import printable
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft.messages import (
    InstallSnapshot,
    InstallSnapshotResponse,
    Message,
    Request,
    Response,
)
from braft_core.transport.admission import VIOLATION
from braft_core.transport.endpoint import LocalEndpoint
from braft_core.transport.snapshot_transfer import SnapshotSender

__all__ = ["Link", "LinkedTransport", "PeerLinks", "TransportSession"]


class Link(Protocol):
    """Sends requests to one server."""

    address: str

    def send(self, message: Request) -> None:
        """Send, or drop and report. Never blocks."""

    def reconnect_now(self) -> None:
        """Connect at once, without the rest of the pause: the peer was just heard from."""

    async def close(self) -> None:
        """Close its connections."""


L = TypeVar("L", bound=Link)

_log = logging.getLogger(__name__)


class PeerLinks(Generic[L]):
    """The links of a started transport, by server. Used on the loop only.

    :param make: makes a link to a server at an address.
    :param send_snapshot: sends one snapshot to an address, and returns the answer.
    """

    def __init__(
        self,
        handler: TransportHandler,
        make: Callable[[str, str], L],
        send_snapshot: Callable[[str, InstallSnapshot], Awaitable[InstallSnapshotResponse]],
    ) -> None:
        self._handler, self._make, self._send_to = handler, make, send_snapshot
        self._sender = SnapshotSender(self._send_snapshot, handler.on_message)
        self._unknown: set[str] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self.links: dict[str, L] = {}

    def set(self, server_id: str, address: str) -> None:
        """Set the address of a server; a malformed address is logged and not connected to."""
        link = self.links.get(server_id)
        if link is not None and link.address == address:
            return
        self.remove(server_id)
        try:
            parse_address(address)
        except DecodeError as error:
            _log.warning("server %s cannot be reached: %s", printable(server_id), error.message)
            return
        self._unknown.discard(server_id)
        self.links[server_id] = self._make(server_id, address)

    def remove(self, server_id: str) -> None:
        """Close the link to that server, and stop sending to it."""
        link = self.links.pop(server_id, None)
        self._sender.cancel(server_id)
        if link is not None:
            task = self._loop.create_task(link.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def send(self, message: Request) -> None:
        """Send, or drop and report. Never blocks."""
        link = self.links.get(message.to)
        if isinstance(message, InstallSnapshot):
            self._sender.send(message)
        elif link is not None:
            link.send(message)
        elif message.to not in self._unknown:
            self._unknown.add(message.to)
            self._handler.on_unreachable(message.to)

    def reconnect(self) -> None:
        """Replace every link by a new one to the same address."""
        for server_id in list(self.links):
            self.renew(server_id)

    def renew(self, server_id: str) -> None:
        """Replace the link to that server, if there is one."""
        link = self.links.get(server_id)
        if link is not None:
            self.remove(server_id)
            self.set(server_id, link.address)

    def heard_from(self, server_id: str) -> None:
        """Reconnect to that server at once, since a request of it arrived."""
        link = self.links.get(server_id)
        if link is not None:
            link.reconnect_now()

    async def close(self) -> None:
        """Close all links and cancel all transfers."""
        links = list(self.links.values())
        self.links.clear()
        await asyncio.gather(self._sender.stop(), *(link.close() for link in links))

    async def closed(self) -> None:
        """Wait until the links that were removed earlier are closed."""
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _send_snapshot(self, message: InstallSnapshot) -> InstallSnapshotResponse:
        link = self.links.get(message.to)
        if link is None:
            raise Unreachable(f"the address of server {message.to} is not known", sent=False)
        return await self._send_to(link.address, message)


class TransportSession(Generic[L], abc.ABC):
    """A started transport: everything that :meth:`stop` ends."""

    def __init__(self, local: LocalEndpoint, peers: PeerLinks[L]) -> None:
        self.counters = local.counters
        self.certificates = local.certificates
        self.denied = local.denied
        self.peers = peers

    @abc.abstractmethod
    async def start(self) -> tuple[str, ...]:
        """Listen; return the actual addresses."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """End everything."""

    @abc.abstractmethod
    def reply(self, message: Response) -> None:
        """Answer a request."""

    def refuse(self, message: Message, error: BraftError) -> None:
        """Close the connection that brought a message."""
        if isinstance(error, ProtocolViolation):
            self.counters[VIOLATION] += 1
        if isinstance(message, Request):
            message.context.refuse(error)
        else:
            self.peers.renew(message.sender)

    @abc.abstractmethod
    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """Call another node."""

    def reconnect(self) -> None:
        """Replace all outbound connections."""
        self.peers.reconnect()


class LinkedTransport(Transport):
    """Between :meth:`start` and :meth:`stop` a :class:`TransportSession` does the work."""

    def __init__(self, options: TransportOptions) -> None:
        super().__init__(options)
        #: The actual addresses, with the ports chosen for 0. Set by :meth:`start`.
        self.listening: tuple[str, ...] = ()
        self._session: TransportSession[Any] | None = None

    @abc.abstractmethod
    def _begin(self, handler: TransportHandler) -> TransportSession[Any]:
        """Make a session, not started yet. :raises ConfigError: a TLS file cannot be used."""

    @property
    def counters(self) -> Counter[str]:
        """See the base class; further ``refused_by_peer`` and ``dropped``."""
        return self._session.counters if self._session else Counter()

    async def start(self, handler: TransportHandler) -> None:
        """See the base class."""
        session = self._begin(handler)
        self.listening = await session.start()
        self._session = session

    def refresh(self) -> None:
        """See the base class."""
        session = self._session
        if session is not None and session.certificates is not None:
            session.certificates.refresh()

    def reconnect(self) -> None:
        """See the base class."""
        if self._session is not None:
            self._session.reconnect()

    @property
    def notes(self) -> dict[str, str]:
        """See the base class."""
        session = self._session
        if session is None:
            return {}
        denied = sorted(set(session.denied.copy().values()))
        notes = {"token": refused_token_message(denied)} if denied else {}
        if session.certificates is not None and session.certificates.trouble:
            notes["tls"] = session.certificates.trouble
        return notes

    async def stop(self) -> None:
        """See the base class."""
        session, self._session = self._session, None
        if session is not None:
            await session.stop()

    def set_peer(self, server_id: str, address: str) -> None:
        """See the base class."""
        if self._session is not None:
            self._session.peers.set(server_id, address)

    def remove_peer(self, server_id: str) -> None:
        """See the base class."""
        if self._session is not None:
            self._session.peers.remove(server_id)

    def send(self, message: Request) -> None:
        """See the base class."""
        if self._session is not None:
            self._session.peers.send(message)

    def reply(self, message: Response) -> None:
        """See the base class."""
        if self._session is not None:
            self._session.reply(message)

    def refuse(self, message: Message, error: BraftError) -> None:
        """See the base class."""
        if self._session is not None:
            self._session.refuse(message, error)

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """See the base class."""
        if self._session is None:
            raise Stopped("the transport is not running")
        return await self._session.call(address, request, timeout)
