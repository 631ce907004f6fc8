"""Decides which certificates of the CA are peers'. Pure.

A peer's certificate allows use as server and as client; a client's only as client. The names in a
certificate say whether its holder belongs to this cluster.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["PeerRule", "names_of"]

_BOTH = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})
#: Cached results: successive calls show the same certificate.
_KEPT = 256
#: Names of a certificate that a message shows.
_SHOWN = 4


class PeerRule:
    """Applies ``BRAFT_TLS_PEER_NAMES`` and ``BRAFT_TLS_SERVER_NAME`` to certificates.

    :param names: who may be a peer; ``*.example`` stands for one label before ``.example``.
    :param server_name: the name in peers' certificates; used if there are no ``names``.
    """

    def __init__(self, names: Sequence[str] = (), server_name: str = "") -> None:
        self._names = tuple(names) or ((server_name,) if server_name else ())
        self._known: dict[bytes, str] = {}

    def refusal(self, encoded: bytes) -> str:
        """Return why a certificate, DER or PEM, is not a peer's; "" if it is."""
        known = self._known.get(encoded)
        if known is None:
            known = self._refusal(encoded)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[encoded] = known
        return known

    def _refusal(self, encoded: bytes) -> str:
        try:
            if encoded.startswith(b"-----"):
                certificate = x509.load_pem_x509_certificate(encoded)
            else:
                certificate = x509.load_der_x509_certificate(encoded)
            return self.check(certificate)
        except (ValueError, TypeError, x509.DuplicateExtension) as error:
            return f"the certificate cannot be read: {str(error)[:80]!r}"

    def check(self, certificate: x509.Certificate) -> str:
        """Return why the certificate is not a peer's; "" if it is."""
        usage = _usage(certificate)
        if usage:
            return f"the certificate of {_shown(certificate)} {usage}"
        if not self._names or self.has_name(certificate):
            return ""
        return (
            f"the certificate of {_shown(certificate)} carries none of the names of peers: "
            f"{', '.join(self._names[:_SHOWN])}{', …' if len(self._names) > _SHOWN else ''}"
        )

    def has_name(self, certificate: x509.Certificate) -> bool:
        """Return whether the certificate carries one of the names of peers."""
        return any(
            _is_name(name, allowed) for name in names_of(certificate) for allowed in self._names
        )


def names_of(certificate: x509.Certificate) -> Iterator[str]:
    """Yield the subject alternative names that peers may have, and the common names."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        pass
    else:
        for kind in (x509.DNSName, x509.UniformResourceIdentifier):
            yield from extension.value.get_values_for_type(kind)
        yield from map(str, extension.value.get_values_for_type(x509.IPAddress))
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        yield str(attribute.value)


def _usage(certificate: x509.Certificate) -> str:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return ""  # without one it is for everything (RFC 5280, section 4.2.1.12)
    found = set(usages)
    if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in found or found >= _BOTH:
        return ""
    if ExtendedKeyUsageOID.CLIENT_AUTH in found:
        return "is a client's: its extended key usage lacks serverAuth"
    return "lacks clientAuth in its extended key usage"


def _is_name(name: str, allowed: str) -> bool:
    """Whether the two are one; either may have ``*`` for its first label."""
    ours, theirs = _address(allowed), _address(name)
    if ours is not None or theirs is not None:
        return ours == theirs
    if ":" in allowed or ":" in name:  # a URI: exactly it
        return name == allowed
    name, allowed = name.lower().rstrip("."), allowed.lower().rstrip(".")
    return name == allowed or _covers(allowed, name) or _covers(name, allowed)


def _covers(pattern: str, name: str) -> bool:
    if not pattern.startswith("*."):
        return False
    label, dot, rest = name.partition(".")
    return bool(label and dot) and rest == pattern[2:]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _shown(certificate: x509.Certificate) -> str:
    """Return who it is for, as it may stand in a log: what it says was written by others."""
    names = list(dict.fromkeys(names_of(certificate)))
    if not names:
        return f"serial number {certificate.serial_number:x}"
    shown = ", ".join(repr(name)[:100] for name in names[:_SHOWN])
    return f"{shown}, …" if len(names) > _SHOWN else shown
