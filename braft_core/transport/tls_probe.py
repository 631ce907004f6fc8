"""Finds out which certificate a server shows, and whether it is a peer's.

A gRPC client reports neither the server's certificate nor whether the server speaks TLS at all. So
a probe comes first. The connection that follows accepts only the certificate that the probe saw.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, NamedTuple

from braft_core.addresses import parse_address
from braft_core.errors import Unreachable
from braft_core.transport.certificates import Certificates
from braft_core.transport.reachability import first_byte, is_tls_record

if TYPE_CHECKING:
    from braft_core.tls.material import TLSMaterial

__all__ = [
    "DIFFERS",
    "PLAIN",
    "TLSProbe",
    "TLSProbeCache",
    "handshake_error",
    "may_lack_tls",
    "not_a_peer_error",
    "probe_tls",
]

DIFFERS = (
    ", though something listens there: BRAFT_TLS_* or BRAFT_TRANSPORT differs between the two, "
    "or one does not accept the certificate of the other"
)

#: Seconds for which a result is valid, unless a connection fails before.
_KEPT = 60.0
_MAX_KEPT = 256


class TLSProbe(NamedTuple):
    """The result of a probe.

    ``certificate`` is DER; empty if the server does not speak TLS, or TLS is off. ``material`` is
    our own at that time: after it was replaced the server has to be probed again.
    """

    certificate: bytes
    material: TLSMaterial | None


PLAIN = TLSProbe(b"", None)


class TLSProbeCache:
    """Recent results, by address. Used on the loop only.

    :param certificates: ``None``: TLS is off, and servers are not probed.
    """

    def __init__(self, certificates: Certificates | None) -> None:
        self._certificates = certificates
        self._known: dict[str, tuple[TLSProbe, float]] = {}

    def get(self, address: str) -> TLSProbe | None:
        """Return a valid result for the server at ``address``, or ``None``."""
        if self._certificates is None:
            return PLAIN
        found, until = self._known.get(address, (PLAIN, 0.0))
        now = asyncio.get_running_loop().time()
        current = found.material is self._certificates.current
        return found if current and now < until else None

    async def get_or_probe(self, address: str, patience: float) -> TLSProbe:
        """Return a valid result for the server at ``address``; probe it without one."""
        found = self.get(address)
        if found is None:
            assert self._certificates is not None  # noqa: S101 - else everything is known
            found = await probe_tls(address, self._certificates, patience)
            self.remember(address, found)
        return found

    def remember(self, address: str, found: TLSProbe) -> None:
        """Store a result."""
        if len(self._known) >= _MAX_KEPT:
            self._known.clear()
        self._known[address] = (found, asyncio.get_running_loop().time() + _KEPT)

    def forget(self, address: str) -> None:
        """Drop the result: a connection failed or ended, and another server may be there."""
        self._known.pop(address, None)


async def probe_tls(address: str, certificates: Certificates, patience: float) -> TLSProbe:
    """Connect to ``address`` and return its certificate.

    :param patience: seconds for all of it.
    :raises Unreachable: no server answers, or its certificate is not a peer's.
    :raises DecodeError: ``address`` is malformed.
    """
    loop = asyncio.get_running_loop()
    deadline, material = loop.time() + patience, certificates.current
    try:
        certificate = await _certificate(address, certificates, material, patience)
    except (OSError, TimeoutError, UnicodeError) as error:
        failure = error
    else:
        refusal = certificates.peer_refusal(certificate)
        if refusal:
            raise not_a_peer_error(address, refusal)
        return TLSProbe(certificate, material)
    accepted, answer = False, b""
    if may_lack_tls(failure):
        accepted, answer = await first_byte(address, max(0.1, deadline - loop.time()))
    if certificates.prefer and answer and not is_tls_record(answer):
        return TLSProbe(b"", material)
    raise handshake_error(address, failure, accepted=accepted, answered=bool(answer))


def handshake_error(
    address: str, error: Exception, *, accepted: bool = False, answered: bool = False
) -> Unreachable:
    """Return the error for a server with which the TLS handshake fails.

    :param accepted: whether it is known to accept connections.
    :param answered: whether it sends anything.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        words = ", though something listens there: its certificate is not accepted: "
        words += error.verify_message
    elif accepted or isinstance(error, ssl.SSLError):
        words = DIFFERS
    else:
        words = f": {str(error) or type(error).__name__}"
    return Unreachable(
        f"cannot connect to {address}{words}",
        address=address,
        sent=False,
        answered=answered or isinstance(error, ssl.SSLError),
    )


def not_a_peer_error(address: str, refusal: str) -> Unreachable:
    """Return the error for a server whose certificate is not a peer's."""
    return Unreachable(
        f"the server at {address} is not a peer: {refusal}",
        address=address,
        sent=False,
        answered=True,
        no_peer=True,
    )


async def _certificate(
    address: str, certificates: Certificates, material: TLSMaterial, patience: float
) -> bytes:
    place = parse_address(address)
    async with asyncio.timeout(patience):
        _, writer = await asyncio.open_connection(
            place.host,
            place.port,
            ssl=material.client,
            server_hostname=certificates.server_hostname(place.ip or place.host),
        )
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    return shown or b""


def may_lack_tls(error: Exception) -> bool:
    """Return whether the handshake may have failed because the server does not speak TLS."""
    if isinstance(error, ssl.SSLCertVerificationError | ConnectionRefusedError):
        return False
    return isinstance(error, ssl.SSLError | ConnectionError)
