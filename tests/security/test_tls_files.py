"""Wrong TLS files: the error names the file and its problem."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from braft_core.abc import TLSFiles
from braft_core.errors import ConfigError
from braft_core.tls.issuing import Names, make_authority, make_certificate
from braft_core.transport import Certificates

NODE = Names(ips=("127.0.0.1",), dns=("braft-peer",))


class Case:
    """TLS files that fit together, and means to break them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = make_authority(folder / "ca", "ours", 50)
        self.other_ca = make_authority(folder / "other", "theirs", 50)
        node = make_certificate(folder, "n1", self.ca.cert, self.ca.key, NODE, 40)
        self.second = make_certificate(folder, "n2", self.ca.cert, self.ca.key, NODE, 40)
        self.foreign = make_certificate(
            folder, "n3", self.other_ca.cert, self.other_ca.key, NODE, 40
        )
        self.client = make_certificate(folder, "c1", self.ca.cert, self.ca.key, NODE, 40, True)
        self.files = TLSFiles(self.ca.cert, node.cert, node.key)
        self.later = timedelta(0)

    def put(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        path.chmod(0o600)
        return path

    def der(self, path: Path) -> Path:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        return self.put("cert.der", certificate.public_bytes(Encoding.DER))

    def key(self, encoding: Encoding, password: bytes | None = None) -> Path:
        private = load_pem_private_key(self.files.key.read_bytes(), None)
        how = BestAvailableEncryption(password) if password else NoEncryption()
        return self.put("key.x", private.private_bytes(encoding, PrivateFormat.PKCS8, how))


Spoil = Callable[[Case], TLSFiles]

CASES: dict[str, tuple[Spoil, str, str, str]] = {
    "the key of another": (
        lambda c: replace(c.files, key=c.second.key),
        "tls_key",
        "n2.key",
        "does not belong to the certificate",
    ),
    "a CA for a certificate": (
        lambda c: replace(c.files, cert=c.ca.cert),
        "tls_cert",
        "ca.pem",
        "holds the certificate of a CA",
    ),
    "a certificate for a CA": (
        lambda c: replace(c.files, ca=c.second.cert),
        "tls_ca",
        "n2.pem",
        "holds no certificate of a CA",
    ),
    "key and certificate swapped": (
        lambda c: replace(c.files, cert=c.files.key, key=c.files.cert),
        "tls_cert",
        "n1.key",
        "holds a private key and no certificate: were the two files swapped?",
    ),
    "a certificate for a key": (
        lambda c: replace(c.files, key=c.files.cert),
        "tls_key",
        "n1.pem",
        "holds a certificate and no private key",
    ),
    "a key for a CA": (
        lambda c: replace(c.files, ca=c.ca.key),
        "tls_ca",
        "ca.key",
        "holds a private key",
    ),
    "an empty CA": (lambda c: replace(c.files, ca=c.put("e", b"")), "tls_ca", "/e", "is empty"),
    "an empty certificate": (
        lambda c: replace(c.files, cert=c.put("e", b"\n")),
        "tls_cert",
        "/e",
        "is empty",
    ),
    "an empty key": (lambda c: replace(c.files, key=c.put("e", b"")), "tls_key", "/e", "is empty"),
    "DER for a CA": (
        lambda c: replace(c.files, ca=c.der(c.ca.cert)),
        "tls_ca",
        "cert.der",
        "is in DER form",
    ),
    "DER for a certificate": (
        lambda c: replace(c.files, cert=c.der(c.files.cert)),
        "tls_cert",
        "cert.der",
        "is in DER form",
    ),
    "DER for a key": (
        lambda c: replace(c.files, key=c.key(Encoding.DER)),
        "tls_key",
        "key.x",
        "is in DER form",
    ),
    "an encrypted key": (
        lambda c: replace(c.files, key=c.key(Encoding.PEM, b"secret")),
        "tls_key",
        "key.x",
        "is encrypted",
    ),
    "a certificate of another CA": (
        lambda c: replace(c.files, cert=c.foreign.cert, key=c.foreign.key),
        "tls_cert",
        "n3.pem",
        "was not signed by the CA",
    ),
    "no server name in it": (
        lambda c: replace(c.files, server_name="peer.example"),
        "tls_cert",
        "n1.pem",
        "is not for the name peer.example (BRAFT_TLS_SERVER_NAME)",
    ),
    "none of the names of peers in it": (
        lambda c: replace(c.files, peer_names=("*.example",)),
        "tls_cert",
        "n1.pem",
        "carries none of the names of peers: *.example",
    ),
    "a client's certificate": (
        lambda c: replace(c.files, cert=c.client.cert, key=c.client.key),
        "tls_cert",
        "c1.pem",
        "is a client's",
    ),
    "garbage for a certificate": (
        lambda c: replace(
            c.files,
            cert=c.put("g", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ),
        "tls_cert",
        "/g",
        "is damaged",
    ),
    "garbage for a key": (
        lambda c: replace(
            c.files,
            key=c.put("g", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ),
        "tls_key",
        "/g",
        "is damaged",
    ),
    "a file of 5 MiB": (
        lambda c: replace(c.files, ca=c.put("large", b"x" * (5 << 20))),
        "tls_ca",
        "large",
        "more than 4 MiB",
    ),
    "a certificate behind that of its CA": (
        lambda c: replace(
            c.files, cert=c.put("chain", c.ca.cert.read_bytes() + c.files.cert.read_bytes())
        ),
        "tls_cert",
        "chain",
        "in the wrong order",
    ),
    "nothing there": (
        lambda c: replace(c.files, key=c.folder / "gone"),
        "tls_key",
        "gone",
        "cannot read",
    ),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_file_is_named_with_what_is_wrong(name: str, shared: Case) -> None:
    spoil, setting, path, words = CASES[name]
    with pytest.raises(ConfigError) as caught:
        Certificates(spoil(shared))
    assert caught.value.data["setting"] == setting
    assert path in caught.value.message
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("days", "name", "words"),
    [
        (41, "n1.pem", "expired on"),
        (51, "n1.pem", "expired on"),
        (-1, "n1.pem", "is valid from"),
    ],
)
def test_a_certificate_out_of_its_time_is_named(
    days: int, name: str, words: str, shared: Case
) -> None:
    with pytest.raises(ConfigError) as caught:
        Certificates(shared.files, lambda: datetime.now(UTC) + timedelta(days=days))
    assert name in caught.value.message
    assert words in caught.value.message


def test_an_expired_ca_is_named(shared: Case) -> None:
    """Its certificates may be valid longer than the CA, as some programs make them."""
    folder = shared.folder / "ca"
    for command in (
        "openssl req -new -key ../n1.key -subj /CN=n1 -out long.csr",
        "openssl x509 -req -in long.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 400 "
        "-out long.pem",
    ):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    files = replace(shared.files, cert=folder / "long.pem")
    with pytest.raises(ConfigError, match=r"ca\.pem holds the CA of .*, which expired on"):
        Certificates(files, lambda: datetime.now(UTC) + timedelta(days=60))


def test_a_file_that_everybody_may_write_is_refused(shared: Case) -> None:
    ca = shared.put("open.pem", shared.ca.cert.read_bytes())
    ca.chmod(0o646)
    with pytest.raises(ConfigError, match=r"open\.pem can be written by every user"):
        Certificates(replace(shared.files, ca=ca))


def test_a_key_that_everybody_may_read_is_warned_of(
    shared: Case, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning only: Kubernetes mounts secrets so by default, for one pod's containers."""
    key = shared.put("open.key", shared.files.key.read_bytes())
    Certificates(replace(shared.files, key=key))
    assert not caplog.records
    key.chmod(0o644)
    Certificates(replace(shared.files, key=key))
    (record,) = caplog.records
    assert "open.key can be read by every user" in record.getMessage()


def test_a_chain_with_an_intermediate_is_usable(shared: Case) -> None:
    """The chain has the node's certificate, then the intermediate; the CA file has the root."""
    folder = shared.folder / "intermediate"
    folder.mkdir()
    run = [
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=root "
        "-days 9 -keyout root.key -out root.pem",
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=middle "
        "-keyout middle.key -out middle.csr",
        "openssl x509 -req -in middle.csr -CA root.pem -CAkey root.key -CAcreateserial -days 9 "
        "-extfile ca.cnf -out middle.pem",
    ]
    (folder / "ca.cnf").write_text("basicConstraints=critical,CA:TRUE\n")
    for command in run:
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    middle = folder / "middle.pem"
    node = make_certificate(folder, "n", middle, folder / "middle.key", NODE, 5)
    files = TLSFiles(folder / "root.pem", node.cert, node.key)
    with pytest.raises(ConfigError, match="was not signed by the CA"):
        Certificates(files)
    node.cert.write_bytes(node.cert.read_bytes() + middle.read_bytes())
    assert len(Certificates(files).current.validities) == 3
