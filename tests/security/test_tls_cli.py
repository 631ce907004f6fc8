"""``braft tls``: ``ssl``, openssl and nodes accept the files that it makes."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from typer.testing import CliRunner

from braft_core.cli.app import app
from braft_core.client import Client, Trust
from braft_core.config import Settings
from braft_core.errors import ConfigError, Unreachable
from braft_core.runtime.components import tls_files
from braft_core.tls.peer_rule import PeerRule
from braft_core.transport import Certificates


def braft(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """Return what the command prints with ``--json``."""
    result = CliRunner().invoke(app, ["tls", *map(str, arguments), "--json"])
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    braft("ca", "--out", tmp_path)
    return tmp_path


def make(folder: Path, name: str, *more: str, code: int = 0) -> dict[str, Any]:
    ca = ("--ca", folder / "ca.pem", "--ca-key", folder / "ca.key", "--out", folder)
    return braft("cert", name, *ca, *more, code=code)


def test_keys_are_their_owner_s_alone(folder: Path) -> None:
    make(folder, "n1")
    for key in ("ca.key", "n1.key"):
        assert (folder / key).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("there", ["n1.pem", "n1.key"])
def test_nothing_is_overwritten(folder: Path, there: str) -> None:
    (folder / there).write_text("mine")
    found = make(folder, "n1", code=2)
    assert there in found["error"]["message"]
    assert (folder / there).read_text() == "mine"
    assert {path.name for path in folder.iterdir()} == {"ca.pem", "ca.key", there}
    error = braft("ca", "--out", folder, code=2)["error"]["message"]
    assert "ca.pem is there already" in error


def test_a_link_that_leads_nowhere_is_in_the_way_too(folder: Path) -> None:
    (folder / "n1.key").symlink_to(folder / "elsewhere")
    assert "is there already" in make(folder, "n1", code=2)["error"]["message"]
    assert not (folder / "elsewhere").exists()


def test_what_the_certificates_say(folder: Path) -> None:
    made = make(folder, "n1", "--ip", "10.0.0.1", "--dns", "n1.example", "--uri", "spiffe://x/n1")
    make(folder, "c1", "--client")
    ca, node, client = (
        x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
        for name in ("ca", "n1", "c1")
    )
    constraints = [c.extensions.get_extension_for_class(x509.BasicConstraints) for c in (ca, node)]
    assert [c.critical for c in constraints] == [True, True]
    assert [c.value.ca for c in constraints] == [True, False]
    assert constraints[0].value.path_length == 0
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    both = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    usages = [
        set(c.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        for c in (node, client)
    ]
    assert usages == [both, {ExtendedKeyUsageOID.CLIENT_AUTH}]
    own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    theirs = node.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert theirs.key_identifier == own.digest
    assert {"n1", "braft-peer", "n1.example", "localhost"} < set(made["names"])
    assert {"10.0.0.1", "127.0.0.1", "::1", "spiffe://x/n1"} < set(made["names"])
    rule = PeerRule()
    assert rule.check(node) == ""
    assert "is a client's" in rule.check(client)


def test_openssl_accepts_them(folder: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl program is not installed")
    make(folder, "n1")
    make(folder, "c1", "--client")
    for name, purpose, good in (
        ("n1", "sslserver", True),
        ("n1", "sslclient", True),
        ("c1", "sslclient", True),
        ("c1", "sslserver", False),
    ):
        command = [openssl, "verify", "-x509_strict", "-CAfile", "ca.pem", "-purpose", purpose]
        result = subprocess.run([*command, f"{name}.pem"], cwd=folder, capture_output=True)
        assert (result.returncode == 0) is good, result


def test_the_settings_that_are_printed_make_a_transport(folder: Path) -> None:
    """Its certificate needs no address, so the node may run anywhere."""
    printed = make(folder, "n1")["settings"]
    assert printed["BRAFT_TLS_SERVER_NAME"] == "braft-peer"
    files = tls_files(Settings.load(environ=printed))
    assert files is not None
    certificates = Certificates(files)
    assert certificates.peer_refusal((folder / "n1.pem").read_bytes()) == ""
    client = Path(make(folder, "c1", "--client")["cert"])
    assert "is a client's" in certificates.peer_refusal(client.read_bytes())


def test_messages_name_the_settings_to_set(folder: Path) -> None:
    ca = ["--ca", str(folder / "ca.pem"), "--ca-key", str(folder / "ca.key")]
    result = CliRunner().invoke(app, ["tls", "cert", "n1", *ca, "--out", str(folder)])
    assert f"BRAFT_TLS_CERT={folder}/n1.pem" in result.stdout
    assert "BRAFT_TLS_SERVER_NAME=braft-peer" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a/b"], "the name of the certificate"),
        (["..", "--client"], "the name of the certificate"),
        (["n1", "--ip", "10.0.0.300"], "an IPv4 or IPv6 address"),
        (["n1", "--dns", "a b"], "a host name in ASCII"),
        (["n1", "--dns", "10.0.0.1"], "a host name in ASCII"),
        (["n1", "--uri", "no uri"], "the URI is"),
        (["n1", "--days", "0"], "--days is 0"),
        (["n1", "--days", "9000"], "is longer than the CA"),
        (["n1", "--server-name", "a\nb"], "a host name in ASCII"),
    ],
)
def test_what_makes_no_sense_is_refused(folder: Path, arguments: list[str], words: str) -> None:
    assert words in make(folder, *arguments, code=2)["error"]["message"]
    assert {path.name for path in folder.iterdir()} == {"ca.pem", "ca.key"}


def test_a_ca_that_is_none_signs_nothing(folder: Path) -> None:
    make(folder, "n1")
    braft_ca = ("--ca", folder / "n1.pem", "--ca-key", folder / "n1.key", "--out", folder)
    error = braft("cert", "n2", *braft_ca, code=2)["error"]["message"]
    assert "n1.pem is no certificate of a CA" in error
    crossed = ("--ca", folder / "ca.pem", "--ca-key", folder / "n1.key", "--out", folder)
    error = braft("cert", "n2", *crossed, code=2)["error"]["message"]
    assert "n1.key" in error


# ---------------------------------------------------------------------- the client over HTTPS


class _Https:
    """An HTTPS server that reports itself ready."""

    def __init__(self, folder: Path, name: str, ask: bool = False) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        if ask:
            self.context.load_verify_locations(folder / "ca.pem")
            self.context.verify_mode = ssl.CERT_REQUIRED

    def ask(self, trust: Trust, host: str = "127.0.0.1") -> bool:
        """Return whether a client with that trust gets an answer."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            body = b'{"ready": true}'
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            writer.close()

        async def scenario() -> bool:
            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=self.context)
            url = f"https://{host}:{server.sockets[0].getsockname()[1]}"

            def ready() -> bool:
                with Client([url], trust=trust) as client:
                    try:
                        return client.ready()[0]
                    except Unreachable:
                        return False

            try:
                return await asyncio.to_thread(ready)
            finally:
                server.close()

        return asyncio.run(scenario())


def test_the_client_checks_a_node_by_the_ca_and_its_name(folder: Path) -> None:
    make(folder, "n1")
    braft("ca", "--out", folder / "other")
    server = _Https(folder, "n1")
    assert server.ask(Trust(folder / "ca.pem"))
    assert not server.ask(Trust(folder / "other" / "ca.pem"))
    assert not server.ask(Trust())
    assert server.ask(Trust(folder / "ca.pem", server_name="braft-peer"))
    assert not server.ask(Trust(folder / "ca.pem", server_name="other"))
    # A host name in the URL wins over ``server_name``.
    assert server.ask(Trust(folder / "ca.pem", server_name="other"), host="localhost")


def test_the_client_shows_its_certificate(folder: Path) -> None:
    make(folder, "n1")
    make(folder, "c1", "--client")
    server = _Https(folder, "n1", ask=True)
    assert server.ask(Trust(folder / "ca.pem", folder / "c1.pem", folder / "c1.key"))
    assert not server.ask(Trust(folder / "ca.pem"))


def test_the_client_names_the_file_that_is_wrong(folder: Path) -> None:
    make(folder, "c1", "--client")
    ca, cert, key = folder / "ca.pem", folder / "c1.pem", folder / "c1.key"
    for trust, words in (
        (Trust(key), "c1.key holds a private key and no certificate"),
        (Trust(ca, cert, folder / "ca.key"), "ca.key does not belong to the certificate"),
        (Trust(ca, cert), "cert without its key"),
        (Trust(folder / "gone.pem"), "cannot read the TLS ca"),
    ):
        with pytest.raises(ConfigError) as caught:
            Client(["https://127.0.0.1:1"], trust=trust)
        assert words in caught.value.message


def test_commands_take_a_ca(folder: Path) -> None:
    arguments = ["status", "--url", "https://127.0.0.1:1", "--ca", str(folder / "ca.key")]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 2
    assert "holds a private key" in json.loads(result.stdout)["error"]["message"]


@pytest.mark.parametrize(("tls", "scheme"), [("on", "https"), ("off", "http")])
def test_this_machine_s_node_is_asked_as_it_serves(
    folder: Path, tls: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in make(folder, "n1")["settings"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BRAFT_HTTP_TLS", tls)
    monkeypatch.setenv("BRAFT_HPORT", "1")
    result = CliRunner().invoke(app, ["status", "--json"])
    assert result.exit_code == 3
    assert f"{scheme}://127.0.0.1:1" in json.loads(result.stdout)["error"]["message"]
