"""The JSON gateway, by the standard library's client: paths, errors, streams."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest

from braft_core import Node
from braft_etcd.gateway.routes import ROUTES

Ask = Callable[..., tuple[int, Any]]


def _ask(address: str) -> Ask:
    def ask(
        path: str, body: Any = None, *, method: str = "POST", **headers: str
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(address, timeout=60)
        try:
            text = body if isinstance(body, bytes | None) else json.dumps(body)
            connection.request(method, path, text, headers)
            answer = connection.getresponse()
            data = answer.read()
            is_json = answer.getheader("content-type") == "application/json"
            return answer.status, json.loads(data) if is_json and data else data
        finally:
            connection.close()

    return ask


@pytest.fixture(scope="module")
def ask(served: tuple[Node, str]) -> Ask:
    return _ask(served[1])


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("prefix", ["/v3", "/v3beta", "/v3alpha"])
def test_what_was_put_is_read(ask: Ask, prefix: str) -> None:
    key = _b64(f"gateway{prefix}".encode())
    status, answer = ask(f"{prefix}/kv/put", {"key": key, "value": _b64(b"1")})
    assert status == 200
    revision = answer["header"]["revision"]
    assert isinstance(revision, str)
    assert set(answer["header"]) == {"cluster_id", "member_id", "revision", "raft_term"}
    status, answer = ask(f"{prefix}/kv/range", {"key": key, "rangeEnd": "", "limit": "1"})
    assert (status, answer["count"]) == (200, "1")
    assert "more" not in answer
    kv = answer["kvs"][0]
    assert kv == {
        "key": key,
        "create_revision": revision,
        "mod_revision": revision,
        "version": "1",
        "value": _b64(b"1"),
    }


def test_a_transaction_goes_by_names(ask: Ask) -> None:
    key = _b64(b"gateway-txn")
    put = {"request_put": {"key": key, "value": _b64(b"1")}}
    compare = {"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
    status, answer = ask("/v3/kv/txn", {"compare": [compare], "success": [put]})
    assert (status, answer["succeeded"]) == (200, True)
    assert list(answer["responses"][0]) == ["response_put"]


def test_errors_have_etcds_text_and_status(ask: Ask) -> None:
    text = "etcdserver: requested lease not found"
    status, answer = ask("/v3/lease/revoke", {"ID": "77"})
    assert (status, answer) == (404, {"error": text, "code": 5, "message": text})
    status, answer = ask("/v3/kv/put", b"")
    assert (status, answer["message"]) == (400, "etcdserver: key is not provided")
    status, answer = ask("/v3/kv/put", b"{")
    assert (status, answer["code"]) == (400, 3)
    status, answer = ask("/v3/auth/user/add", {"name": "a"})
    assert (status, answer["code"]) == (501, 12)
    status, answer = ask("/v3/maintenance/alarm", {"action": "SHOUT"})
    assert (status, "GET, ACTIVATE, DEACTIVATE" in answer["message"]) == (400, True)


def test_a_lease_is_kept_alive_by_a_stream_of_one(ask: Ask) -> None:
    lease = ask("/v3/lease/grant", {"TTL": 60, "ID": 0})[1]["ID"]
    status, answer = ask("/v3/lease/keepalive", {"ID": lease})
    assert (status, answer["result"]["TTL"], answer["result"]["ID"]) == (200, "60", lease)


def test_version_has_two_keys_and_health_says_true(ask: Ask) -> None:
    assert ask("/version", method="GET") == (
        200,
        {"etcdserver": "3.6.0", "etcdcluster": "3.6.0"},
    )
    assert ask("/health", method="GET") == (200, {"health": "true", "reason": ""})


def test_what_is_not_there_is_not_found(ask: Ask) -> None:
    for path in ("/v3/kv", "/v3/kv/range/", "/v2/keys", "/", "/v3/../version"):
        assert ask(path, b"{}")[0] == 404
    assert ask("/v3/kv/range", b"{}", method="PUT")[0] == 405
    assert ask("/metrics", method="GET")[0] == 404


def test_pages_of_the_web_are_refused(ask: Ask) -> None:
    assert ask("/v3/kv/put", {"key": "YQ=="}, origin="https://example.org")[0] == 403


def test_every_path_has_a_call(ask: Ask) -> None:
    missing = {path for path in ROUTES if ask(f"/v3/{path}", b"[]")[0] != 400}
    assert missing == set()


def test_tokens_are_asked_for(serve: Callable[..., tuple[Node, str]]) -> None:
    secret = "s" * 16
    ask = _ask(serve(token=secret)[1])
    body = {"key": "YQ=="}
    assert ask("/v3/kv/range", body)[0] == 400
    _, answer = ask("/v3/auth/authenticate", {"name": "root", "password": secret})
    assert ask("/v3/kv/range", body, authorization=answer["token"])[0] == 200
    assert ask("/v3/kv/range", body, authorization=f"Bearer {secret}")[0] == 200
    assert ask("/v3/kv/range", body, authorization="Bearer " + "x" * 16)[0] == 401
    assert ask("/health", method="GET")[0] == 200


def test_a_watch_is_a_line_for_each_answer(served: tuple[Node, str], ask: Ask) -> None:
    key = _b64(b"gateway-watch")
    connection = http.client.HTTPConnection(served[1], timeout=60)
    body = json.dumps({"create_request": {"key": key}})
    connection.request("POST", "/v3/watch", body)
    answer = connection.getresponse()
    assert json.loads(answer.readline())["result"]["created"] is True
    ask("/v3/kv/put", {"key": key, "value": _b64(b"1")})
    event = json.loads(answer.readline())["result"]["events"][0]
    assert event["kv"]["value"] == _b64(b"1")
    assert "type" not in event, "PUT is the default"
    connection.close()
