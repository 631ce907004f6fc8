"""The choice of the node, retries, and the decoding of responses."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from braft_core import errors
from braft_core.client import Client, KVEntry, Leader, Member, Page, Readiness
from braft_core.errors import ConfigError
from braft_testing.processes import wait_for


def test_a_node_that_refuses_the_connection_is_passed_over(
    make_peer: Any, dead_url: str, connect: Any
) -> None:
    peer = make_peer()
    peer.gives({"revision": 7})
    assert connect(dead_url, peer.url).kv_put("m", "k", "v") == 7
    assert len(peer.seen) == 1


@pytest.mark.parametrize(
    "refusal", [errors.NoLeader, errors.NotReady, errors.Stopped, errors.Busy, errors.NotLeader]
)
def test_a_node_that_surely_did_nothing_is_passed_over(
    make_peer: Any, connect: Any, refusal: Any
) -> None:
    first, second = make_peer(), make_peer()
    first.fails(503, refusal("not me"))
    second.gives({"revision": 7})
    assert connect(first.url, second.url).kv_put("m", "k", "v") == 7
    assert (len(first.seen), len(second.seen)) == (1, 1)


def test_if_all_refuse_their_reason_is_raised_rather_than_silence(
    make_peer: Any, dead_url: str, connect: Any
) -> None:
    peer = make_peer()
    peer.fails(503, errors.NotReady("waiting for 2 of 3"))
    with pytest.raises(errors.NotReady, match="waiting for 2 of 3"):
        connect(peer.url, dead_url).kv_put("m", "k", "v")


def test_a_write_without_an_answer_is_never_repeated(make_peer: Any, connect: Any) -> None:
    first, second = make_peer(), make_peer()
    first.answer = None
    client = connect(first.url, second.url)
    writes: list[Callable[[], Any]] = [
        lambda: client.kv_put("m", "k", "v"),
        lambda: client.kv_delete("m", "k"),
        lambda: client.add_member("x", "h:1"),
        lambda: client.remove_member("x"),
        lambda: client.promote_member("x"),
        lambda: client.transfer_leadership(),
    ]
    for write in writes:
        with pytest.raises(errors.OutcomeUnknown, match=first.url):
            write()
    assert (len(first.seen), len(second.seen)) == (6, 0)


def test_a_write_whose_fate_the_node_does_not_know_is_never_repeated(
    make_peer: Any, connect: Any
) -> None:
    first, second = make_peer(), make_peer()
    first.fails(504, errors.OutcomeUnknown("no commit within 5 s"))
    with pytest.raises(errors.OutcomeUnknown, match="no commit"):
        connect(first.url, second.url).kv_put("m", "k", "v")
    assert second.seen == []


def test_a_write_that_times_out_is_unknown_and_a_read_goes_on(make_peer: Any, connect: Any) -> None:
    other = make_peer()
    other.gives({"maps": ["m"]})
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts connections and never answers
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        client = connect(url, other.url, timeout=0.1)
        with pytest.raises(errors.OutcomeUnknown):
            client.kv_put("m", "k", "v")
        assert other.seen == []
        # On a busy machine the other peer may be too late as well.
        assert wait_for(client.kv_maps) == ["m"]


def test_a_read_goes_to_the_next_node_whatever_happened(make_peer: Any, connect: Any) -> None:
    first, second = make_peer(), make_peer()
    first.answer = None
    second.gives({"id": "a", "address": "h:1"})
    assert connect(first.url, second.url).leader() == Leader("a", "h:1")


def test_members_leader_and_readiness_are_of_the_types_of_a_node(
    make_peer: Any, connect: Any
) -> None:
    peer = make_peer()
    client = connect(peer.url, timeout=40)
    voter = Member("a", "h:1", "Voter", leader=True)
    nonvoter = Member("b", "h:2", "Nonvoter", leader=False)
    peer.gives({"members": [asdict(voter), asdict(nonvoter) | {"added": "by a later version"}]})
    assert client.members() == [voter, nonvoter]
    assert client.add_member("b", "h:2", voter=False) == [voter, nonvoter]
    assert client.promote_member("b") == client.remove_member("c") == [voter, nonvoter]
    peer.gives({"id": "a", "address": "h:1"})
    assert client.leader() == client.transfer_leadership() == client.transfer_leadership("a")
    assert client.leader() == Leader("a", "h:1")
    assert [json.loads(seen[3]) for seen in peer.seen if seen[1] == "/v1/leader?timeout=40"] == [
        {},
        {"to": "a"},
    ]
    peer.gives({"status": "ready"})
    assert client.ready() == Readiness(ready=True, reason="")
    peer.fails(503, errors.NotReady("waiting for 2 of 3"))
    assert client.ready() == Readiness(ready=False, reason="waiting for 2 of 3")


def test_the_leader_is_none_if_no_node_knows_it(
    make_peer: Any, connect: Any, dead_url: str
) -> None:
    peers = [make_peer(), make_peer()]
    for peer in peers:
        peer.fails(503, errors.NoLeader("this node knows no leader at the moment"))
    assert connect(dead_url, *(peer.url for peer in peers)).leader() is None
    assert [len(peer.seen) for peer in peers] == [1, 1]
    with pytest.raises(errors.Unreachable):
        connect(dead_url).leader()
    with pytest.raises(errors.NoLeader):
        connect(peers[0].url).transfer_leadership()


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": None},
        {"address": 7},
        {"suffrage": "voter"},
        {"suffrage": ["Voter"]},
        {"leader": "yes"},
        {"leader": 1},
    ],
)
def test_a_member_of_another_type_is_not_the_answer_of_a_node(
    make_peer: Any, connect: Any, wrong: dict[str, Any]
) -> None:
    peer = make_peer()
    peer.gives({"members": [asdict(Member("a", "h:1", "Voter", leader=True)) | wrong]})
    client = connect(peer.url)
    with pytest.raises(errors.BraftError, match="not as a braft node does"):
        client.members()
    with pytest.raises(errors.OutcomeUnknown, match="not as a braft node does"):
        client.remove_member("a")


def test_a_read_that_was_sent_and_not_answered_says_so(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    peer.answer = None
    with pytest.raises(errors.Unreachable) as read:
        connect(peer.url).members()
    assert read.value.data["sent"] is True


def test_nobody_answers(dead_url: str, connect: Any) -> None:
    client = connect(dead_url)
    # The connection was refused at once, so there was no wait.
    refused = rf"{dead_url} \(.*refused"
    with pytest.raises(errors.Unreachable, match=refused) as write:
        client.kv_put("m", "k", "v")
    assert write.value.data["sent"] is False
    with pytest.raises(errors.Unreachable, match=refused) as read:
        client.status()
    assert read.value.data["sent"] is False


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (409, errors.Conflict("revision is 3", revision=3)),
        (413, errors.TooLarge("too large", size=9, limit=8)),
        (422, errors.CommandFailed("boom", type="ValueError")),
        (404, errors.UnknownService("no kv", known=["x"])),
    ],
)
def test_what_the_cluster_raised_is_raised_here(
    make_peer: Any, connect: Any, status: int, error: errors.BraftError
) -> None:
    first, second = make_peer(), make_peer()
    first.fails(status, error)
    with pytest.raises(type(error), match=error.message) as raised:
        connect(first.url, second.url).kv_put("m", "k", "v")
    assert error.data.items() <= raised.value.data.items()
    assert second.seen == []


@pytest.mark.parametrize(
    ("status", "write_error"),
    [
        (502, errors.OutcomeUnknown),
        (503, errors.OutcomeUnknown),
        (413, errors.TooLarge),
        (403, errors.BraftError),
    ],
)
def test_a_proxy_s_answer_is_not_a_node_s(
    make_peer: Any, connect: Any, status: int, write_error: Any
) -> None:
    peer = make_peer()
    peer.answer = (status, "text/html", b"<h1>nginx</h1>")
    with pytest.raises(write_error, match="not as a braft node does"):
        connect(peer.url).kv_put("m", "k", "v")


@pytest.mark.parametrize(
    ("status", "media_type", "body"),
    [
        (200, "text/html", b"<h1>Please log in</h1>"),
        (200, "application/json", b"[]"),
        (200, "application/json", b"{}"),
        (200, "application/json", b'{"revision": [], "items": 1, "base64": [1], "members": 3}'),
        (200, "application/json", b'"' + b"\xff" * 9 + b'"'),
        (302, "text/html", b""),
    ],
)
def test_a_success_that_is_no_node_s_is_an_error(
    make_peer: Any, connect: Any, status: int, media_type: str, body: bytes
) -> None:
    """The outcome of a write is unknown then."""
    peer = make_peer()
    peer.answer = (status, media_type, body)
    client = connect(peer.url)
    foreign = "not as a braft node does"
    writes: list[Callable[[], Any]] = [
        lambda: client.kv_put("m", "k", 1),
        lambda: client.kv_delete("m", "k"),
        lambda: client.remove_member("x"),
    ]
    for write in writes:
        with pytest.raises(errors.OutcomeUnknown, match=foreign):
            write()
    reads: list[Callable[[], Any]] = [
        lambda: client.kv_entry("m", "k"),
        lambda: client.kv_list("m"),
        client.kv_maps,
        client.members,
        client.snapshots,
    ]
    for read in reads:
        with pytest.raises(errors.BraftError, match=foreign) as raised:
            read()
        assert not isinstance(raised.value, errors.OutcomeUnknown)


def test_a_login_page_is_not_ready(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    peer.answer = (200, "text/html", b"<h1>Please log in</h1>")
    with pytest.raises(errors.BraftError, match="not as a braft node does"):
        connect(peer.url).ready()


def test_an_answer_that_cannot_be_unpacked_is_none(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    peer.headers = {"Content-Encoding": "gzip"}
    peer.gives({"revision": 1})
    with pytest.raises(errors.OutcomeUnknown, match="no answer came"):
        connect(peer.url).kv_put("m", "k", 1)
    with pytest.raises(errors.Unreachable):
        connect(peer.url).members()


def test_broken_problem_json_is_no_crash(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    for body in (b"{", b"[]", b"\xff"):
        peer.answer = (503, "application/problem+json", body)
        with pytest.raises(errors.OutcomeUnknown):
            connect(peer.url).kv_put("m", "k", "v")


def test_a_missing_key_is_none_and_a_missing_service_is_not(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    problem = b'{"code": "not_found", "detail": "no key", "data": {}}'
    peer.answer = (404, "application/problem+json", problem)
    assert connect(peer.url).kv_get("m", "k") is None
    peer.fails(404, errors.UnknownService("no kv"))
    with pytest.raises(errors.UnknownService):
        connect(peer.url).kv_get("m", "k")


def test_values_and_revisions(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    peer.headers = {"ETag": '"12"'}
    peer.gives({"a": None})
    assert connect(peer.url).kv_entry("m", "k") == KVEntry({"a": None}, 12)
    peer.answer = (200, "application/octet-stream", b"\x00")
    assert connect(peer.url).kv_get("m", "k") == b"\x00"
    peer.headers = {"ETag": 'W/"12"'}
    assert connect(peer.url).kv_entry("m", "k") == KVEntry(b"\x00", 12)


def test_what_is_sent(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    peer.gives({"revision": 1, "deleted": True, "items": {"b": "AA=="}, "base64": ["b"]})
    client = connect(peer.url + "/", token="sésame", timeout=40)
    client.kv_put("m", "a/b ..%", {"x": 1}, if_revision=4)
    client.kv_put("m", "..", b"\x00", if_revision=0)
    client.kv_delete("m", "k?#")
    assert client.kv_list("m", "stale") == {"b": b"\x00"}
    put, dots, delete, listing = peer.seen
    assert put[:2] == ("PUT", "/v1/kv/m/a%2Fb%20..%25?timeout=40")
    assert (put[2]["If-Match"], put[3]) == ('"4"', b'{"x":1}')
    assert put[2]["Authorization"].encode("latin-1").decode() == "Bearer sésame"
    assert dots[1] == "/v1/kv/m/%2E%2E?timeout=40"
    assert (dots[2]["If-None-Match"], dots[2]["Content-Type"]) == ("*", "application/octet-stream")
    assert delete[:2] == ("DELETE", "/v1/kv/m/k%3F%23?timeout=40")
    assert listing[1] == "/v1/kv/m?consistency=stale&limit=100000&timeout=40"


def test_null_is_sent_as_null(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    peer.gives({"revision": 1})
    for value in (None, "", b""):
        connect(peer.url).kv_put("m", "k", value)
    sent = [(headers["Content-Type"], body) for _, _, headers, body in peer.seen]
    assert sent == [
        ("application/json", b"null"),
        ("application/json", b'""'),
        ("application/octet-stream", b""),
    ]


@pytest.mark.parametrize(
    "value",
    [math.nan, [math.inf], {"a": b"raw"}, {1, 2}, "\udc80", {"\udc80": 1}, 1 << 20_000, [[]]],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_form_in_json_is_refused_unsent(
    make_peer: Any, connect: Any, value: Any
) -> None:
    if value == [[]]:
        for _ in range(100_000):
            value = [value]
    peer = make_peer()
    with pytest.raises(
        errors.InvalidRequest, match=r"cannot be encoded as JSON: .*; accepted: bytes, or"
    ):
        connect(peer.url).kv_put("m", "k", value)
    assert peer.seen == []


def test_a_name_that_is_no_text_is_refused_unsent(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    client = connect(peer.url)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: client.kv_get("m", "gr\udcfcn"),
        lambda: client.kv_list("gr\udcfcn"),
        lambda: client.kv_delete("gr\udcfcn", "k"),
        lambda: client.remove_member("gr\udcfcn"),
    )
    for call in calls:
        with pytest.raises(errors.ConfigError, match=r"'gr\\udcfcn'; accepted: text in"):
            call()
    with pytest.raises(errors.InvalidRequest):
        client.add_member("gr\udcfcn", "127.0.0.1:1")
    assert peer.seen == []


@pytest.mark.parametrize(
    "url",
    ["gr\udcfcn:1", "http://a/\udcfc", "http://[::1", "a..b:1", "a" * 64, "http://xn--x", "a\0b"],
    ids=ascii,
)
def test_a_url_that_cannot_be_asked_is_refused_at_once(connect: Any, url: str) -> None:
    with pytest.raises(errors.ConfigError, match=r"URL is .*; accepted: http://host:port"):
        connect(url)


def test_what_older_nodes_wrote_is_read(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    peer.headers = {"ETag": '"1"'}
    peer.answer = (200, "application/json", b"NaN")
    assert math.isnan(connect(peer.url).kv_get("m", "k"))


def test_readiness_is_an_answer_not_an_error(make_peer: Any, connect: Any, dead_url: str) -> None:
    peer = make_peer()
    assert connect(peer.url).ready() == (True, "")
    peer.fails(503, errors.NotReady("no leader"))
    assert connect(peer.url).ready() == (False, "no leader")
    with pytest.raises(errors.Unreachable):
        connect(dead_url).ready()


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "http://h:99999", "http://h:0", "h?x"])
def test_a_bad_url_is_named(connect: Any, url: str) -> None:
    with pytest.raises(errors.ConfigError, match="accepted: http://host:port"):
        connect(url)


def test_bad_arguments_are_named(connect: Any) -> None:
    with pytest.raises(errors.ConfigError):
        connect()
    for timeout in (0, -1, True, "5", None, float("nan")):
        with pytest.raises(errors.ConfigError, match=f"timeout is {timeout!r}; accepted: seconds"):
            connect("h:1", timeout=timeout)
    client = connect("h:1")
    for map_name, key in (("", "k"), ("a/b", "k"), ("m", "")):
        with pytest.raises(errors.ConfigError):
            client.kv_get(map_name, key)


def test_the_environment_s_proxy_is_not_used(
    make_peer: Any, connect: Any, dead_url: str, monkeypatch: Any
) -> None:
    monkeypatch.setenv("HTTP_PROXY", dead_url)
    peer = make_peer()
    peer.gives({"members": []})
    assert connect(peer.url).members() == []


def test_certificates_are_checked(make_peer: Any, connect: Any) -> None:
    context = connect("https://h:1", "http://h:2")._nodes.http._transport._pool._ssl_context
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


def test_lists_are_read_page_by_page(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    client = connect(peer.url)
    first = {"next": "b c", "map": "m", "items": {"a": 1, "b c": "AA=="}, "base64": ["b c"]}
    peer.before = [first, {"map": "m", "items": {"d": 2}, "base64": []}]
    assert client.kv_list("m") == {"a": 1, "b c": b"\0", "d": 2}
    peer.before = [{"next": "m", "maps": ["l", "m"]}, {"maps": ["n"]}]
    assert client.kv_maps() == ["l", "m", "n"]
    peer.before = [first]
    assert client.kv_page("m", "0", 2, "stale") == Page({"a": 1, "b c": b"\0"}, "b c")
    assert [path for _, path, _, _ in peer.seen] == [
        "/v1/kv/m?consistency=linearizable&limit=100000&timeout=5",
        "/v1/kv/m?consistency=linearizable&limit=100000&after=b+c&timeout=5",
        "/v1/kv?limit=100000&timeout=5",
        "/v1/kv?limit=100000&after=m&timeout=5",
        "/v1/kv/m?consistency=stale&limit=2&after=0&timeout=5",
    ]


def test_a_node_that_knows_no_pages_gives_all(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    peer.gives({"items": {"a": 1}, "base64": [], "maps": ["m"]})
    assert connect(peer.url).kv_list("m") == {"a": 1}
    assert connect(peer.url).kv_maps() == ["m"]


@pytest.mark.parametrize("url", ["http://10.1.2.3:80", "example:80", "http://[2001:db8::1]:80"])
def test_a_token_is_not_sent_in_clear_to_other_machines(url: str) -> None:
    with pytest.raises(ConfigError, match="BRAFT_INSECURE") as caught:
        Client(["127.0.0.1:1", url], token="a-secret-of-some-length")
    assert "a-secret" not in f"{caught.value} {caught.value.data}"
    Client([url], token="a-secret-of-some-length", insecure=True).close()
    Client([url]).close()


@pytest.mark.parametrize("url", ["https://example:80", "127.0.0.1:1", "localhost:1", "[::1]:1"])
def test_a_token_goes_to_this_machine_and_by_tls(url: str) -> None:
    Client([url], token="a-secret-of-some-length").close()
