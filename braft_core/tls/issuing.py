"""Issues certificates: a cluster's own CA, and certificates of nodes and clients (RFC 5280).

Never overwrites a file. Keys are EC P-256, readable by their owner alone.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from braft_core.errors import ConfigError
from braft_core.tls import pem_files as files

__all__ = ["Made", "Names", "make_authority", "make_certificate"]

#: Tolerance for hosts whose clocks are not synchronised.
_SKEW = timedelta(minutes=5)
_MAX_DAYS = 36_500
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_DNS_NAME = re.compile(
    r"(?!-)(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,1000}")


class Names(NamedTuple):
    """The subject alternative names of a certificate."""

    ips: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


class Made(NamedTuple):
    """The files of an issued certificate and its key."""

    cert: Path
    key: Path
    ends: datetime
    names: tuple[str, ...]


def make_authority(folder: Path, name: str, days: int) -> Made:
    """Make ``ca.pem`` and ``ca.key`` in ``folder``.

    :raises ConfigError: a file exists already, or an argument is wrong.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    begin, end = _period(days)
    own_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(subject, subject, key, begin, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(own_id, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_id), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    made = Made(folder / "ca.pem", folder / "ca.key", end, (name,))
    _write(made, certificate, key)
    return made


def make_certificate(
    folder: Path, name: str, ca: Path, ca_key: Path, names: Names, days: int, client: bool = False
) -> Made:
    """Make ``NAME.pem`` and ``NAME.key`` in ``folder``, signed by the CA.

    :param client: issue a client's certificate, which no node accepts as a peer's.
    :raises ConfigError: a file exists already, or one of the CA or an argument is wrong.
    """
    if not _FILE_NAME.fullmatch(name):
        raise ConfigError(
            f"the name of the certificate is {name!r:.120}; accepted: letters, digits, '.', '_' "
            "and '-', the first a letter, a digit or '_'",
            value=name[:120],
        )
    authority, signing = _load_authority(ca, ca_key)
    begin, end = _period(days)
    last = authority.not_valid_after_utc
    if end > last:
        left = max(0, (last - datetime.now(UTC)).days)
        raise ConfigError(
            f"--days {days} is longer than the CA {ca} is valid, until {files.format_date(last)}; "
            f"accepted: at most {left} days",
            value=str(days),
        )
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if not client:
        usages.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
    builder = (
        _builder(_subject(name), authority.subject, key, begin, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_authority_id(authority), critical=False)
    )
    alternatives = _alternatives(names)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    certificate = builder.sign(signing, hashes.SHA256())
    texts = (name, *names.dns, *names.ips, *names.uris)
    made = Made(folder / f"{name}.pem", folder / f"{name}.key", end, texts)
    _write(made, certificate, key)
    return made


def _load_authority(
    ca: Path, ca_key: Path
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]:
    chain = files.certificates_in("ca", ca, files.read("ca", ca))
    private = files.key_in(ca_key, files.read("key", ca_key))
    authority = chain[0]
    if not files.is_ca(authority):
        raise files.problem("ca", ca, "is no certificate of a CA, so it cannot sign others")
    files.check_key(ca, chain, ca_key, private, "tls")
    files.check_dates(ca, chain[:1], datetime.now(UTC))
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise files.problem(
            "key", ca_key, "is of a kind that is not used here: EC or RSA is needed"
        )
    return authority, private


def _subject(name: str) -> x509.Name:
    if not 1 <= len(name) <= 64 or not name.isprintable() or name != name.strip():
        raise ConfigError(
            f"the name is {name!r:.120}; accepted: 1 to 64 printable characters", value=name[:120]
        )
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _period(days: int) -> tuple[datetime, datetime]:
    if not 1 <= days <= _MAX_DAYS:
        raise ConfigError(f"--days is {days}; accepted: 1 to {_MAX_DAYS}", value=str(days))
    now = datetime.now(UTC).replace(microsecond=0)
    return now - _SKEW, now + timedelta(days=days)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begin: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_id(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        public = authority.public_key()
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _alternatives(names: Names) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for text in names.dns:
        if not _DNS_NAME.fullmatch(text) or len(text) > 253 or _is_address(text):
            raise ConfigError(
                f"the DNS name is {text!r:.120}; accepted: a host name in ASCII such as "
                "n1.example or *.example",
                value=text[:120],
            )
        found.append(x509.DNSName(text))
    for text in names.ips:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError as error:
            raise ConfigError(
                f"the address is {text!r:.120}; accepted: an IPv4 or IPv6 address",
                value=text[:120],
            ) from error
    for text in names.uris:
        if not _URI.fullmatch(text):
            raise ConfigError(
                f"the URI is {text!r:.120}; accepted: one such as spiffe://example/node",
                value=text[:120],
            )
        found.append(x509.UniformResourceIdentifier(text))
    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _write(made: Made, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # The certificate first: without its key it is no use to anybody.
    contents = [(made.cert, certificate.public_bytes(Encoding.PEM), 0o644), (made.key, pem, 0o600)]
    for path, _, _ in contents:
        if path.exists() or path.is_symlink():
            raise _exists_error(path)
    written: list[Path] = []
    try:
        made.cert.parent.mkdir(parents=True, exist_ok=True)
        for path, data, mode in contents:
            _write_new(path, data, mode)
            written.append(path)
    except OSError as error:
        _remove_files(written)
        if isinstance(error, FileExistsError):
            raise _exists_error(Path(error.filename or made.cert)) from error
        raise ConfigError(
            f"cannot write {error.filename or made.cert}: {error.strerror}", value=str(made.cert)
        ) from error


def _write_new(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _remove_files(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _exists_error(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is there already, and nothing is overwritten: choose another folder or name",
        value=str(path),
    )
