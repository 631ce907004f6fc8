"""Read and check the files of mutual TLS: make TLS contexts, or say which file is wrong.

Owns what a node can use. The caller decides when it uses new contents.
"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography import x509

from braft_core.abc import TLSFiles
from braft_core.errors import ConfigError
from braft_core.tls import pem_files as f
from braft_core.tls.expiry import OWN, Validity
from braft_core.tls.peer_rule import PeerRule, names_of

__all__ = ["Pem", "TLSMaterial", "exposed_key", "load", "read"]


class Pem(NamedTuple):
    """What is in the three files."""

    ca: bytes
    cert: bytes
    key: bytes


class TLSMaterial(NamedTuple):
    """Contents that fit together, and contexts made of them. Identity says whether it is new."""

    pem: Pem
    client: ssl.SSLContext
    server: ssl.SSLContext
    #: Whose certificates there are, and how long each is valid.
    validities: tuple[tuple[str, Validity], ...] = ()


def read(files: TLSFiles) -> Pem:
    """Read the three files. :raises ConfigError: naming the file that cannot be read."""
    return Pem(f.read("ca", files.ca), f.read("cert", files.cert), f.read("key", files.key))


def load(files: TLSFiles, pem: Pem, rule: PeerRule, now: datetime) -> TLSMaterial:
    """Make contexts of the files, which hold ``pem``.

    :raises ConfigError: naming the file that this node cannot use, and what is wrong with it.
    """
    roots = f.certificates_in("ca", files.ca, pem.ca)
    chain = f.certificates_in("cert", files.cert, pem.cert)
    _check_writers(files)
    f.check_key(files.cert, chain, files.key, f.key_in(files.key, pem.key), "tls")
    f.check_dates(files.cert, chain, now)
    anchors = _anchors(files, chain, roots, now)
    _check_own(files, chain[0], rule)
    client = _context(ssl.PROTOCOL_TLS_CLIENT, files)
    server = _context(ssl.PROTOCOL_TLS_SERVER, files)
    _try(files, client, server)
    client.check_hostname = True
    validities = [(OWN, _validity(certificate)) for certificate in chain]
    # Of several, the one that is valid longest decides: a former one is meant to end.
    last = max(anchors, key=lambda anchor: anchor.not_valid_after_utc)
    if last not in chain:
        validities.append((f"the CA's certificate in {files.ca}", _validity(last)))
    return TLSMaterial(pem, client, server, tuple(validities))


def exposed_key(files: TLSFiles) -> str:
    """Return what is to be said of a key that every user of the machine may read; else ""."""
    try:
        mode = files.key.stat().st_mode
    except OSError:
        return ""
    if not mode & stat.S_IROTH:
        return ""
    return (
        f"the TLS key {files.key} can be read by every user of this machine: chmod o-r (in "
        "Kubernetes: defaultMode: 0400 of the secret's volume)"
    )


def _check_writers(files: TLSFiles) -> None:
    for what, path in (("ca", files.ca), ("cert", files.cert), ("key", files.key)):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue  # gone since it was read: the next look says so
        if mode & stat.S_IWOTH:
            raise f.problem(what, path, "can be written by every user of this machine: chmod o-w")


def _anchors(
    files: TLSFiles,
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
) -> list[x509.Certificate]:
    anchors = f.issuers(chain, roots)
    if not anchors:
        if not any(f.is_ca(root) for root in roots):
            raise f.problem("ca", files.ca, "holds no certificate of a CA")
        sentence = f"was not signed by the CA in {files.ca}; its issuer is "
        raise f.problem(
            "cert", files.cert, sentence + repr(chain[-1].issuer.rfc4514_string())[:200]
        )
    usable = [anchor for anchor in anchors if now <= anchor.not_valid_after_utc]
    if not usable:
        until = f.format_date(max(anchor.not_valid_after_utc for anchor in anchors))
        raise f.problem("ca", files.ca, f"holds the CA of {files.cert}, which expired on {until}")
    return usable


def _check_own(files: TLSFiles, own: x509.Certificate, rule: PeerRule) -> None:
    names = list(names_of(own))
    wanted = files.server_name
    if wanted and not PeerRule((wanted,)).has_name(own):
        found = ", ".join(map(repr, names)) or "nobody"
        sentence = f"is not for the name {wanted} (BRAFT_TLS_SERVER_NAME); it is for {found}"
        raise f.problem("cert", files.cert, sentence[:500])
    refusal = rule.check(own)
    if refusal:
        sentence = f"cannot be this node's, for its peers would refuse it: {refusal}"
        raise f.problem("cert", files.cert, sentence)


def _validity(certificate: x509.Certificate) -> Validity:
    return Validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _context(protocol: int, files: TLSFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(files.ca)
        # An empty password instead of a question on the terminal of a server.
        context.load_cert_chain(files.cert, files.key, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the TLS files {files.ca}, {files.cert} and {files.key} cannot be used: {error}; "
            "PEM files are needed, and a key without a password that belongs to the certificate",
            setting="tls_key",
            value=str(files.key),
        ) from error
    return context


def _try(files: TLSFiles, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Shake hands with ourselves, as peers with the same files will."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    name = files.server_name or None
    client.check_hostname = name is not None
    ends = (
        client.wrap_bio(to_client, to_server, server_side=False, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done: set[int] = set()
    try:
        for _ in range(8):
            for number, end in enumerate(ends):
                try:
                    end.do_handshake()
                    done.add(number)
                except ssl.SSLWantReadError:
                    continue
            if len(done) == len(ends):
                return
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        sentence = f"is not accepted by a peer with the CA in {files.ca}: {reason}"
        raise f.problem("cert", files.cert, sentence) from error
