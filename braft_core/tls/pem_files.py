"""Reads PEM files of TLS, and explains what is wrong with them.

Every error names the file and what it contains. Keeps no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from braft_core.errors import ConfigError

__all__ = [
    "certificates_in",
    "check_dates",
    "check_key",
    "format_date",
    "is_ca",
    "issuers",
    "key_in",
    "problem",
    "read",
]

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"
_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")
#: Certificates that one file may hold: a bundle of all public authorities has some 150.
_MAX_CERTIFICATES = 512
_MAX_BYTES = 4 << 20


def problem(what: str, path: Path, sentence: str, prefix: str = "tls") -> ConfigError:
    """Return an error about a file. :param what: ``ca``, ``cert`` or ``key``."""
    return ConfigError(
        f"the TLS {what} {path} {sentence}", setting=f"{prefix}_{what}", value=str(path)
    )


def read(what: str, path: Path, prefix: str = "tls") -> bytes:
    """Return the contents. :raises ConfigError: they cannot be read, or are too long."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read the TLS {what} {path}: {error.strerror}; a readable PEM file is needed",
            setting=f"{prefix}_{what}",
            value=str(path),
        ) from error
    if len(data) > _MAX_BYTES:
        raise problem(what, path, "is not a file of certificates: it has more than 4 MiB", prefix)
    return data


def certificates_in(
    what: str, path: Path, data: bytes, prefix: str = "tls"
) -> list[x509.Certificate]:
    """Return the certificates of a PEM file, at least one. :raises ConfigError: it has none."""
    if _CERTIFICATE not in data:
        raise problem(what, path, _no_certificate(data), prefix)
    if data.count(_CERTIFICATE) > _MAX_CERTIFICATES:
        sentence = f"holds more than {_MAX_CERTIFICATES} certificates"
        raise problem(what, path, sentence, prefix)
    try:
        found = x509.load_pem_x509_certificates(data)
        for certificate in found:
            _ = certificate.extensions, certificate.not_valid_after_utc, certificate.subject
    except (ValueError, TypeError, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise problem(what, path, f"is damaged: {_reason(error)}", prefix) from error
    return found


def key_in(path: Path, data: bytes, prefix: str = "tls") -> PrivateKeyTypes:
    """Return the private key of a PEM file. :raises ConfigError: it cannot be used."""
    if any(mark in data for mark in _ENCRYPTED):
        sentence = "is encrypted, and a node cannot ask for the password: a key without a password "
        sentence += "is needed (openssl pkey -in … -out …)"
        raise problem("key", path, sentence, prefix)
    if _KEY not in data:
        raise problem("key", path, _no_key(data), prefix)
    try:
        return load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise problem("key", path, f"is damaged: {_reason(error)}", prefix) from error


def check_key(
    cert: Path, chain: Sequence[x509.Certificate], key: Path, private: PrivateKeyTypes, prefix: str
) -> None:
    """Check the key. :raises ConfigError: it does not belong to the first certificate."""
    ours = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    fits = [_public(certificate) == ours for certificate in chain]
    if fits[0]:
        return
    if any(fits):
        sentence = "has the certificates in the wrong order: the node's own comes first"
        raise problem("cert", cert, sentence, prefix)
    if is_ca(chain[0]):
        sentence = "holds the certificate of a CA, not one that was made for the key"
        raise problem("cert", cert, f"{sentence} {key}", prefix)
    raise problem("key", key, f"does not belong to the certificate {cert}", prefix)


def check_dates(
    cert: Path, chain: Sequence[x509.Certificate], now: datetime, prefix: str = "tls"
) -> None:
    """Check validity. :raises ConfigError: a certificate has expired, or is not valid yet."""
    for certificate in chain:
        if now > certificate.not_valid_after_utc:
            until = format_date(certificate.not_valid_after_utc)
            raise problem("cert", cert, f"expired on {until}: a new one is needed", prefix)
        if now < certificate.not_valid_before_utc:
            since = format_date(certificate.not_valid_before_utc)
            raise problem("cert", cert, f"is valid from {since} only: is the clock right?", prefix)


def issuers(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """Return the roots to which the first certificate of ``chain`` chains."""
    found = []
    reached, seen = [chain[0]], 0
    while seen < len(reached) and seen <= len(chain):
        certificate = reached[seen]
        seen += 1
        found += [root for root in roots if root not in found and _signed(certificate, root)]
        for other in chain[1:]:
            if other not in reached and _signed(certificate, other):
                reached.append(other)
    return found


def format_date(when: datetime) -> str:
    """Format a date for messages."""
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    if certificate == by:
        return True
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _public(certificate: x509.Certificate) -> bytes:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def is_ca(certificate: x509.Certificate) -> bool:
    """Return whether it may sign others."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return constraints.value.ca


def _no_certificate(data: bytes) -> str:
    if not data.strip():
        return "is empty: PEM certificates are needed"
    if _KEY in data:
        return "holds a private key and no certificate: were the two files swapped?"
    if _is_der(data):
        return "is in DER form, not PEM: convert it with openssl x509 -inform der"
    return "holds no PEM certificate"


def _no_key(data: bytes) -> str:
    if not data.strip():
        return "is empty: a PEM private key is needed"
    if _CERTIFICATE in data:
        return "holds a certificate and no private key: were the two files swapped?"
    if _is_der(data):
        return "is in DER form, not PEM: convert it with openssl pkey -inform der"
    return "holds no PEM private key"


def _is_der(data: bytes) -> bool:
    for load in (x509.load_der_x509_certificate, lambda key: load_der_private_key(key, None)):
        try:
            load(data)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
        return True
    return False


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:120]
