"""Which certificate does a server show, and is it a peer's?

Owns the question that is asked before anything is said to a server over gRPC, whose client neither
tells what certificate it was shown nor whether the other end speaks TLS at all. The answer is
bound to the connection that follows, which accepts no other certificate.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple

from braft_core.addresses import parse_address
from braft_core.errors import Unreachable
from braft_core.transport.presence import speaks_tls
from braft_core.transport.tls import Certificates

__all__ = ["PLAIN", "Look", "look", "no_peer"]


class Look(NamedTuple):
    """What was seen of a server. ``certificate`` is DER; "": it does not speak TLS."""

    certificate: bytes


PLAIN = Look(b"")


async def look(address: str, certificates: Certificates, patience: float) -> Look:
    """Return what the server at ``address`` shows.

    :param patience: seconds for all of it.
    :raises Unreachable: nobody is there, or it is no peer by its certificate.
    :raises DecodeError: it is no address.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    try:
        certificate = await _certificate(address, certificates, patience)
    except (OSError, TimeoutError, UnicodeError) as error:
        if certificates.prefer and _may_be_plain(error):
            answer = await speaks_tls(address, max(0.1, deadline - loop.time()))
            if answer is False:
                return PLAIN
        raise Unreachable(
            f"cannot connect to {address}: {_reason(error)}",
            address=address,
            sent=False,
            # It is there, and does not speak TLS or has a certificate that is not accepted.
            answered=isinstance(error, ssl.SSLError),
        ) from error
    refusal = certificates.peer_refusal(certificate)
    if refusal:
        raise no_peer(address, refusal)
    return Look(certificate)


def no_peer(address: str, refusal: str) -> Unreachable:
    """Return the error for a server whose certificate is not a peer's."""
    return Unreachable(
        f"the server at {address} is no peer: {refusal}", address=address, sent=False, answered=True
    )


async def _certificate(address: str, certificates: Certificates, patience: float) -> bytes:
    place = parse_address(address)
    async with asyncio.timeout(patience):
        _, writer = await asyncio.open_connection(
            place.host,
            place.port,
            ssl=certificates.current.client,
            server_hostname=certificates.server_hostname(place.ip or place.host),
        )
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    return shown or b""


def _may_be_plain(error: Exception) -> bool:
    """Whether the failure can be that of a server without TLS, rather than of a certificate."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return False
    return isinstance(error, ssl.SSLError | ConnectionError | EOFError)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    return str(error) or type(error).__name__
