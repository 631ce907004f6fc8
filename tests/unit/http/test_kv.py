"""The Go original's ``/kv`` and the typed ``/v1/kv``."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import pytest

from braft_core import strict_json


def test_legacy_write_read_delete(web: Any, node: Any) -> None:
    assert web.simulate_post("/kv?map=m&key=k&value=v").text == "null"
    answer = web.simulate_get("/kv?map=m&key=k")
    assert (answer.status_code, answer.json) == (200, "v")
    assert web.simulate_delete("/kv?m=m&k=k").text == "null"
    assert web.simulate_get("/kv?m=m&k=k").status_code == 404
    assert node.maps == {}


def test_legacy_short_names_and_defaults(web: Any, node: Any) -> None:
    web.simulate_post("/kv?m=&k=&v=x")
    assert node._kv_get("default", "default")[0] == "x"
    assert web.simulate_get("/kv").json == "x"


@pytest.mark.parametrize(
    ("body", "content_type", "stored"),
    [
        (b"plain", "application/octet-stream", "plain"),
        ("grün".encode(), None, "grün"),
        (b'{"a": 1}', "application/json", {"a": 1}),
        (b"", None, ""),
    ],
)
def test_legacy_value_may_be_the_body(
    web: Any, node: Any, body: bytes, content_type: str | None, stored: object
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert web.simulate_post("/kv?k=a", body=body, headers=headers).status_code == 200
    assert node._kv_get("default", "a")[0] == stored


def test_legacy_answers_name_the_node(web: Any) -> None:
    for answer in (web.simulate_post("/kv?v=1"), web.simulate_get("/kv?k=missing")):
        assert answer.headers["braft-id"] == "ksuid"
        assert answer.headers["braft-ip"] == "127.0.0.1"
        assert answer.headers["braft-host"] == "h?st"


def test_legacy_missing_key_is_a_problem(web: Any) -> None:
    answer = web.simulate_get("/kv?map=m&key=k")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["detail"] == "map 'm' has no key 'k'"


def test_legacy_bytes_read_as_base64(web: Any, node: Any) -> None:
    node._kv_put("default", "b", b"\x00\xff")
    assert web.simulate_get("/kv?k=b").json == "AP8="


@pytest.mark.parametrize("value", [None, True, -1, 1.5, "text", [1, {"a": None}], {"ä": "ö"}])
def test_json_values_keep_their_kind(web: Any, value: object) -> None:
    put = web.simulate_put("/v1/kv/m/k", json=value)
    assert (put.status_code, put.json) == (200, {"revision": 1})
    got = web.simulate_get("/v1/kv/m/k")
    assert (got.json, got.headers["etag"]) == (value, '"1"')


def test_raw_bytes_come_back_as_they_were(web: Any) -> None:
    raw = bytes(range(256))
    web.simulate_put("/v1/kv/m/k", body=raw)
    got = web.simulate_get("/v1/kv/m/k")
    assert (got.content, got.headers["content-type"]) == (raw, "application/octet-stream")
    assert web.simulate_get("/v1/kv/m").json["base64"] == ["k"]


def _strictly(text: str) -> Any:
    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} is not JSON: {text}")

    return json.loads(text, parse_constant=refuse)


def test_a_number_that_json_lacks_spoils_neither_its_key_nor_its_map(web: Any, node: Any) -> None:
    for key, number in (("nan", math.nan), ("inf", math.inf), ("deep", [{"a": -math.inf}])):
        node._kv_put("m", key, number)
    node._kv_put("m", "fine", 1.5)
    node._kv_put("m", "raw", {"b": b"\x00\xff"})
    shown = {"nan": "NaN", "inf": "Infinity", "deep": [{"a": "-Infinity"}]}
    for key, form in shown.items():
        assert _strictly(web.simulate_get(f"/v1/kv/m/{key}").text) == form
        assert _strictly(web.simulate_get(f"/kv?m=m&k={key}").text) == form
    assert _strictly(web.simulate_get("/v1/kv/m").text)["items"] == shown | {
        "fine": 1.5,
        "raw": {"b": "AP8="},
    }
    node.items = {"job": {"limit": math.inf}}
    assert _strictly(web.simulate_get("/distribute/server-1").text) == {
        "job": {"limit": "Infinity"}
    }


def test_null_empty_text_empty_bytes_and_nothing_are_four_things(web: Any, node: Any) -> None:
    as_json, as_text = ({"Content-Type": kind} for kind in ("application/json", "text/plain"))
    web.simulate_put("/v1/kv/m/null", body="null", headers=as_json)
    web.simulate_put("/v1/kv/m/text", body="", headers=as_text)
    web.simulate_put("/v1/kv/m/bytes", body=b"")
    web.simulate_post("/kv?m=m&k=old", body="null", headers=as_json)
    stored = {key: value for key, (value, _) in node.maps["m"].items()}
    assert stored == {"null": None, "text": "", "bytes": b"", "old": None}
    got = {key: web.simulate_get(f"/v1/kv/m/{key}") for key in (*stored, "missing")}
    assert [got[key].text for key in ("null", "text", "bytes", "old")] == ["null", '""', "", "null"]
    assert got["bytes"].headers["content-type"] == "application/octet-stream"
    assert [got[key].status_code for key in got] == [200, 200, 200, 200, 404]
    listed = web.simulate_get("/v1/kv/m").json
    assert listed["items"] == {"null": None, "text": "", "bytes": "", "old": None}
    assert listed["base64"] == ["bytes"]
    assert web.simulate_get("/kv?m=m&k=null").text == "null"


def test_text_is_stored_as_text(web: Any, node: Any) -> None:
    web.simulate_put("/v1/kv/m/k", body="ä", headers={"Content-Type": "text/plain; charset=utf-8"})
    assert node._kv_get("m", "k")[0] == "ä"
    bad = web.simulate_put("/v1/kv/m/k", body=b"\xff", headers={"Content-Type": "text/plain"})
    assert bad.status_code == 400


@pytest.mark.parametrize("key", ["a/b/c", "a%2Fb", "%20", "sm%C3%B8r", "a/", "/a"])
def test_keys_may_hold_slashes_and_anything_else(web: Any, node: Any, key: str) -> None:
    assert web.simulate_put(f"/v1/kv/m/{key}", json=1).status_code == 200
    assert web.simulate_get(f"/v1/kv/m/{key}").json == 1
    assert len(node.maps["m"]) == 1


def test_listing_maps_and_keys(web: Any, node: Any) -> None:
    node._kv_put("m", "a", 1)
    node._kv_put("n", "b", b"raw")
    assert web.simulate_get("/v1/kv").json == {"maps": ["m", "n"]}
    assert web.simulate_get("/v1/kv/m").json == {"map": "m", "items": {"a": 1}, "base64": []}
    assert web.simulate_get("/v1/kv/n").json["items"] == {"b": "cmF3"}
    assert web.simulate_get("/v1/kv/none").status_code == 404


def test_delete_tells_whether_there_was_something(web: Any, node: Any) -> None:
    node._kv_put("m", "k", 1)
    assert web.simulate_delete("/v1/kv/m/k").json == {"deleted": True}
    assert web.simulate_delete("/v1/kv/m/k").json == {"deleted": False}


@pytest.mark.parametrize(
    ("header", "tags", "status"),
    [
        ("If-Match", '"1"', 200),
        ("If-Match", '"7"', 412),
        ("If-Match", "*", 200),
        ("If-Match", '"7", "1"', 200),
        ("If-Match", '"7", "8"', 412),
        ("If-None-Match", "*", 412),
        ("If-None-Match", '"7"', 200),
        ("If-None-Match", '"1"', 412),
        ("If-Match", "1", 400),
        ("If-Match", f'"{"9" * 5000}"', 400),
        ("If-Match", 'W/"1"', 400),
    ],
)
def test_conditions_of_a_write(web: Any, node: Any, header: str, tags: str, status: int) -> None:
    node._kv_put("m", "k", "old")
    answer = web.simulate_put("/v1/kv/m/k", json="new", headers={header: tags})
    assert answer.status_code == status
    assert node._kv_get("m", "k")[0] == ("new" if status == 200 else "old")


def test_conditions_on_a_key_that_is_not_there(web: Any) -> None:
    assert web.simulate_put("/v1/kv/m/k", json=1, headers={"If-Match": "*"}).status_code == 412
    created = web.simulate_put("/v1/kv/m/k", json=1, headers={"If-None-Match": "*"})
    assert created.status_code == 200


def test_a_condition_is_checked_when_the_command_is_applied(web: Any, node: Any) -> None:
    """Several tags are looked up first; a write in between still makes the condition fail."""
    node._kv_put("m", "k", "old")

    def overtake() -> None:
        if node.calls[-1][0] == "execute":
            node._kv_put("m", "k", "overtaken")

    node.before_answer = overtake
    answer = web.simulate_put("/v1/kv/m/k", json="new", headers={"If-Match": '"1", "9"'})
    assert answer.status_code == 412
    assert node._kv_get("m", "k")[0] == "overtaken"


def test_a_delete_may_have_a_condition(web: Any, node: Any) -> None:
    node._kv_put("m", "k", 1)
    assert web.simulate_delete("/v1/kv/m/k", headers={"If-Match": '"9"'}).status_code == 412
    assert node._kv_get("m", "k") == [1, 1]
    assert web.simulate_delete("/v1/kv/m/k", headers={"If-Match": '"1"'}).json == {"deleted": True}


def test_two_conditions_at_once_are_refused(web: Any, node: Any) -> None:
    both = {"If-Match": '"1"', "If-None-Match": "*"}
    assert web.simulate_put("/v1/kv/m/k", json=1, headers=both).status_code == 400
    assert node.calls == []


def test_a_read_of_a_known_revision_is_not_modified(web: Any, node: Any) -> None:
    node._kv_put("m", "k", 1)
    answer = web.simulate_get("/v1/kv/m/k", headers={"If-None-Match": '"1"'})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')
    assert web.simulate_get("/v1/kv/m/k", headers={"If-None-Match": '"2"'}).status_code == 200


@pytest.mark.parametrize(
    ("asked", "given"),
    [("linearizable", "linearizable"), ("lease", "lease"), ("stale",) * 2],
)
def test_consistency_reaches_the_node(web: Any, node: Any, asked: str, given: str) -> None:
    web.simulate_get(f"/v1/kv/m/k?consistency={asked}&timeout=2.5")
    assert node.calls == [("query", "kv", "get", "m", "k", given, 2.5)]


def test_a_stale_answer_says_how_old_it_may_be(web: Any, node: Any) -> None:
    web.simulate_put("/v1/kv/m/k", body="1")
    answer = web.simulate_get("/v1/kv/m/k?consistency=stale&max_staleness=2")
    assert answer.status_code == 200
    assert 1.5 <= float(answer.headers["braft-staleness"]) < 20
    assert "braft-staleness" not in web.simulate_get("/v1/kv/m/k").headers
    refused = web.simulate_get("/v1/kv/m/k?consistency=stale&max_staleness=1")
    assert (refused.status_code, refused.json["code"]) == (503, "too_stale")


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/kv/m/k?consistency=eventual", "consistency"),
        ("/v1/kv/m/k?max_staleness=1", "max_staleness"),
        ("/v1/kv/m/k?consistency=stale&max_staleness=x", "max_staleness"),
        ("/v1/kv/m/k?timeout=soon", "timeout"),
        ("/v1/kv/m/k?timeout=0", "timeout"),
        ("/v1/kv/m/k?timeout=-1", "timeout"),
        ("/kv?k=k&timeout=-1", "timeout"),
        ("/v1/kv/m/k?timeout=nan", "timeout"),
        ("/v1/kv/m/k?timeout=61", "timeout"),
    ],
)
def test_bad_input_names_parameter_value_and_what_is_accepted(
    web: Any, node: Any, path: str, parameter: str
) -> None:
    problem = web.simulate_get(path)
    assert problem.status_code == 400
    assert parameter in problem.json["data"]["parameter"]
    assert problem.json["data"]["accepted"] in problem.json["detail"]
    assert problem.json["data"]["value"] in problem.json["detail"]
    assert node.calls == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"NaN",
        b"1e999",
        b'"\\ud800"',
        b'{"\\ud800": 1}',
        b"18446744073709551616",
        b"9" * 5000,
        b'{"a": 1, "a": 2}',
        '"UTF-16"'.encode("utf-16"),
        b"[" * 65 + b"]" * 65,
        b"[" * 200_000,
        b"\xff",
    ],
)
def test_json_that_cannot_be_replicated_is_refused(web: Any, node: Any, body: bytes) -> None:
    answer = web.simulate_put("/v1/kv/m/k", body=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert len(answer.content) < 2000
    assert node.calls == []


def test_a_list_comes_in_pages(web: Any, node: Any) -> None:
    for key in "dbac":
        node._kv_put("m", key, key.encode() if key == "b" else key)
    first = web.simulate_get("/v1/kv/m?limit=2")
    items = {"a": "a", "b": "Yg=="}
    assert first.json == {"next": "b", "map": "m", "items": items, "base64": ["b"]}
    assert first.text.startswith('{"next": "b"')
    rest = web.simulate_get("/v1/kv/m?limit=2&after=b")
    assert rest.json == {"map": "m", "items": {"c": "c", "d": "d"}, "base64": []}
    assert web.simulate_get("/v1/kv/m?after=z").json["items"] == {}
    for name in ("n", "o"):
        node._kv_put(name, "k", 1)
    assert web.simulate_get("/v1/kv?limit=2").json == {"next": "n", "maps": ["m", "n"]}
    assert web.simulate_get("/v1/kv?limit=2&after=n").json == {"maps": ["o"]}


def test_a_list_has_a_limit_where_none_is_named(web: Any, node: Any) -> None:
    node._kv_put("m", "k", 1)
    web.simulate_get("/v1/kv/m?consistency=stale")
    web.simulate_get("/v1/kv")
    assert node.calls[-2][:5] == ("query", "kv", "page", "m", "")
    assert [call[-3] for call in node.calls[-2:]] == [10_000, 10_000]


@pytest.mark.parametrize("path", ["/v1/kv/m", "/v1/kv"])
@pytest.mark.parametrize(
    "limit", ["0", "-1", "100001", "x", "1.5", "1e3", "", "+5", "1_0", "\u0663", "9" * 5000]
)
def test_a_limit_that_is_none_is_named(web: Any, node: Any, path: str, limit: str) -> None:
    node._kv_put("m", "k", 1)
    answer = web.simulate_get(path, params={"limit": limit})
    assert answer.status_code == 400
    assert "query parameter limit" in answer.json["detail"]
    assert "a number from 1 to 100000" in answer.json["detail"]


def test_an_answer_of_many_values_is_whole(web: Any, node: Any) -> None:
    items = {f"k{number:05d}": [number, {"a": None}] for number in range(9_000)}
    for key, value in items.items():
        node._kv_put("m", key, value)
    assert web.simulate_get("/v1/kv/m").json == {"map": "m", "items": items, "base64": []}


def test_a_body_of_more_values_than_a_command_carries_is_not_parsed(
    web: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 8 MiB hold 2.7 million lists. Creating them blocked all other threads for two seconds.
    monkeypatch.setattr(strict_json, "loads", lambda body: pytest.fail("it was parsed"))
    for body in (b"[" + b"[]," * 1_600_000 + b"[]]", b"[" + b"1," * 1_600_000 + b"1]"):
        headers = {"Content-Type": "application/json"}
        answer = web.simulate_put("/v1/kv/m/k", body=body, headers=headers)
        assert answer.status_code == 413
        assert "values, accepted are at most 1500000" in answer.json["detail"]
    assert not node.maps
