"""Where the API listens, when the node refuses to, and TLS."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import grpc
import pytest

from braft_core import Node
from braft_core.abc import TLSFiles
from braft_core.errors import ConfigError
from braft_etcd.certificates import Certificates
from braft_etcd.options import EtcdOptions
from braft_testing.certificates import Authority
from braft_testing.processes import wait_for

_TOKEN = "t" * 16


def _node(options: EtcdOptions, **settings: Any) -> Node:
    return Node(
        discovery="none",
        data_dir=":memory:",
        ip="127.0.0.1",
        rport=0,
        http=False,
        plugins=[options],
        **settings,
    )


def _refused(options: EtcdOptions, said: str, **settings: Any) -> None:
    node = _node(options, **settings)
    with pytest.raises(ConfigError, match=said):
        node.start()
    assert node.state == "new", "nothing is left running"


def test_a_token_in_clear_is_refused_beyond_loopback() -> None:
    everywhere = EtcdOptions(listen="0.0.0.0:0")
    _refused(everywhere, "BRAFT_TOKEN is set, and the etcd API would listen on 0", token=_TOKEN)
    _refused(everywhere, "BRAFT_INSECURE=off: the etcd API", insecure=False)


def test_a_node_without_the_store_is_refused() -> None:
    said = "BRAFT_SERVICES=kv: the etcd API needs the service 'store'"
    _refused(EtcdOptions(listen="127.0.0.1:0"), said, services=["kv"])


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        _refused(EtcdOptions(listen=address), f"cannot listen on {address}")


def test_a_certificate_needs_its_key(tmp_path: Any) -> None:
    file = tmp_path / "any.pem"
    file.write_text("")
    _refused(EtcdOptions(listen="127.0.0.1:0", tls_cert=file), "are set together")
    _refused(EtcdOptions(listen="127.0.0.1:0", client_ca=file), "are set together")


@pytest.mark.parametrize("server", ["http2", "grpcio"])
def test_clients_prove_themselves_by_certificates(
    serve: Any, client: Any, tmp_path: Path, server: str
) -> None:
    nodes, clients = Authority(tmp_path / "servers"), Authority(tmp_path / "clients")
    files, own = nodes.issue(tmp_path / "server"), clients.issue(tmp_path / "client")
    options = EtcdOptions(
        server=server,
        listen="127.0.0.1:0",
        tls_cert=files.cert,
        tls_key=files.key,
        client_ca=own.ca,
    )
    _, address = serve(options)
    ca = files.ca.read_bytes()
    proved = grpc.ssl_channel_credentials(ca, own.key.read_bytes(), own.cert.read_bytes())
    with_certificate = type(client)(address, proved)
    assert with_certificate.call("KV/Put", key=b"a")["header"]["revision"] == 2
    with_certificate.close()
    without = type(client)(address, grpc.ssl_channel_credentials(ca))
    with pytest.raises(grpc.RpcError) as caught:
        without.call("KV/Put", key=b"a")
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    without.close()


def _credentials(server: TLSFiles, own: TLSFiles) -> grpc.ChannelCredentials:
    """Return credentials that trust the CA of ``server`` and show the certificate ``own``."""
    return grpc.ssl_channel_credentials(
        server.ca.read_bytes(), own.key.read_bytes(), own.cert.read_bytes()
    )


@pytest.mark.parametrize("server", ["http2", "grpcio"])
def test_replaced_certificates_are_used_for_new_connections(
    serve: Any, client: Any, tmp_path: Path, server: str
) -> None:
    authorities = [Authority(tmp_path / name) for name in ("old", "new")]
    files = authorities[0].issue(tmp_path / "server")
    users = [each.issue(tmp_path / f"user-{each.folder.name}") for each in authorities]
    options = EtcdOptions(
        server=server,
        listen="127.0.0.1:0",
        tls_cert=files.cert,
        tls_key=files.key,
        client_ca=files.ca,
    )
    _, address = serve(options)
    before = type(client)(address, _credentials(files, users[0]))
    assert before.call("KV/Put", key=b"a")["header"]["revision"] == 2
    old = [_credentials(files, users[0]) for _ in range(2)]
    authorities[1].issue(tmp_path / "server")
    new = _credentials(files, users[1])

    def works(credentials: grpc.ChannelCredentials) -> bool:
        other = type(client)(address, credentials)
        try:
            return bool(other.call("KV/Range", key=b"a")["count"])
        except grpc.RpcError:
            return False
        finally:
            other.close()

    wait_for(lambda: works(new), what="the new certificates are used")
    assert not works(old[0])
    # The connection from before goes on.
    assert before.call("KV/Put", key=b"a")["header"]["revision"] == 3
    before.close()


def test_files_that_do_not_fit_are_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "braft_etcd.certificates")
    authority = Authority(tmp_path / "ca")
    files = authority.issue(tmp_path / "node")
    held = Certificates(files.cert, files.key, files.ca)
    first = held.current
    held.refresh()
    assert (held.current, held.trouble) == (first, "")
    key = files.key.read_bytes()
    other = authority.issue(tmp_path / "other")
    files.key.write_bytes(other.key.read_bytes())
    for _ in range(3):
        held.refresh()
        assert held.current is first
        assert "the former ones stay in use: the certificate" in held.trouble
    files.key.unlink()
    held.refresh()
    assert "key.pem cannot be read: No such file" in held.trouble
    assert len(caplog.records) == 1, "said once, and not while files are being replaced"
    files.key.write_bytes(key)
    held.refresh()
    assert (held.current, held.trouble) == (first, "")
    files.key.write_bytes(other.key.read_bytes())
    files.cert.write_bytes(other.cert.read_bytes())
    held.refresh()
    assert held.current.cert == other.cert.read_bytes()
    assert held.trouble == ""
    assert "were replaced" in caplog.records[-1].message
    files.ca.write_bytes(bytes(5 << 20))
    held.refresh()
    assert "ca.pem has more than 4194304 bytes" in held.trouble
    with pytest.raises(ConfigError, match="cannot be used"):
        Certificates(files.cert, tmp_path / "ca" / "ca.key", None)
