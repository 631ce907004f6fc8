"""Which certificate does a server show, and is it a peer's?

Owns the question that is asked before anything is said to a server over gRPC, whose client neither
tells what certificate it was shown nor whether the other end speaks TLS at all. The answer is
bound to the connection that follows, which accepts no other certificate.
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

#: Seconds for which a look is good, unless a connection fails before.
_KEPT = 60.0
_MAX_KEPT = 256


class TLSProbe(NamedTuple):
    """What was seen of a server.

    ``certificate`` is DER; "" if it does not speak TLS, or none is needed. ``material`` is what we
    had then: with other certificates of ours the server has to be looked at again.
    """

    certificate: bytes
    material: TLSMaterial | None


PLAIN = TLSProbe(b"", None)


class TLSProbeCache:
    """What was seen of the servers that a node calls. Used on the loop only.

    :param certificates: ``None``: there is no TLS, so there is nothing to look at.
    """

    def __init__(self, certificates: Certificates | None) -> None:
        self._certificates = certificates
        self._known: dict[str, tuple[TLSProbe, float]] = {}

    def get(self, address: str) -> TLSProbe | None:
        """Return what is known of the server at ``address``."""
        if self._certificates is None:
            return PLAIN
        found, until = self._known.get(address, (PLAIN, 0.0))
        now = asyncio.get_running_loop().time()
        current = found.material is self._certificates.current
        return found if current and now < until else None

    async def get_or_probe(self, address: str, patience: float) -> TLSProbe:
        """Return what is known of the server at ``address``, or look. See :func:`probe_tls`."""
        found = self.get(address)
        if found is None:
            assert self._certificates is not None  # noqa: S101 - else everything is known
            found = await probe_tls(address, self._certificates, patience)
            self.remember(address, found)
        return found

    def remember(self, address: str, found: TLSProbe) -> None:
        """Keep it for a while."""
        if len(self._known) >= _MAX_KEPT:
            self._known.clear()
        self._known[address] = (found, asyncio.get_running_loop().time() + _KEPT)

    def forget(self, address: str) -> None:
        """A connection failed or ended: the server may be another by now."""
        self._known.pop(address, None)


async def probe_tls(address: str, certificates: Certificates, patience: float) -> TLSProbe:
    """Return what the server at ``address`` shows.

    :param patience: seconds for all of it.
    :raises Unreachable: nobody is there, or it is no peer by its certificate.
    :raises DecodeError: it is no address.
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
    """Return the error for a server with which no handshake of TLS succeeds.

    :param accepted: whether it accepts connections at all, as far as that was tried.
    :param answered: whether it says something in them.
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
        f"the server at {address} is no peer: {refusal}",
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
    """Return whether a handshake can fail so because the server is without TLS."""
    if isinstance(error, ssl.SSLCertVerificationError | ConnectionRefusedError):
        return False
    return isinstance(error, ssl.SSLError | ConnectionError)
