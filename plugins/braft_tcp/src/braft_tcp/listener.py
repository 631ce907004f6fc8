"""The inbound side: listens, shakes hands, and hands each connection to its channel.

Owns which connections there are and what their ends say about a peer. What travels on them is in
:mod:`braft_tcp.inbound`, :mod:`braft_tcp.call_server` and :mod:`braft_tcp.snapshot_channel`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgpack

from braft_core.addresses import join_host_port, parse_listen
from braft_core.errors import ConfigError, DecodeError, TransportError
from braft_core.raft import Response
from braft_core.transport import (
    MAX_CALL,
    MAX_CONTROL,
    HandshakeKeys,
    accept,
    challenge,
    encode_response,
    inbound_connection_limit,
    nonce,
)
from braft_tcp.call_server import CallServer
from braft_tcp.connection import Connection
from braft_tcp.connection_slots import ConnectionSlots, Slot
from braft_tcp.frame_mac import FrameMac
from braft_tcp.frames import VERSION_MAX, Channel, Hello, Kind, decode_hello
from braft_tcp.handshake import encode_refusal
from braft_tcp.inbound import BulkInbound, ControlInbound, Inbound
from braft_tcp.large_frames import LargeFrames
from braft_tcp.listening_socket import ListeningSocket
from braft_tcp.snapshot_channel import SnapshotInbound, TcpSnapshotReceiver
from braft_tcp.tcp_endpoint import CROWDED, NAME, Rejection, TcpEndpoint
from braft_tcp.tls_context import server_context

__all__ = ["Listener"]

#: Largest frame in bytes where the largest message is too large.
_LIMITS = {Channel.CONTROL: MAX_CONTROL, Channel.SNAPSHOT: MAX_CALL}
#: The rule by which what is no frame of ours is refused.
NOT_UNDERSTOOD = "not_understood"


class Listener:
    """Serves the peers of one node.

    :param heard_from: told the id of a peer whose bulk channel just began.
    :param is_member: whether a server of that id is known as a peer.
    """

    def __init__(
        self,
        local: TcpEndpoint,
        heard_from: Callable[[str], None],
        is_member: Callable[[str], bool],
    ) -> None:
        self.local = local
        self.is_member = is_member
        self.slots = ConnectionSlots(inbound_connection_limit())
        self.large = LargeFrames()
        self._heard_from = heard_from
        self._doors: list[ListeningSocket] = []
        self._inbounds: set[_InboundConnection] = set()
        self._latest: dict[str, _InboundConnection] = {}
        self._snapshots = TcpSnapshotReceiver(local)

    async def start(self) -> tuple[str, ...]:
        """Listen; returns the addresses, with the ports that were chosen for 0.

        :raises ConfigError: an address is taken or not ours.
        """
        return tuple([self._listen(address) for address in self.local.options.listen])

    def _listen(self, address: str) -> str:
        try:
            place = parse_listen(address)
            certificates = self.local.certificates
            context = server_context(certificates) if certificates is not None else None
            either = certificates is not None and certificates.prefer
            slots = self.slots
            door = ListeningSocket(
                place.host,
                place.port,
                self._accept,
                slots,
                context,
                self.local.timing,
                either=either,
            )
        except (OSError, ValueError, DecodeError) as error:
            raise ConfigError(
                f"cannot listen on {address}: {error}; choose another port (BRAFT_RPORT, "
                "BRAFT_DPORT) or address (BRAFT_IP)",
                address=address,
            ) from error
        self._doors.append(door)
        return join_host_port(place.host, door.port)

    def reply(self, message: Response) -> None:
        """Send a response to where its request came from, if that is still there."""
        message.context.fill(encode_response(message, self.local.header))

    def watch(self, now: float) -> None:
        """Cut connections whose other end is silent. Transfers watch themselves."""
        for inbound in list(self._inbounds):
            if inbound.proven is not None and not inbound.proven.still_accepted_by(
                self.local.keyring
            ):
                inbound.connection.close_gracefully()  # its token is no longer accepted
            elif inbound.channel is not Channel.SNAPSHOT:
                inbound.connection.watch(now)

    async def stop(self) -> None:
        """Stop listening, end all connections in order, and everything that serves them."""
        self.local.stopping = True
        await asyncio.gather(*(door.close() for door in self._doors))
        inbounds = list(self._inbounds)
        await asyncio.gather(self._snapshots.stop(), *(inbound.stop() for inbound in inbounds))
        left = [inbound.connection.gone for inbound in inbounds]
        if left:
            await asyncio.wait(left, timeout=2 * self.local.timing.close)

    # ------------------------------------------------------------------ inbounds

    def _accept(self, slot: Slot) -> Connection:
        inbound = _InboundConnection(self, slot)
        self._inbounds.add(inbound)
        return inbound.connection

    def admitted(self, inbound: _InboundConnection, hello: Hello) -> Inbound:
        """Return what serves a connection whose hello was accepted."""
        local, connection = self.local, inbound.connection
        if hello.channel is Channel.CALLS:
            return CallServer(local, connection, hello)
        if hello.channel is Channel.SNAPSHOT:
            return SnapshotInbound(local, connection, hello, self._snapshots)
        if hello.channel is Channel.CONTROL:
            return ControlInbound(local, connection, hello)
        self._latest[hello.sender] = inbound
        self._heard_from(hello.sender)
        return BulkInbound(local, connection, hello)

    def gone(self, inbound: _InboundConnection) -> None:
        """Forget a connection that is closed."""
        self._inbounds.discard(inbound)
        if inbound.channel is not Channel.BULK or self._latest.get(inbound.sender) is not inbound:
            return
        del self._latest[inbound.sender]
        if not (inbound.connection.orderly or self.local.stopping):
            self.local.handler.on_connection_lost(inbound.sender)


class _InboundConnection:
    """One accepted connection."""

    def __init__(self, listener: Listener, slot: Slot) -> None:
        self._listener = listener
        self._slot = slot
        self._inbound: Inbound | None = None
        self._hello: Hello | None = None
        #: What the caller has to prove its knowledge about: its hello, and our challenge.
        self._asked: tuple[bytes, bytes] | None = None
        self._late: asyncio.TimerHandle | None = None
        self.proven: HandshakeKeys | None = None
        self.channel: Channel | None = None
        self.sender = ""
        self.connection = slot.connection = Connection(
            self._greeted, self._garbage, listener.local.timing
        )
        self.connection.read_only_from_readers()
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(listener.local.timing.first_bytes, self.connection.abort)
        self.connection.gone.add_done_callback(self._gone)

    def _greeted(self, kind: int, _request_id: int, body: bytes) -> None:
        if kind != Kind.HELLO:
            raise DecodeError(f"frame {kind} before the hello")
        hello = self._hello = decode_hello(body)
        local, connection = self._listener.local, self.connection
        denial = local.certificate_rejection(connection.certificate)
        if denial is not None:
            self._deadline.cancel()
            self._refuse(denial)
            return
        denial = local.deny_unproved(hello)
        if denial is not None:
            self._deadline.cancel()
            local.refused(denial, hello)
            local.auth_failures.record(connection.peer)
            self._refuse(denial)
        elif not hello.nonce:
            self._admit(hello)
        else:
            server_id, number = local.identity.server_id, nonce()
            packed, core = challenge(local.keyring, NAME, body, server_id, number)
            self._asked = (body, core)
            connection.receive = self._answered
            connection.send(Kind.CHALLENGE, 0, packed)

    def _answered(self, kind: int, _request_id: int, body: bytes) -> None:
        local, hello = self._listener.local, self._hello
        if kind != Kind.PROOF or self._asked is None or hello is None:
            raise DecodeError(f"frame {kind} instead of a proof")
        (greeting, core), self._asked = self._asked, None
        self.proven = accept(local.keyring, NAME, greeting, core, body)
        if self.proven is None:
            self._refuse_late(hello)
            return
        self._admit(hello)

    def _refuse_late(self, hello: Hello) -> None:
        """Refuse a wrong proof after a delay, unless many refusals are delayed already."""
        local, connection = self._listener.local, self.connection
        denial = local.wrong_proof()
        local.refused(denial, hello)
        local.auth_failures.record(connection.peer)
        connection.hold()
        self._deadline.cancel()
        delay = local.auth_failures.delay()
        if not delay:
            self._refuse(denial)
            return
        loop = asyncio.get_running_loop()
        self._late = loop.call_later(delay, self._refuse, denial)
        connection.gone.add_done_callback(lambda _gone: local.auth_failures.delay_ended())

    def _refuse(self, denial: Rejection) -> None:
        self.connection.send(Kind.REFUSED, 0, encode_refusal(denial))
        self.connection.close_gracefully()

    def _admit(self, hello: Hello) -> None:
        connection, local = self.connection, self._listener.local
        self._deadline.cancel()
        denial = local.deny(hello) or self._over_quota(hello)
        if denial is not None:
            self._refuse(denial)
            return
        self.channel, self.sender = hello.channel, hello.sender
        self._inbound = self._listener.admitted(self, hello)
        connection.receive = self._inbound.receive
        if self.proven is not None:
            connection.authenticate_frames(FrameMac(self.proven.keys, client=False))
        connection.set_limit(_LIMITS.get(hello.channel, local.options.max_message_bytes))
        connection.share(self._listener.large, (self._slot.host, hello.channel))
        welcome = {"version": VERSION_MAX, "server_id": local.identity.server_id}
        connection.send(Kind.WELCOME, 0, msgpack.packb(welcome))

    def _over_quota(self, hello: Hello) -> Rejection | None:
        listener = self._listener
        if listener.slots.admit(self._slot, member=listener.is_member(hello.sender)):
            return None
        listener.local.counters[CROWDED] += 1
        return Rejection(CROWDED, TransportError("this node has no room for another connection"))

    def _garbage(self, error: DecodeError) -> None:
        local = self._listener.local
        local.garbage(error)
        if self.channel is None:
            # A caller that speaks another protocol learns at least that a node runs here.
            self.connection.send(Kind.REFUSED, 0, encode_refusal(Rejection(NOT_UNDERSTOOD, error)))
            self.connection.close_gracefully()

    def _gone(self, _gone: asyncio.Future[None]) -> None:
        self._deadline.cancel()
        if self._late is not None:
            self._late.cancel()
        if self._asked is not None and self._hello is not None:
            # It received our proof and sent none.
            local = self._listener.local
            local.refused(local.wrong_proof(), self._hello)
            local.auth_failures.record(self.connection.peer)
        if self._inbound is not None:
            self._inbound.lost()
        self._listener.gone(self)

    async def stop(self) -> None:
        if self._inbound is not None:
            await self._inbound.stop()
            self.connection.close_gracefully()
        else:
            self.connection.abort()
