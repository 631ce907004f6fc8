"""Checks whether a server runs at an address, even if this node cannot talk to it.

During a rolling change of TLS, of certificates or of the transport, running members cannot talk to
each other. That they send any byte distinguishes them from dead ones.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

from braft_core.addresses import parse_address
from braft_core.errors import DecodeError

__all__ = ["first_byte", "is_tls_record", "probe_reachability"]

#: Seconds within which a server that sends first does so.
_SPEAKS_FIRST = 0.15
#: Types of TLS records that answer a client's first: alert and handshake (RFC 8446, section 5.1).
_RECORDS = (21, 22)


async def probe_reachability(address: str, patience: float) -> tuple[bool, bool]:
    """Return whether a connection to ``address`` is accepted, and whether any byte comes back.

    A server without TLS may send first, as gRPC does. A server with TLS answers the beginning of a
    handshake, even if it rejects the certificate later. An accepted connection alone proves little:
    the kernel accepts for a frozen process, and a proxy for a host that is gone.

    :param patience: seconds for all of it.
    """
    accepted, first = await first_byte(address, patience)
    return accepted, bool(first)


def is_tls_record(first: bytes) -> bool:
    """Return whether the first byte of a server's answer is that of a TLS record.

    A server that speaks TLS answers a ClientHello with a handshake record or an alert.
    """
    return first[0] in _RECORDS


async def first_byte(address: str, patience: float) -> tuple[bool, bytes]:
    """Return whether a connection is accepted, and the first byte received, if any."""
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
    """Return a TLS ClientHello; the handshake is never finished."""
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is read, and nothing is sent
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()
