"""On a node without a cluster, requests to the cluster fail and say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from braft_core import Node
from braft_core.cli import app
from braft_core.client import Client
from braft_core.errors import NoLeader, NotReady
from braft_core.local_nodes import free_ports

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Start a node that waits for a second one, which never starts."""
    raft, discovery, http = free_ports(3)
    directory: Path = tmp_path_factory.mktemp("alone") / "data"
    with Node(
        discovery="none",
        expect=2,
        ip="127.0.0.1",
        rport=raft,
        dport=discovery,
        hport=http,
        data_dir=str(directory),
        request_timeout=0.3,
    ) as node:
        yield node


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/readyz", ""),
        ("GET", "/kv?k=x", ""),
        ("POST", "/kv?k=x&v=y", ""),
        ("DELETE", "/kv?k=x", ""),
        ("GET", "/distribute", ""),
        ("POST", "/distribute", '["a"]'),
        ("GET", "/distribute/a", ""),
        ("GET", "/v1/kv", ""),
        ("GET", "/v1/kv/m", ""),
        ("GET", "/v1/kv/m/k", ""),
        ("PUT", "/v1/kv/m/k", "1"),
        ("DELETE", "/v1/kv/m/k", ""),
        ("GET", "/v1/members", ""),
        ("POST", "/v1/members", '{"id": "x", "address": "127.0.0.1:1"}'),
        ("GET", "/v1/members/x", ""),
        ("DELETE", "/v1/members/x", ""),
        ("POST", "/v1/members/x/promote", ""),
        ("GET", "/v1/leader", ""),
        ("POST", "/v1/leader", ""),
        ("POST", "/v1/snapshots", ""),
    ],
)
def test_every_resource_of_the_cluster_is_unavailable(
    node: Node, method: str, path: str, body: str
) -> None:
    url = f"http://{node.http_address}{path}"
    answer = httpx.request(method, url, content=body, headers=JSON, timeout=40)
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["code"] in ("not_ready", "no_leader")


@pytest.mark.parametrize("path", ["/healthz", "/raft", "/v1/snapshots"])
def test_what_is_the_nodes_own_is_answered(node: Node, path: str) -> None:
    assert httpx.get(f"http://{node.http_address}{path}", timeout=40).status_code == 200


CALLS: list[Callable[[Client], Any]] = [
    lambda client: client.members(),
    lambda client: client.remove_member("x"),
    lambda client: client.promote_member("x"),
]


@pytest.mark.parametrize("call", CALLS)
def test_the_client_tells_it_from_an_answer(node: Node, call: Callable[[Client], Any]) -> None:
    with (
        Client([f"http://{node.http_address}"], timeout=2.0) as client,
        pytest.raises((NotReady, NoLeader), match="1 of 2 nodes are here"),
    ):
        call(client)


def test_so_does_the_node(node: Node) -> None:
    with pytest.raises(NotReady, match="1 of 2 nodes are here"):
        node.members()


@pytest.mark.parametrize(
    "words", [["list"], ["remove", "x"], ["promote", "x"], ["add", "x", "127.0.0.1:1"]]
)
def test_the_command_says_that_the_cluster_said_no(node: Node, words: list[str]) -> None:
    url = f"http://{node.http_address}"
    result = CliRunner().invoke(app, ["members", *words, "--url", url, "--timeout", "2"])
    assert result.exit_code == 1, result.output
    assert "1 of 2 nodes are here" in result.output
