"""``/v1/store``: the store over HTTP, any bytes as keys, and what it refuses."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from braft_core.errors import NoSpace, OutcomeUnknown
from braft_core.http import store as module


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def put(web: Any, path: str, body: bytes = b"v", **options: Any) -> Any:
    return web.simulate_put(f"/v1/store/keys/{path}", body=body, **options)


def shown(answer: Any) -> list[tuple[bytes, bytes]]:
    return [
        (base64.b64decode(each["key"]), base64.b64decode(each["value"]))
        for each in answer.json["entries"]
    ]


def test_a_value_comes_back_with_its_revisions(web: Any) -> None:
    answer = put(web, "jobs/1", b"\x00\xff", headers={"Content-Type": "text/plain"})
    assert answer.json == {"revision": 2}
    assert answer.headers["ETag"] == '"2"'
    put(web, "jobs/2")
    assert put(web, "jobs/1", b"new").json == {"revision": 4}
    answer = web.simulate_get("/v1/store/keys/jobs/1")
    assert answer.content == b"new"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert {name: answer.headers[name] for name in ("ETag", "Braft-Created", "Braft-Version")} == {
        "ETag": '"4"',
        "Braft-Created": "2",
        "Braft-Version": "2",
    }
    assert (answer.headers["Braft-Lease"], answer.headers["Braft-Store-Revision"]) == ("0", "4")
    old = web.simulate_get("/v1/store/keys/jobs/1", params={"revision": "2"})
    assert (old.content, old.headers["ETag"]) == (b"\x00\xff", '"2"')
    assert web.simulate_get("/v1/store/keys/jobs/3").status_code == 404
    assert web.simulate_delete("/v1/store/keys/jobs/1").json == {"revision": 5, "deleted": 1}
    assert web.simulate_delete("/v1/store/keys/jobs/1").json == {"revision": 5, "deleted": 0}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a", b"a"),
        ("a/", b"a/"),
        ("a//b", b"a//b"),
        ("%2Fa", b"/a"),
        ("%FF%00%2f", b"\xff\x00/"),
        ("%C3%BC", "ü".encode()),
        ("%2E%2E", b".."),
        ("%ED%A0%80", b"\xed\xa0\x80"),
    ],
)
def test_any_bytes_are_a_key(web: Any, node: Any, path: str, key: bytes) -> None:
    assert put(web, path).status_code == 200
    assert [record[0] for record in node.query("store", "range", b"\0", b"\0")[3]] == [key]
    assert web.simulate_get(f"/v1/store/keys/{path}").content == b"v"


def test_a_path_without_a_key_is_that_of_the_range(web: Any) -> None:
    assert put(web, "").status_code == 405
    answer = web.simulate_delete("/v1/store/keys/")
    assert answer.status_code == 400
    assert "accepted: a key, or a prefix" in answer.json["detail"]


def test_a_range_comes_in_pages_of_one_revision(web: Any) -> None:
    for number in range(5):
        put(web, f"k%FF{number}", b"%d" % number)
    put(web, "other")
    query = "prefix=k%FF&limit=2"
    page = web.simulate_get("/v1/store/keys", query_string=query)
    assert shown(page) == [(b"k\xff0", b"0"), (b"k\xff1", b"1")]
    assert (page.json["count"], page.json["more"], page.json["revision"]) == (5, True, 7)
    assert page.json["entries"][0] == {
        "key": b64(b"k\xff0"),
        "value": b64(b"0"),
        "revision": 2,
        "created": 2,
        "version": 1,
        "lease": "0",
    }
    put(web, "k%FF4", b"later")
    start = base64.b64decode(page.json["next"])
    assert start == b"k\xff1\0"
    query = "start=k%FF1%00&end=l&revision=7"
    rest = web.simulate_get("/v1/store/keys", query_string=query)
    assert shown(rest)[-1] == (b"k\xff4", b"4")
    assert "next" not in rest.json
    count = web.simulate_get("/v1/store/count", query_string="prefix=k%FF&revision=7")
    assert count.json == {"revision": 8, "count": 5}
    gone = web.simulate_delete("/v1/store/keys", query_string="prefix=k%FF")
    assert gone.json == {"revision": 9, "deleted": 5}
    assert web.simulate_get("/v1/store/count").json["count"] == 1


def test_a_range_is_sorted_and_may_leave_values_out(web: Any) -> None:
    for key, value in (("a", b"2"), ("b", b"3"), ("c", b"1")):
        put(web, key, value)
    query = {"sort": "value", "order": "descending", "limit": "2", "keys_only": "true"}
    answer = web.simulate_get("/v1/store/keys", params=query)
    assert shown(answer) == [(b"b", b""), (b"a", b"")]
    assert answer.json["more"] is True
    assert "next" not in answer.json


def test_a_large_range_is_not_sorted(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SORTED", 2)
    for key in ("a", "b", "c"):
        put(web, key)
    for query in ({"sort": "value"}, {"order": "descending"}):
        answer = web.simulate_get("/v1/store/keys", params=query)
        assert answer.status_code == 400
        assert "range of 3 keys, others up to 2" in answer.json["detail"]
        assert web.simulate_get("/v1/store/keys", params=query | {"start": "b"}).status_code == 200
    assert web.simulate_get("/v1/store/keys").status_code == 200


def test_a_page_ends_after_a_number_of_bytes(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAGE_BYTES", 1000)
    for number in range(9):
        put(web, f"k{number}", b"x" * 300)
    answer = web.simulate_get("/v1/store/keys")
    assert answer.json["more"] is True
    assert 1 <= len(answer.json["entries"]) < 4


def test_many_entries_are_one_page(web: Any, node: Any) -> None:
    for number in range(300):
        node.execute("store", "put", b"%03d" % number, b"\xff")
    found = shown(web.simulate_get("/v1/store/keys"))
    assert found == [(b"%03d" % number, b"\xff") for number in range(300)]


def test_a_write_may_have_a_condition(web: Any) -> None:
    assert put(web, "k", b"1", headers={"If-Match": "*"}).status_code == 412
    assert put(web, "k", b"1", headers={"If-None-Match": "*"}).json == {"revision": 2}
    refused = put(web, "k", b"2", headers={"If-None-Match": "*"})
    assert refused.status_code == 412
    assert refused.json["data"] == {"revision": 2}
    assert put(web, "k", b"2", headers={"If-Match": '"1"'}).status_code == 412
    assert put(web, "k", b"2", headers={"If-Match": '"2"'}).json == {"revision": 3}
    assert put(web, "k", b"3", headers={"If-None-Match": '"3"'}).status_code == 412
    delete = web.simulate_delete
    assert delete("/v1/store/keys/k", headers={"If-Match": '"2"'}).status_code == 412
    assert web.simulate_get("/v1/store/keys/k", headers={"If-None-Match": '"3"'}).status_code == 304
    assert delete("/v1/store/keys/k", headers={"If-Match": "*"}).json["deleted"] == 1
    for headers in ({"If-Match": '"1", "2"'}, {"If-Match": '"1"', "If-None-Match": "*"}):
        assert put(web, "k", headers=headers).status_code == 400


def test_a_transaction_does_what_its_conditions_say(web: Any) -> None:
    txn = {
        "when": [{"key": b64(b"k"), "target": "version", "result": "==", "value": 0}],
        "then": [
            {"op": "put", "key": b64(b"k"), "value": b64(b"1")},
            {"op": "txn", "then": [{"op": "delete", "prefix": b64(b"x")}]},
        ],
        "otherwise": [{"op": "get", "key": b64(b"k")}],
    }
    answer = web.simulate_post("/v1/store/txn", json=txn)
    assert answer.json == {
        "revision": 2,
        "succeeded": True,
        "answers": [
            {"op": "put", "revision": 2},
            {
                "op": "txn",
                "revision": 2,
                "succeeded": True,
                "answers": [{"op": "delete", "revision": 2, "deleted": 0}],
            },
        ],
    }
    answer = web.simulate_post("/v1/store/txn", json=txn)
    assert answer.json["succeeded"] is False
    assert answer.json["answers"][0]["entries"][0]["value"] == b64(b"1")
    assert web.simulate_post("/v1/store/txn", json={}).json["succeeded"] is True


def test_large_transactions_and_answers_are_served(web: Any) -> None:
    puts = [
        {"op": "put", "key": b64(b"k%03d" % number), "value": b64(b"x" * 300)}
        for number in range(128)
    ]
    assert web.simulate_post("/v1/store/txn", json={"then": puts}).json["succeeded"]
    gets = [{"op": "get", "prefix": b64(b"k")}] * 3
    answer = web.simulate_post("/v1/store/txn", json={"then": gets})
    assert [len(each["entries"]) for each in answer.json["answers"]] == [128] * 3


@pytest.mark.parametrize(
    ("txn", "status", "code"),
    [
        ({"then": [{"op": "put", "key": "", "value": ""}]}, 400, "invalid_argument"),
        ({"then": [{"op": "get", "key": "YQ=="}] * 129}, 400, "too_many_ops"),
        ({"then": [{"op": "put", "key": "YQ==", "value": ""}] * 2}, 400, "duplicate_key"),
        (
            {"then": [{"op": "put", "key": "YQ==", "value": "", "lease": "7"}]},
            404,
            "lease_not_found",
        ),
        ({"then": [{"op": "get", "start": "Yg==", "end": "YQ=="}]}, 400, "invalid_argument"),
        ({"then": 1}, 400, "invalid_argument"),
        ([], 400, "invalid_argument"),
    ],
)
def test_a_transaction_that_is_refused_changes_nothing(
    web: Any, node: Any, txn: Any, status: int, code: str
) -> None:
    answer = web.simulate_post("/v1/store/txn", json=txn)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert node.query("store", "status")["revision"] == 1


def test_a_transaction_that_is_nested_too_deep_is_refused(web: Any) -> None:
    body = '{"then":[' + '{"op":"txn","then":[' * 5000 + "]}" * 5000 + "]}"
    answer = web.simulate_post("/v1/store/txn", body=body)
    assert answer.status_code == 400


def test_history_is_read_until_it_is_compacted(web: Any) -> None:
    for number in range(3):
        put(web, "k", b"%d" % number)
    assert web.simulate_post("/v1/store/compact", json={"revision": 3}).json == {"revision": 3}
    assert web.simulate_get("/v1/store").json == {
        "revision": 4,
        "compacted": 3,
        "keys": 1,
        "size": 2 * (256 + 2),
        "quota": 2 << 30,
        "leases": 0,
        "alarms": [],
    }
    old = web.simulate_get("/v1/store/keys/k", params={"revision": "2"})
    assert (old.status_code, old.json["code"]) == (410, "compacted")
    assert old.json["data"] == {"revision": 2, "compacted": 3}
    future = web.simulate_get("/v1/store/keys", params={"revision": "9"})
    assert (future.status_code, future.json["code"]) == (422, "future_revision")
    again = web.simulate_post("/v1/store/compact", json={"revision": 3})
    assert (again.status_code, again.json["code"]) == (410, "compacted")
    for body in ({}, {"revision": "3"}, {"revision": True}, {"revision": -1}, [3]):
        assert web.simulate_post("/v1/store/compact", json=body).status_code == 400


def test_a_lease_is_granted_renewed_and_revoked(web: Any) -> None:
    granted = web.simulate_post("/v1/store/leases", json={"ttl": 10}).json
    assert granted["ttl"] == 10
    other = {"id": str(2**63 - 1), "ttl": 30}
    assert web.simulate_post("/v1/store/leases", json=other).json == other
    twice = web.simulate_post("/v1/store/leases", json=other)
    assert (twice.status_code, twice.json["code"]) == (409, "lease_exists")
    put(web, "k%FF", params={"lease": granted["id"]})
    found = web.simulate_get(f"/v1/store/leases/{granted['id']}").json
    assert found == granted | {"remaining": 10, "count": 1, "keys": [b64(b"k\xff")]}
    assert web.simulate_get("/v1/store/keys/k%FF").headers["Braft-Lease"] == granted["id"]
    renewed = web.simulate_post(
        "/v1/store/renew", json={"leases": [granted["id"], "5", other["id"]]}
    )
    assert renewed.json == {"ttls": [10, 0, 30]}
    page = web.simulate_get("/v1/store/leases", params={"limit": "1"}).json
    assert page == {"next": granted["id"], "leases": [granted["id"]]}
    page = web.simulate_get("/v1/store/leases", params={"after": page["next"]}).json
    assert page == {"leases": [other["id"]]}
    assert web.simulate_delete(f"/v1/store/leases/{granted['id']}").json == {"revision": 3}
    assert web.simulate_get("/v1/store/keys/k%FF").status_code == 404
    for method in ("GET", "DELETE"):
        gone = web.simulate_request(method, f"/v1/store/leases/{granted['id']}")
        assert gone.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("POST", "/v1/store/leases", {"json": {}}),
        ("POST", "/v1/store/leases", {"json": {"ttl": "10"}}),
        ("POST", "/v1/store/leases", {"json": {"ttl": True}}),
        ("POST", "/v1/store/leases", {"json": {"ttl": 0}}),
        ("POST", "/v1/store/leases", {"json": {"ttl": 10**12}}),
        ("POST", "/v1/store/leases", {"json": {"ttl": 5, "id": 7}}),
        ("POST", "/v1/store/leases", {"json": {"ttl": 5, "id": "0"}}),
        ("POST", "/v1/store/renew", {"json": {"leases": "7"}}),
        ("POST", "/v1/store/renew", {"json": {"leases": ["x"]}}),
        ("POST", "/v1/store/renew", {"json": {"leases": ["1"] * 10_001}}),
        ("GET", "/v1/store/leases/x", {}),
        ("GET", "/v1/store/leases", {"params": {"limit": "10001"}}),
        ("PUT", "/v1/store/keys/k", {"params": {"lease": "x"}}),
        ("GET", "/v1/store/keys/k", {"params": {"revision": "-1"}}),
        ("GET", "/v1/store/keys/k", {"params": {"revision": str(2**63)}}),
        ("GET", "/v1/store/keys", {"params": {"limit": "0"}}),
        ("GET", "/v1/store/keys", {"params": {"sort": "age"}}),
        ("GET", "/v1/store/keys", {"params": {"order": "up"}}),
        ("GET", "/v1/store/keys", {"params": {"keys_only": "1"}}),
        ("GET", "/v1/store/keys", {"params": {"prefix": "a", "end": "b"}}),
        ("GET", "/v1/store/keys", {"query_string": "start=b&end=a"}),
        ("GET", "/v1/store/keys", {"query_string": "start=b&end="}),
        ("DELETE", "/v1/store/keys", {"query_string": "start=&end=%00"}),
        ("GET", "/v1/store/count", {"params": {"limit": "1"}}),
        ("DELETE", "/v1/store/keys", {}),
    ],
)
def test_bad_input_is_named(
    web: Any, node: Any, method: str, path: str, options: dict[str, Any]
) -> None:
    answer = web.simulate_request(method, path, **options)
    assert answer.status_code == 400, answer.text
    assert answer.json["code"] in ("bad_request", "invalid_argument")
    assert node.query("store", "status")["revision"] == 1


def test_reads_take_a_consistency_and_name_their_staleness(web: Any, node: Any) -> None:
    answer = web.simulate_get("/v1/store/keys", params={"consistency": "stale"})
    assert float(answer.headers["Braft-Staleness"]) >= 1.5
    assert node.calls[-1][-2:] == ("stale", None)
    web.simulate_get("/v1/store/count", params={"timeout": "3"})
    assert node.calls[-1][-2:] == ("linearizable", 3.0)


def test_errors_of_the_cluster_have_their_status(web: Any, node: Any) -> None:
    node.fails = NoSpace("the store is full")
    assert put(web, "k").status_code == 507
    node.fails = OutcomeUnknown("no commit")
    assert put(web, "k").status_code == 504


def test_compaction_needs_the_role_admin_and_writes_do_not(make_client: Any, node: Any) -> None:
    node.settings.token = type(
        "Secret", (), {"get_secret_value": lambda self: "admin:" + "a" * 16 + ",write:" + "w" * 16}
    )()
    web = make_client(node)
    writer = {"Authorization": "Bearer " + "w" * 16}
    assert put(web, "k", headers=writer).status_code == 200
    answer = web.simulate_post("/v1/store/compact", json={"revision": 1}, headers=writer)
    assert answer.status_code == 403
    admin = {"Authorization": "Bearer " + "a" * 16}
    answer = web.simulate_post("/v1/store/compact", json={"revision": 1}, headers=admin)
    assert answer.status_code == 200
