"""Opening connections: TCP, TLS, hello, proof of the token, and the answer.

Owns the deadlines of that; what a connection then carries is its user's affair.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import msgpack

from braft_core.addresses import parse_address
from braft_core.errors import AccessDenied, BraftError, DecodeError, Unreachable
from braft_core.transport import (
    NOT_MEMBER,
    Certificates,
    TLSProbe,
    decode_error,
    encode_error,
    first_byte,
    handshake_error,
    is_tls_record,
    may_lack_tls,
    not_a_peer_error,
    respond,
    token_unset_error,
)
from braft_tcp.connection import Connection, FrameReceiver
from braft_tcp.frame_mac import FrameMac
from braft_tcp.frames import Channel, Kind, encode_hello
from braft_tcp.tcp_endpoint import CROWDED, NAME, STOPPING, TOKEN, Rejection, TcpEndpoint

Greeter = Callable[[], "_Greeting"]

__all__ = ["Refused", "connect", "encode_refusal"]


class Refused(Exception):
    """The peer refuses the connection: the rule's name, and the error it sent."""

    def __init__(self, kind: str, error: BraftError) -> None:
        super().__init__(str(error))
        self.kind = kind
        self.error = error
        #: Whether a later attempt may succeed without anybody's help.
        self.temporary = kind in (NOT_MEMBER, STOPPING, CROWDED)


def encode_refusal(denial: Rejection) -> bytes:
    """Return the body of a ``REFUSED``."""
    packed: bytes = msgpack.packb([denial.kind, encode_error(denial.error)])
    return packed


def _decode_refusal(body: bytes) -> Refused:
    try:
        kind, packed = msgpack.unpackb(body)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise DecodeError(f"not a refusal: {error}") from error
    if not isinstance(kind, str) or not isinstance(packed, bytes):
        raise DecodeError("not a refusal")
    return Refused(kind, decode_error(packed))


async def connect(
    local: TcpEndpoint,
    address: str,
    channel: Channel,
    to: str,
    receive: FrameReceiver,
) -> Connection:
    """Return a connection that the server at ``address`` has accepted.

    :param to: id of the intended server; "" for any server at the address.
    :param receive: see :class:`Connection`.
    :raises Unreachable: no server answers, or not as it should.
    :raises Refused: it refuses the connection.
    :raises DecodeError: ``address`` is not ``host:port``.
    """
    hello = encode_hello(local.hello(channel, to))
    connection, greeting = await _open(
        local, address, lambda: _Greeting(local, address, hello, receive)
    )
    # Another server may be there next time, or the same one with TLS.
    connection.gone.add_done_callback(lambda _gone: local.tls_probes.forget(address))
    try:
        connection.send(Kind.HELLO, 0, hello)
        async with asyncio.timeout(local.timing.handshake):
            await greeting.answer
    except BaseException as error:
        connection.abort()
        if isinstance(error, TimeoutError):
            raise Unreachable(
                f"{address} accepted the connection and does not answer", sent=False
            ) from error
        raise
    finally:
        greeting.answer.cancel()
    return connection


async def _open(local: TcpEndpoint, address: str, greeter: Greeter) -> tuple[Connection, _Greeting]:
    """Connect to a peer, with TLS unless it is off or the peer is known not to speak it."""
    certificates = local.certificates
    known = local.tls_probes.get(address)
    try:
        if certificates is None or (known is not None and not known.certificate):
            return await _dial(local, address, greeter, None)
        return await _dial(local, address, greeter, certificates)
    except (OSError, ssl.SSLError, TimeoutError, ValueError) as error:
        if certificates is None or not may_lack_tls(error):
            raise handshake_error(address, error) from error
        failure = error
    accepted, answer = await first_byte(address, local.timing.connect)
    if not certificates.prefer or not answer or is_tls_record(answer):
        local.tls_probes.forget(address)
        raise handshake_error(address, failure, accepted=accepted, answered=bool(answer))
    local.tls_probes.remember(address, TLSProbe(b"", certificates.current))
    try:
        return await _dial(local, address, greeter, None)
    except (OSError, TimeoutError, ValueError) as error:
        raise handshake_error(address, error) from error


async def _dial(
    local: TcpEndpoint, address: str, greeter: Greeter, certificates: Certificates | None
) -> tuple[Connection, _Greeting]:
    place, greeting = parse_address(address), greeter()
    host = place.ip or place.host
    name = certificates.server_hostname(host) if certificates is not None else None
    async with asyncio.timeout(local.timing.connect):
        _, connection = await asyncio.get_running_loop().create_connection(
            greeting.make,
            place.host,
            place.port,
            ssl=certificates.current.client if certificates is not None else None,
            server_hostname=name,
        )
    shown = connection.certificate
    if certificates is not None and shown is not None:
        refusal = certificates.peer_refusal(shown)
        if refusal:
            connection.abort()
            raise not_a_peer_error(address, refusal)
    return connection, greeting


class _Greeting:
    """The client's part of a handshake.

    :param hello: the first frame. If it has a nonce, nothing else is sent until the server has
        proved that it has the token.
    """

    def __init__(
        self,
        local: TcpEndpoint,
        address: str,
        hello: bytes,
        receive: FrameReceiver,
    ) -> None:
        self._local = local
        self._address = address
        self._hello = hello
        self._proves = bool(local.keyring.current)
        self._receive = receive
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def make(self) -> Connection:
        self._connection = Connection(self._answered, self._garbage, self._local.timing)
        self._connection.gone.add_done_callback(self._gone)
        return self._connection

    def _answered(self, kind: int, _request_id: int, body: bytes) -> None:
        if kind == Kind.REFUSED:
            self._fail(_decode_refusal(body))
        elif kind == Kind.CHALLENGE and self._proves:
            self._answer_challenge(body)
        elif kind == Kind.WELCOME and self._proves:
            self._fail(Refused(TOKEN, token_unset_error(self._address)))
        elif kind != Kind.WELCOME:
            raise DecodeError(f"frame {kind} before the welcome")
        elif not self.answer.done():
            self._connection.receive = self._receive
            self._connection.set_limit(self._local.options.max_message_bytes)
            self.answer.set_result(None)

    def _answer_challenge(self, body: bytes) -> None:
        local = self._local
        try:
            proof, _, proven = respond(local.keyring, NAME, self._hello, body, self._address)
        except AccessDenied as error:
            self._fail(Refused(TOKEN, error))
            return
        self._proves = False
        self._connection.send(Kind.PROOF, 0, proof)
        self._connection.authenticate_frames(FrameMac(proven.keys, client=True))

    def _garbage(self, error: DecodeError) -> None:
        self._local.garbage(error)
        self._fail(
            Unreachable(
                f"the peer sent malformed bytes ({error}); BRAFT_TRANSPORT must be the same on "
                "every node",
                sent=False,
                answered=True,
            )
        )

    def _gone(self, _gone: asyncio.Future[None]) -> None:
        self._fail(
            Unreachable(
                "the peer closed the connection before it answered; BRAFT_TRANSPORT and TLS must "
                "be the same on every node",
                sent=False,
            )
        )

    def _fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # retrieve it, or asyncio logs it as never retrieved
