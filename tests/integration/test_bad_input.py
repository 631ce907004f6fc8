"""Wrong settings, ports in use, foreign data, garbage, oversize: clear errors and no data lost."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from braft_core import Node
from braft_core.client import Client
from braft_core.errors import (
    BraftError,
    ConfigError,
    InvalidRequest,
    PluginNotFound,
    Rejected,
    StorageError,
    StorageForeign,
    StorageLocked,
    TooLarge,
)
from braft_core.http.json_body import SERVER_BODY_LIMIT
from braft_testing.processes import HOST, PATIENCE, ProcessCluster, free_ports, wait_for

pytestmark = pytest.mark.integration

LIMIT = 100_000
#: Invalid names: empty, with a NUL, a lone surrogate (often stored as U+FFFD), and too long ones.
BAD_NAMES = ["", "a\0b", "\ud800", "x" * 1025, "ü" * 600]


class MakeNodes(Protocol):
    def __call__(self, count: int, *, start: bool = True, **settings: Any) -> list[Node]: ...


@pytest.fixture
def occupied() -> Callable[[int], socket.socket]:
    """Return a function that listens on a port."""

    def occupy(port: int) -> socket.socket:
        listener = socket.socket()
        listener.bind((HOST, port))
        listener.listen()
        return listener

    return occupy


# --------------------------------------------------------------------------------------------
# Starting


@pytest.mark.parametrize("which", ["rport", "dport", "hport"])
def test_a_taken_port_is_named_and_nothing_is_left_behind(
    make_nodes: MakeNodes, occupied: Callable[[int], socket.socket], which: str
) -> None:
    (node,) = make_nodes(1, start=False)
    port = getattr(node.settings, which)
    with occupied(port):
        with pytest.raises(ConfigError, match=str(port)) as refused:
            node.start()
        assert which in refused.value.message.lower()
        assert "accepted: a free port" in refused.value.message
    with node:  # the same object may be started again
        node.kv.put("m", "k", 1, timeout=20)


def test_a_data_directory_that_is_none_of_ours(make_nodes: MakeNodes, tmp_path: Path) -> None:
    a_file, foreign, database = tmp_path / "file", tmp_path / "foreign", tmp_path / "database"
    a_file.write_text("not a directory")
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("precious")
    database.mkdir()
    with sqlite3.connect(database / "raft.db") as connection:
        connection.execute("create table accounts (id)")
    connection.close()
    cases: list[tuple[Path, type[BraftError], str]] = [
        (a_file, StorageError, "Not a directory|File exists"),
        (foreign, StorageForeign, "thesis.tex"),
        (database, StorageForeign, "raft.db"),
    ]
    for path, error, words in cases:
        (node,) = make_nodes(1, start=False, data_dir=str(path))
        with pytest.raises(error, match=words) as refused:
            node.start()
        assert str(path) in refused.value.message
    assert a_file.read_text() == "not a directory"
    assert (foreign / "thesis.tex").read_text() == "precious"
    assert sorted(os.listdir(foreign)) == ["thesis.tex"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_data_directory_that_may_not_be_read(make_nodes: MakeNodes, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    (node,) = make_nodes(1, start=False, data_dir=str(closed / "data"))
    with pytest.raises(StorageError, match="Permission denied"):
        node.start()
    closed.chmod(0o700)


def test_a_file_system_that_takes_no_directory(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1, start=False, data_dir="/proc/braft")
    with pytest.raises(StorageError, match="/proc/braft"):
        node.start()


def test_two_nodes_on_one_data_directory(make_nodes: MakeNodes, tmp_path: Path) -> None:
    (first,) = make_nodes(1, data_dir=str(tmp_path / "one"))
    first.kv.put("m", "k", 1)
    (second,) = make_nodes(1, start=False, data_dir=str(tmp_path / "one"))
    with pytest.raises(StorageLocked, match=rf"in use by process {os.getpid()}"):
        second.start()
    assert first.kv.get("m", "k") == 1
    first.kv.put("m", "k", 2)
    first.stop()
    with second:
        assert second.kv.get("m", "k", timeout=20) == 2


def test_bad_settings_end_the_command_with_code_2_and_name_everything(tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path) as cluster:
        environment = cluster.environment(0, rport="raft", election_timeout="soon", log="loud")
        done = _run_command(environment)
    assert done.returncode == 2, done.stderr
    words = ["BRAFT_RPORT", "'raft'", "BRAFT_ELECTION_TIMEOUT", "'soon'", "BRAFT_LOG", "'loud'"]
    assert [word for word in words if word not in done.stderr] == []
    assert done.stderr.count("accepted:") == 3


def test_keyword_arguments_are_checked_alike() -> None:
    with pytest.raises(ConfigError, match=r"rport='raft'.*accepted"):
        Node(rport="raft")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="colour"):
        Node(colour="blue")  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="expect"):
        Node(expect=0)


def test_a_scheme_without_plugin_says_what_to_install(
    make_nodes: MakeNodes, tmp_path: Path
) -> None:
    (node,) = make_nodes(1, start=False, discovery="mdns:_x._tcp", plugins_disable="mdns")
    with pytest.raises(PluginNotFound, match=r"mdns"):
        node.start()
    with ProcessCluster(1, tmp_path / "c") as cluster:
        environment = cluster.environment(0, plugins_disable="k8s", discovery="k8s:namespace=x")
        done = _run_command(environment)
        assert done.returncode in (1, 2)
        assert "'k8s'" in done.stderr
        assert "BRAFT_PLUGINS_DISABLE" in done.stderr
    (node,) = make_nodes(1, start=False, discovery="carrier-pigeon:loft")
    with pytest.raises(PluginNotFound, match=r"carrier-pigeon.*static"):
        node.start()


@pytest.mark.parametrize("setting", ["transport", "storage", "serializer", "services"])
def test_an_unknown_plugin_of_any_kind_lists_the_known(make_nodes: MakeNodes, setting: str) -> None:
    (node,) = make_nodes(1, start=False, **{setting: "paper"})
    with pytest.raises(PluginNotFound, match=r"paper") as refused:
        node.start()
    assert refused.value.data["known"]


def test_a_disabled_plugin_is_not_there_in_a_running_node(
    tmp_path: Path, install_plugin: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin breaks the node's start unless it is disabled."""
    site = install_plugin("breaker_of_starts", "raise RuntimeError('imported')\n")
    with ProcessCluster(1, tmp_path / "c") as cluster:
        environment = cluster.environment(0)
        environment["PYTHONPATH"] += os.pathsep + str(site)
        refused = _run_command(environment)
        assert refused.returncode != 0
        assert "BRAFT_PLUGINS_DISABLE=breaker_of_starts" in refused.stderr
        monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
        cluster.start(plugins_disable="breaker_of_starts,mdns,k8s")
        cluster.wait_ready()
        assert cluster.client(0).kv_put("m", "k", 1)


def _run_command(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "braft_core", "run"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --------------------------------------------------------------------------------------------
# Serving


@pytest.fixture
def pair(make_nodes: MakeNodes) -> list[Node]:
    """Start two nodes with data and a limit of 100 kB; the leader comes first."""
    nodes = make_nodes(2, max_value_bytes=LIMIT)
    nodes[0].kv.put("m", "kept", "safe")
    return sorted(nodes, key=lambda node: not node.is_leader)


def _still_fine(nodes: list[Node]) -> None:
    for number, node in enumerate(nodes):
        assert node.kv.get("m", "kept") == "safe"
        assert node.kv.put("m", "again", number)
        node.wait_ready(PATIENCE)


def test_garbage_on_every_port(pair: list[Node]) -> None:
    blobs = [
        b"",
        b"\0" * 64,
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 512,
        os.urandom(4096),
        b"\x16\x03\x01" + os.urandom(300),
        b"POST /kv HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"PUT /v1/kv/m/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ]
    for node in pair:
        ports = (node.settings.rport, node.settings.dport, node.settings.hport)
        for port in ports:
            assert port is not None
            for blob in blobs:
                with socket.create_connection((HOST, port), timeout=40) as sender:
                    sender.sendall(blob)
    _still_fine(pair)


#: A chunk of 64 KiB, and the most bytes of such chunks that a test sends.
CHUNK = b"10000\r\n" + bytes(0x10000) + b"\r\n"
ENDLESS = 4 * SERVER_BODY_LIMIT


def _send_until_refused(port: int, host: str, process: psutil.Process) -> tuple[int, int]:
    """Send an endless body; return the bytes that were accepted and the peak resident memory."""
    sent = highest = 0
    with socket.create_connection((HOST, port), timeout=40) as sender, suppress(ConnectionError):
        head = f"PUT /v1/kv/m/k HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
        sender.sendall(head.encode())
        while sent < ENDLESS:
            sender.sendall(CHUNK)
            sent += len(CHUNK)
            highest = max(highest, process.memory_info().rss)
    return sent, highest


def test_chunked_bodies_without_end_are_cut_off_in_bounded_memory(tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        client, process = cluster.client(0), psutil.Process(cluster.pid(0))
        client.kv_put("m", "k", 1)
        before, port = process.memory_info().rss, urlsplit(cluster.nodes[0].url).port
        assert port is not None
        for host in ["localhost", "not.one.of.its.names"] * 5:
            sent, highest = _send_until_refused(port, host, process)
            assert sent < ENDLESS
            assert highest - before < 4 * SERVER_BODY_LIMIT
        assert client.kv_get("m", "k") == 1


def test_values_up_to_the_limit_and_not_beyond(pair: list[Node]) -> None:
    def largest(node: Node) -> int:
        with pytest.raises(TooLarge) as refused:
            node.kv.put("m", "big", b"x" * LIMIT)
        assert refused.value.data["limit"] == LIMIT
        assert str(LIMIT) in refused.value.message
        return LIMIT - (int(refused.value.data["size"]) - LIMIT)

    for node in pair:
        fits = largest(node)
        node.kv.put("m", "big", b"y" * fits)
        assert node.kv.get("m", "big") == b"y" * fits
        with pytest.raises(TooLarge) as refused:
            node.kv.put("m", "big", b"x" * (fits + 1))
        assert refused.value.data["size"] == LIMIT + 1
        with Client([node.http_address or ""]) as client:
            client.kv_put("m", "big", b"z" * fits)
            with pytest.raises(TooLarge):
                client.kv_put("m", "big", b"z" * (fits + 1))
            with pytest.raises(TooLarge):
                client.kv_put("m", "big", b"z" * 20_000_000)
        assert node.kv.get("m", "big") == b"z" * fits
    _still_fine(pair)


def test_nodes_of_different_limits_agree_on_the_leader_s(make_nodes: MakeNodes) -> None:
    nodes = make_nodes(2, max_value_bytes=lambda number: (10_000, 50_000)[number])
    small, large = nodes

    def small_leads() -> bool:
        """Repeat the transfer: on a slow machine it is abandoned after an election timeout."""
        if not small.is_leader:
            large.transfer_leadership(to=small.server_id)
        return (large.leader or ("", ""))[0] == small.server_id

    wait_for(small_leads)
    with pytest.raises(TooLarge) as refused:
        large.kv.put("m", "k", b"x" * 20_000)
    assert refused.value.data["limit"] == 10_000
    assert large.kv.put("m", "k", b"x" * 1_000)


@pytest.mark.parametrize("name", BAD_NAMES, ids=["empty", "NUL", "surrogate", "long", "long utf8"])
def test_names_that_are_none(pair: list[Node], name: str) -> None:
    for node in pair:
        calls: list[Callable[[], object]] = [
            lambda: node.kv.put("m", name, 1),  # noqa: B023
            lambda: node.kv.put(name, "k", 1),  # noqa: B023
            lambda: node.kv.get("m", name),  # noqa: B023
            lambda: node.kv.delete("m", name),  # noqa: B023
            lambda: node.kv.list(name),  # noqa: B023
        ]
        for call in calls:
            with pytest.raises((Rejected, InvalidRequest), match=r"map name|key|plain|surrogate"):
                call()
    _still_fine(pair)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/v1/kv/m/a%00b", b"1", 400),
        pytest.param("PUT", "/v1/kv/m/%ff%fe", b"1", 400),
        pytest.param("PUT", "/v1/kv/m/%ed%a0%80", b"1", 400),
        ("PUT", "/v1/kv/m/k", b"{broken", 400),
        ("PUT", "/v1/kv/m/k", b"1" * 400, 400),  # an integer of 400 digits
        ("GET", "/v1/kv/m/k?consistency=sometimes", b"", 400),
        ("GET", "/v1/kv/m/k?timeout=soon", b"", 400),
        ("GET", "/v1/kv/no-such-map", b"", 404),
        ("GET", "/v1/kv/m/no-such-key", b"", 404),
        ("GET", "/nowhere", b"", 404),
        ("PATCH", "/v1/kv/m/k", b"", 405),
        ("DELETE", "/v1/members/nobody", b"", 404),
        ("POST", "/v1/members", b"[]", 400),
        ("POST", "/v1/leader", b'{"to": 7}', 400),
    ],
)
def test_bad_requests_are_problems_of_the_asker(
    shared_node: Node, method: str, path: str, body: bytes, status: int
) -> None:
    answer = httpx.request(
        method,
        f"http://{shared_node.http_address}{path}",
        content=body,
        headers={"Content-Type": "application/json"} if body else {},
        trust_env=False,
        timeout=40,
    )
    assert answer.status_code == status, answer.text
    if method != "PATCH":
        assert answer.headers["Content-Type"].startswith("application/problem+json")
    _still_fine([shared_node])


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Start one node for many harmless requests."""
    raft, discovery, http = free_ports(3)
    data = tmp_path_factory.mktemp("shared") / "data"
    with Node(
        ip=HOST, rport=raft, dport=discovery, hport=http, discovery="none", data_dir=str(data)
    ) as node:
        node.kv.put("m", "kept", "safe", timeout=20)
        yield node


def test_a_peer_of_another_cluster_gets_no_vote(make_nodes: MakeNodes) -> None:
    nodes = make_nodes(2)
    nodes[0].kv.put("m", "kept", "safe")
    (stranger,) = make_nodes(1)
    stranger.kv.put("m", "k", "of the stranger")
    for node in nodes:

        def refused(node: Node = node) -> bool:
            """Try until the error names the node: the reason may miss the caller's deadline."""
            with pytest.raises(BraftError) as told:
                node.add_member(stranger.server_id, stranger.address, timeout=3.0)
            return "nonvoter" in told.value.message and stranger.address in told.value.message

        wait_for(refused, what="it is told that the stranger stays a nonvoter")

    def suffrage() -> str:
        found = {m.id: str(m.suffrage) for m in nodes[0].members()}
        return found.get(stranger.server_id, "")

    assert wait_for(suffrage, what="the first node knows it") == "Nonvoter"
    _still_fine(nodes)
    assert stranger.kv.get("m", "k") == "of the stranger"
    assert stranger.details()["clusterID"] != nodes[0].details()["clusterID"]
    assert [m.id for m in stranger.members()] == [stranger.server_id]
    nodes[0].remove_member(stranger.server_id, timeout=20)
    _still_fine(nodes)


def test_a_mistyped_address_costs_a_lone_node_nothing(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1)
    node.kv.put("m", "kept", "safe")
    with pytest.raises(BraftError, match=r"nonvoter.*127.0.0.1:1\b"):
        node.add_member("ghost", "127.0.0.1:1", timeout=2.0)
    _still_fine([node])
    with pytest.raises(BraftError, match=r"not caught up.*127.0.0.1:1\b"):
        node.promote_member("ghost", timeout=2.0)
    _still_fine([node])
    node.remove_member("ghost", timeout=20)
    assert [m.id for m in node.members()] == [node.server_id]
