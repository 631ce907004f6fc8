"""Requests of pages of another origin and DNS rebinding are refused."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing

import pytest

from braft_core import Node
from braft_testing.processes import HOST, PATIENCE, free_ports

TOKEN = "sesame-open-now-1"


@pytest.fixture(scope="module", params=["uvicorn", "waitress"])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    raft, discovery, http_port = free_ports(3)
    settings = {
        "discovery": "none",
        "ip": HOST,
        "rport": raft,
        "dport": discovery,
        "hport": http_port,
        "data_dir": ":memory:",
        "http_server": request.param,
        "http_hosts": "braft.example",
    }
    with Node(**settings) as running:
        running.kv.put("m", "secret", "treasure", timeout=PATIENCE)
        yield running


def ask(
    node: Node, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str]:
    host, _, port = (node.http_address or "").rpartition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=PATIENCE)) as connection:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        assert answer.getheader("Access-Control-Allow-Origin") is None
        return answer.status, answer.read().decode()


#: Requests that a page can send without a preflight: method, path, body.
ATTACKS = [
    ("POST", "/kv?map=m&key=planted&value=1", b""),
    ("POST", "/kv?map=m&key=planted", b"1"),
    ("POST", "/distribute", b'["a"]'),
    ("POST", "/v1/leader", b""),
    ("POST", "/v1/members", b'{"id": "evil", "address": "203.0.113.1:1"}'),
    ("POST", "/v1/snapshots", b""),
]
#: Headers by which browsers report the origin; the oldest send none.
BROWSERS = {
    "modern": {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"},
    "older": {"Origin": "https://evil.example"},
    "sandboxed": {"Origin": "null"},
    "silent form": {"User_Agent": "Mozilla/5.0 (X11; rv:60.0) Gecko/20100101 Firefox/60.0"},
    "ancient form": {"Referer": "http://evil.example/"},
    "unnamed form": {},
}
TYPES = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("browser", BROWSERS)
@pytest.mark.parametrize(("method", "path", "body"), ATTACKS)
def test_a_page_changes_nothing(
    node: Node, method: str, path: str, body: bytes, browser: str, kind: str
) -> None:
    members = node.members()
    status, text = ask(node, method, path, body, Content_Type=kind, **BROWSERS[browser])
    assert status in (403, 415), text
    assert '"code": "' in text
    assert node.kv.get("m", "planted") is None
    assert node.distribute.assignment() == {}
    assert (node.members(), node.snapshots()) == (members, [])


@pytest.mark.parametrize("path", ["/v1/kv/m/secret", "/kv?map=m&key=secret", "/raft", "/readyz"])
def test_a_name_that_was_made_to_resolve_to_the_node_reads_nothing(node: Node, path: str) -> None:
    for host in ("evil.example", "evil.example:15002", "127.0.0.1.evil.example"):
        status, text = ask(node, "GET", path, Host=host)
        assert status == 421
        assert "treasure" not in text
        assert "BRAFT_HTTP_HOSTS" in text
    assert ask(node, "GET", "/v1/kv/m/secret", Host="braft.example:1")[0] == 200
    assert ask(node, "GET", "/healthz", Host="evil.example")[0] == 200


def test_a_page_of_a_rebound_name_writes_nothing(node: Node) -> None:
    origin = {"Origin": "http://evil.example", "Sec_Fetch_Site": "same-origin"}
    headers = {**origin, "Host": "evil.example", "Content_Type": "application/json"}
    assert ask(node, "PUT", "/v1/kv/m/planted", b"1", **headers)[0] == 421
    assert node.kv.get("m", "planted") is None


def test_what_programs_send_goes_on_to_work(node: Node) -> None:
    """Programs use the Go original's interface with parameters in the query, as curl does."""
    assert ask(node, "POST", "/kv?map=m&key=k&value=v", User_Agent="curl/8.5.0") == (200, "null")
    assert ask(node, "GET", "/kv?map=m&key=k") == (200, '"v"')
    form = {"Content_Type": TYPES[1], "X_Requested_With": "curl"}
    assert ask(node, "POST", "/kv?map=m&key=k", b"w", **form) == (200, "null")
    assert node.kv.get("m", "k") == "w"


def test_a_slash_in_a_name_does_not_end_it(node: Node) -> None:
    assert ask(node, "PUT", "/v1/kv/a%2Fb/c", b"1", Content_Type="text/plain")[0] == 200
    assert (node.kv.get("a/b", "c"), node.kv.get("a", "b/c")) == ("1", None)
    assert ask(node, "GET", "/v1/kv/a%2Fb")[0] == 200
    assert ask(node, "GET", "/v1/kv/a")[0] == 404
    assert ask(node, "PUT", "/v1/kv/a/b/c%2F", b"2", Content_Type="text/plain")[0] == 200
    assert node.kv.get("a", "b/c/") == "2"
