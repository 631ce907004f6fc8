"""HTTPS: a certificate that is replaced while in use, and handshakes that never end."""

from __future__ import annotations

import shutil
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from braft_core import Node
from braft_core.errors import ConfigError
from braft_core.tls.issuing import Made, Names, make_authority, make_certificate
from braft_testing.processes import HOST, PATIENCE, free_ports, wait_for

ROUNDS = 300


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_authority(tmp_path_factory.mktemp("ca"), "test", 30)


def certificate(folder: Path, authority: Made) -> Made:
    names = Names(ips=(HOST,))
    return make_certificate(folder, "web", authority.cert, authority.key, names, 7)


def node_of(**settings: Any) -> Node:
    raft, discovery, http = free_ports(3)
    settings |= {"rport": raft, "dport": discovery, "hport": http}
    return Node(discovery="none", ip=HOST, data_dir=":memory:", **settings)


def served(port: int) -> bytes:
    """Return the certificate that is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((HOST, port), timeout=PATIENCE) as raw,
        context.wrap_socket(raw) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


@pytest.fixture
def made(tmp_path: Path, authority: Made) -> Made:
    return certificate(tmp_path, authority)


def test_a_certificate_of_its_own_is_served_and_replaced_in_use(
    tmp_path: Path, authority: Made, made: Made
) -> None:
    with node_of(http_tls_cert=made.cert, http_tls_key=made.key) as node:
        port = int((node.http_address or "").rpartition(":")[2])
        context = ssl.create_default_context(cafile=str(authority.cert))
        with httpx.Client(verify=context, trust_env=False, timeout=PATIENCE) as client:
            url = f"https://{HOST}:{port}"
            assert client.get(f"{url}/healthz").json() == {"status": "ok"}
            assert client.put(f"{url}/v1/kv/m/k", content=b"v").status_code == 200
        with ExitStack() as held:
            for _ in range(ROUNDS):  # handshakes that the client never continues
                held.enter_context(socket.create_connection((HOST, port), timeout=PATIENCE))
            first = served(port)
        (tmp_path / "new").mkdir()
        other = certificate(tmp_path / "new", authority)
        shutil.copy(other.cert, made.cert)
        shutil.copy(other.key, made.key)
        wait_for(lambda: served(port) != first, what="the new certificate is shown")


def test_settings_that_contradict_each_other_are_named(tmp_path: Path, made: Made) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"http_tls": True}, "http_tls"),
        ({"http_tls_cert": made.cert}, "http_tls_cert"),
        (
            {
                "http_tls_cert": made.cert,
                "http_tls_key": made.key,
                "http_server": "waitress",
            },
            "http_server",
        ),
    ]
    for settings, word in cases:
        with pytest.raises(ConfigError, match=word):
            node_of(**settings)
