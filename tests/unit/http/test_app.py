"""Routes other than ``/kv``: status, members, leader; authorization and problems."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from falcon.asgi import Request, Response
from pydantic import SecretStr

from braft_core import errors
from braft_core.abc import Member
from braft_core.http.problems import status_of

JSON = {"Content-Type": "application/json"}


def test_raft_is_the_node_s_view(web: Any, node: Any) -> None:
    assert web.simulate_get("/raft?timeout=1").json == node.cluster_view()
    assert node.calls[0] == ("cluster_view", 1.0)


def test_plugins_media_is_as_strict_as_ours(node: Any, make_client: Any) -> None:
    class Mirror:
        async def on_post(self, req: Request, resp: Response) -> None:
            resp.media = {"got": await req.get_media(), "number": math.nan, "raw": b"\x00\xff"}

    mirror = make_client(node, lambda app: app.add_route("/mirror", Mirror()))
    answer = mirror.simulate_post("/mirror", json={"a": None})
    assert answer.text == '{"got": {"a": null}, "number": "NaN", "raw": "AP8="}'
    for body in ("NaN", '{"a": 1, "a": 2}', "[" * 100_000):
        assert mirror.simulate_post("/mirror", body=body, headers=JSON).status_code == 400


def test_facts_of_an_error_may_be_anything(web: Any, node: Any) -> None:
    node.fails = errors.Rejected("h\udcfcst", at=math.nan, who={"h\udcfcst": b"\xff"})
    answer = web.simulate_get("/v1/kv/m/k")
    assert (answer.status_code, answer.json["detail"]) == (422, "h\\udcfcst")
    assert '"at": "NaN", "who": {"h\\\\udcfcst": "/w=="}' in answer.text


def test_health_does_not_depend_on_the_cluster(web: Any, node: Any) -> None:
    node.readiness = (False, "waiting for 2 of 3 nodes: 10.0.0.2, 10.0.0.3")
    assert web.simulate_get("/healthz").json == {"status": "ok"}
    answer = web.simulate_get("/readyz")
    assert answer.status_code == 503
    assert answer.json["detail"] == "waiting for 2 of 3 nodes: 10.0.0.2, 10.0.0.3"
    node.readiness = (True, "")
    assert web.simulate_get("/readyz").status_code == 200
    assert web.simulate_head("/readyz").status_code == 200


def test_what_is_wrong_with_a_node_that_serves_is_noted(web: Any, node: Any) -> None:
    assert web.simulate_get("/readyz").json == {"status": "ready"}
    node.trouble = {"rival cluster": "two clusters of one name have met"}
    answer = web.simulate_get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"status": "ready", "notes": node.trouble})
    node.readiness = (False, "no leader")
    answer = web.simulate_get("/readyz")
    assert (answer.status_code, answer.json["data"]) == (503, {"notes": node.trouble})


def test_members(web: Any, node: Any) -> None:
    assert web.simulate_get("/v1/members").json == {"members": node.rows}
    added = {"id": "s=3", "address": "[::1]:17000", "voter": False}
    answer = web.simulate_post("/v1/members?timeout=3", json=added)
    assert answer.json["members"][-1]["suffrage"] == "Nonvoter"
    assert node.calls[-1] == ("add_member", "s=3", "[::1]:17000", False, 3.0)
    node.rows[-1]["id"] = "server-3"
    assert web.simulate_get("/v1/members/server-3").json["address"] == "[::1]:17000"
    promoted = web.simulate_post("/v1/members/server-3/promote").json["members"]
    assert promoted[-1]["suffrage"] == "Voter"
    assert len(web.simulate_delete("/v1/members/server-3").json["members"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"id": "x"}',
        b'{"id": "", "address": "h:1"}',
        b'{"id": "x", "address": "h"}',
        b'{"id": "x", "address": "h:0"}',
        b'{"id": "x", "address": ":1"}',
        b'{"id": "x", "address": "unix:/run/x"}',
        b'{"id": "x\\n", "address": "h:1"}',
        b'{"id": "x", "address": "h:1", "voter": "yes"}',
    ],
)
def test_a_member_must_be_fully_described(web: Any, node: Any, body: bytes) -> None:
    answer = web.simulate_post("/v1/members", body=body, headers=JSON)
    assert (answer.status_code, node.calls) == (400, [])


def test_unknown_members_are_not_found(web: Any, node: Any) -> None:
    assert web.simulate_get("/v1/members/x").status_code == 404
    assert web.simulate_delete("/v1/members/x").status_code == 404
    assert web.simulate_post("/v1/members/x/promote").status_code == 404
    assert {row["id"] for row in node.rows} == {"server-1", "server-2"}


def test_the_leader_says_whether_a_server_is_a_member(web: Any, node: Any) -> None:
    """This node lags behind and does not know the third member."""
    node.rows.append(
        {"id": "server-3", "address": "127.0.0.1:17000", "suffrage": "Voter", "leader": False}
    )
    known = node.rows[:2]
    node.members = lambda: [Member(**row) for row in known]
    assert web.simulate_delete("/v1/members/server-3").status_code == 200
    assert len(node.rows) == 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/members"),
        ("GET", "/v1/members/x"),
        ("DELETE", "/v1/members/x"),
        ("POST", "/v1/members/x/promote"),
    ],
)
def test_without_a_cluster_nothing_is_known_of_members(
    web: Any, node: Any, method: str, path: str
) -> None:
    node.rows = []
    node.fails = errors.NotReady("not ready: no cluster yet")
    answer = web.simulate_request(method, path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json["code"] == "not_ready"


def test_leader_and_its_transfer(web: Any, node: Any) -> None:
    assert web.simulate_get("/v1/leader").json == {"id": "server-1", "address": "127.0.0.1:15000"}
    moved = web.simulate_post("/v1/leader", json={"to": "server-2"})
    assert moved.json == {"id": "server-2", "address": "127.0.0.1:16000"}
    assert web.simulate_post("/v1/leader").status_code == 200
    assert [call[1] for call in node.calls] == ["server-2", ""]
    assert web.simulate_post("/v1/leader", json={"to": 1}).status_code == 400
    node.leader = None
    answer = web.simulate_get("/v1/leader")
    assert (answer.status_code, answer.json["code"]) == (503, "no_leader")


def test_items_are_distributed(web: Any) -> None:
    answer = web.simulate_post("/distribute", json=["a", "b", "c"])
    assert answer.json == {"server-1": ["a", "c"], "server-2": ["b"]}
    assert web.simulate_get("/distribute").json == answer.json
    assert web.simulate_get("/distribute/server-2").json == {"b": None}
    assert web.simulate_get("/distribute/server-9").json == {}
    web.simulate_post("/distribute", json={"a": {"rank": 1}})
    assert web.simulate_get("/distribute/server-1").json == {"a": {"rank": 1}}


@pytest.mark.parametrize("items", [1, "a", None, [1], [["a"]]])
def test_items_must_be_texts(web: Any, node: Any, items: object) -> None:
    assert web.simulate_post("/distribute", json=items).status_code == 400
    assert node.calls == []


def test_a_token_guards_everything_but_the_health_checks(guarded: Any, make_client: Any) -> None:
    web = make_client(guarded)
    missing = web.simulate_get("/raft")
    assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer")
    assert web.simulate_get("/raft", headers={"Authorization": "Basic x"}).status_code == 401
    assert web.simulate_get("/raft", headers={"Authorization": "Bearer no"}).status_code == 403
    assert web.simulate_get("/nowhere").status_code == 401
    assert guarded.calls == []
    right = {"Authorization": "bearer sesame-sesame-sesame"}
    assert web.simulate_get("/raft", headers=right).status_code == 200
    assert web.simulate_get("/healthz").status_code == 200
    assert web.simulate_get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("role", "method", "path", "allowed"),
    [
        ("read", "GET", "/raft", True),
        ("read", "POST", "/kv?k=a&v=b", False),
        ("read", "DELETE", "/v1/members/x", False),
        ("read", "GET", "/v1/snapshots/snap-1", False),
        ("read", "GET", "/v1/%73napshots/snap-1", False),
        ("write", "POST", "/kv?k=a&v=b", True),
        ("write", "POST", "/v1/leader", False),
        ("write", "POST", "/v1/%6Cead%65r", False),
        ("write", "DELETE", "/v1/members/x", False),
        ("write", "POST", "/v1/snapshots", False),
        ("write", "GET", "/v1/snapshots/snap-1", False),
        ("admin", "POST", "/v1/snapshots", True),
    ],
)
def test_a_token_may_do_what_its_role_allows(
    guarded: Any, make_client: Any, role: str, method: str, path: str, allowed: bool
) -> None:
    tokens = {name: f"{name}-{name}-{name}-{name}" for name in ("admin", "write", "read")}
    text = ",".join(f"{name}:{secret}" for name, secret in tokens.items())
    guarded.settings.token = SecretStr(text)
    web = make_client(guarded)
    headers = {"Authorization": f"Bearer {tokens[role]}"}
    found = web.simulate_request(method, path, headers=headers).status_code
    assert (found != 403) is allowed
    if not allowed:
        assert guarded.calls == []


def test_unknown_path_and_wrong_method_are_problems(web: Any) -> None:
    unknown = web.simulate_get("/nowhere")
    assert (unknown.status_code, unknown.json["code"]) == (404, "not_found")
    wrong = web.simulate_patch("/kv")
    assert (wrong.status_code, wrong.json["code"]) == (405, "method_not_allowed")
    assert {"GET", "POST", "DELETE"} <= set(wrong.headers["allow"].split(", "))
    assert wrong.headers["content-type"] == "application/problem+json"


STATUS = {
    errors.NoLeader: 503,
    errors.NotReady: 503,
    errors.Stopped: 503,
    errors.ForkedProcess: 503,
    errors.NotLeader: 503,
    errors.Busy: 503,
    errors.TooLarge: 413,
    errors.InvalidRequest: 400,
    errors.InvalidArgument: 400,
    errors.AccessDenied: 502,
    errors.OutcomeUnknown: 504,
    errors.Conflict: 409,
    errors.CommandFailed: 422,
    errors.UnknownService: 404,
    errors.UnknownCommand: 404,
    errors.ConfigError: 400,
    errors.Unreachable: 502,
    errors.StorageFull: 507,
    errors.StorageCorrupt: 500,
    errors.InvariantViolation: 500,
}


@pytest.mark.parametrize("cls", STATUS, ids=lambda cls: cls.code)
def test_errors_of_the_node_become_problems(web: Any, node: Any, cls: Any) -> None:
    node.fails = cls("the sentence", fact=1)
    answer = web.simulate_post("/kv?v=1")
    assert answer.status_code == STATUS[cls]
    assert answer.json == {
        "type": f"urn:braft:error:{cls.code}",
        "title": cls.__name__,
        "status": STATUS[cls],
        "detail": "the sentence",
        "instance": "/kv",
        "code": cls.code,
        "data": {"fact": 1},
    }
    assert ("retry-after" in answer.headers) == (STATUS[cls] == 503)


def test_every_error_class_has_a_status() -> None:
    for name in errors.__all__:
        cls = getattr(errors, name)
        if isinstance(cls, type):
            assert 400 <= status_of(cls("x")) < 600
    assert status_of(errors.Conflict("x"), precondition=True) == 412
    assert status_of(errors.NoLeader("x"), precondition=True) == 503


def test_a_bug_is_a_problem_without_its_secrets(web: Any, node: Any, caplog: Any) -> None:
    node.fails = KeyError("secret")
    answer = web.simulate_post("/kv?v=1")
    assert (answer.status_code, answer.json["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "secret" in caplog.text


def test_facts_that_are_not_json_do_not_hide_the_error(web: Any, node: Any) -> None:
    node.fails = errors.Busy("busy", raw=b"\xff", where={1})
    assert web.simulate_post("/kv?v=1").status_code == 503


def test_plugins_add_routes_under_the_same_rules(guarded: Any, make_client: Any) -> None:
    class Resource:
        async def on_get(self, req: Any, resp: Any) -> None:
            raise errors.Conflict("plugin says no")

    web = make_client(guarded, lambda app: app.add_route("/plugins/x", Resource()))
    assert web.simulate_get("/plugins/x").status_code == 401
    right = {"Authorization": "Bearer sesame-sesame-sesame"}
    assert json.loads(web.simulate_get("/plugins/x", headers=right).text)["code"] == "conflict"


def test_a_resource_that_would_block_the_loop_is_refused_by_name(
    node: Any, make_client: Any
) -> None:
    class Old:
        def on_get(self, req: Any, resp: Any) -> None:
            """Answer from a plain function."""

    with pytest.raises(errors.PluginError, match=r"Old\.on_get of the route /plugins/old.*async"):
        make_client(node, lambda app: app.add_route("/plugins/old", Old()))


def test_a_parameter_that_nobody_reads_is_named(web: Any, node: Any) -> None:
    answer = web.simulate_get("/v1/kv/m?limits=1")
    assert answer.status_code == 400
    assert "'limits'" in answer.json["detail"]
    assert "after, consistency, limit, max_staleness, timeout" in answer.json["detail"]
    assert web.simulate_delete("/v1/members/x?force=1").status_code == 400
    # These do not wait, so they take no timeout.
    for path in ("/healthz", "/v1/members", "/v1/leader", "/v1/snapshots"):
        assert web.simulate_get(f"{path}?timeout=1").status_code == 400, path
    assert node.calls == []


@pytest.mark.parametrize("path", ["/raft", "/healthz", "/v1/kv", "/v1/members", "/v1/leader"])
def test_a_slash_at_the_end_and_head_change_nothing(web: Any, path: str) -> None:
    plain = web.simulate_get(path)
    assert web.simulate_get(f"{path}/").text == plain.text
    head = web.simulate_head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == plain.headers["content-length"]


def test_every_answer_says_that_it_is_no_page(web: Any) -> None:
    for answer in (web.simulate_get("/raft"), web.simulate_get("/nowhere")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({f"x-{n}": "1" for n in range(101)}, 431),
        ({"x": "1" * 33_000}, 431),
    ],
)
def test_a_head_has_a_limit(web: Any, headers: dict[str, str], status: int) -> None:
    answer = web.simulate_get("/raft", headers=headers)
    assert (answer.status_code, answer.json["status"]) == (status, status)
    assert web.simulate_get("/raft", query_string="m=" + "1" * 20_000).status_code == 414
