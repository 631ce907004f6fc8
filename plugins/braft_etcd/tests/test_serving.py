"""Where the API listens, when the node refuses to, and TLS."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import grpc
import pytest

from braft_core import Node
from braft_core.errors import ConfigError
from braft_etcd.options import EtcdOptions
from braft_testing.certificates import Authority

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
