"""Does anybody answer at an address that does not speak as this node does?

During a rolling change of TLS, of certificates or of the transport, members that run cannot talk
to each other. That they answer at all is what tells them from the dead. Owns that question; what
follows from it is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

from braft_core.addresses import parse_address
from braft_core.errors import DecodeError

__all__ = ["first_byte", "is_tls_record", "probe_reachability"]

#: Seconds in which a server that speaks first does so.
_SPEAKS_FIRST = 0.15
#: Types of TLS records that answer a client's first: alert and handshake (RFC 8446, section 5.1).
_RECORDS = (21, 22)


async def probe_reachability(address: str, patience: float) -> tuple[bool, bool]:
    """Return whether a connection to ``address`` is accepted, and whether any byte comes back.

    A server without TLS may speak first, as gRPC does; one with TLS answers the beginning of a
    handshake, whatever it thinks of the certificates. A connection alone proves little: the kernel
    accepts for a process that stands still, and a proxy for a host that is gone.

    :param patience: seconds for all of it.
    """
    accepted, first = await first_byte(address, patience)
    return accepted, bool(first)


def is_tls_record(first: bytes) -> bool:
    """Return whether a server that answers so to the beginning of a handshake speaks TLS.

    One that does answers by a record of the handshake or by an alert, whatever it thinks of the
    client.
    """
    return first[0] in _RECORDS


async def first_byte(address: str, patience: float) -> tuple[bool, bytes]:
    """Return whether a connection is accepted, and the first byte that comes back, if any."""
    accepted, first = False, b""
    with suppress(OSError, TimeoutError, UnicodeError, DecodeError):
        async with asyncio.timeout(max(0.0, patience)):
            place = parse_address(address)
            reader, writer = await asyncio.open_connection(place.host, place.port)
            accepted = True
            try:
                first = await _any_byte(reader, writer)
            finally:
                writer.transport.abort()
    return accepted, first


async def _any_byte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    with suppress(TimeoutError):
        async with asyncio.timeout(_SPEAKS_FIRST):
            return await reader.read(1)
    writer.write(_client_hello())
    await writer.drain()
    return await reader.read(1)


def _client_hello() -> bytes:
    """Return the first message of a TLS handshake, which is never finished."""
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is read, and nothing is sent
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()
