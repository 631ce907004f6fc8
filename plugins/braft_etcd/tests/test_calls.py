"""The calls of a node, by grpcio as the client: what they answer, and etcd's error texts."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from braft_core import Node
from braft_core.auth_failures import DELAY
from braft_etcd.backend import member_id
from braft_etcd.options import EtcdOptions
from braft_etcd.wire import Values

_numbers = itertools.count()


@pytest.fixture
def prefix() -> bytes:
    """Keys of a test of its own; the node is shared."""
    return b"test-%d/" % next(_numbers)


def refused(call: Callable[[], object]) -> tuple[int, str]:
    """Return code and text of the error of a call."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code().value[0], error.details()


def _end(prefix: bytes) -> bytes:
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def test_a_put_is_read_back_field_by_field(client: Any, served: Any, prefix: bytes) -> None:
    node, _ = served
    first = client.call("KV/Put", key=prefix, value=b"1")["header"]["revision"]
    answer = client.call("KV/Put", key=prefix, value=b"2", prev_kv=True)
    before = {
        "key": prefix,
        "create_revision": first,
        "mod_revision": first,
        "version": 1,
        "value": b"1",
        "lease": 0,
    }
    assert answer["prev_kv"] == before
    for serializable in (False, True):
        found = client.call("KV/Range", key=prefix, serializable=serializable)
        assert found["header"] == {
            "cluster_id": member_id(node.details()["clusterID"]),
            "member_id": member_id(node.server_id),
            "revision": first + 1,
            "raft_term": node.details()["term"],
        }
        now = before | {"value": b"2", "mod_revision": first + 1, "version": 2}
        assert (found["kvs"], found["count"], found["more"]) == ([now], 1, False)
    old = client.call("KV/Range", key=prefix, revision=first)
    assert old["kvs"] == [before]
    assert client.call("KV/Range", key=prefix, keys_only=True)["kvs"][0]["value"] == b""


def test_ranges_are_sorted_limited_filtered_and_counted(client: Any, prefix: bytes) -> None:
    revisions = [
        client.call("KV/Put", key=prefix + key, value=value)["header"]["revision"]
        for key, value in ((b"a", b"3"), (b"b", b"1"), (b"c", b"2"))
    ]

    def keys(**fields: Any) -> tuple[bytes, bool, int]:
        found = client.call("KV/Range", key=prefix, range_end=_end(prefix), **fields)
        shown = b"".join(kv["key"][-1:] for kv in found["kvs"])
        return shown, found["more"], found["count"]

    assert keys() == (b"abc", False, 3)
    assert keys(limit=2) == (b"ab", True, 3)
    assert keys(sort_order=2) == (b"cba", False, 3)
    assert keys(sort_target=4) == (b"bca", False, 3)
    assert keys(sort_target=4, limit=1) == (b"b", True, 3)
    assert keys(min_mod_revision=revisions[1]) == (b"bc", False, 3)
    assert keys(count_only=True) == (b"", False, 3)
    assert client.call("KV/Range", key=prefix + b"c", range_end=prefix + b"a")["count"] == 0


def test_deletes_count_and_show_what_was_there(client: Any, prefix: bytes) -> None:
    for key in (b"a", b"b"):
        revision = client.call("KV/Put", key=prefix + key, value=key)["header"]["revision"]
    found = client.call("KV/DeleteRange", key=prefix, range_end=_end(prefix), prev_kv=True)
    assert [kv["value"] for kv in found["prev_kvs"]] == [b"a", b"b"]
    assert (found["deleted"], found["header"]["revision"]) == (2, revision + 1)
    again = client.call("KV/DeleteRange", key=prefix, range_end=_end(prefix))
    assert (again["deleted"], again["header"]["revision"]) == (0, revision + 1)


def test_a_transaction_answers_each_operation(client: Any, prefix: bytes) -> None:
    before = client.call("KV/Range", key=prefix)["header"]["revision"]
    inner = {
        "compare": [{"key": prefix, "target": 0, "result": 0, "version": 1}],
        "failure": [{"request_put": {"key": prefix + b"b", "value": b"2"}}],
    }
    found = client.call(
        "KV/Txn",
        compare=[{"key": prefix, "target": 1, "result": 0, "create_revision": 0}],
        success=[
            {"request_range": {"key": prefix}},
            {"request_put": {"key": prefix, "value": b"1", "prev_kv": True}},
            {"request_range": {"key": prefix}},
            {"request_txn": inner},
            {"request_delete_range": {"key": prefix + b"c", "range_end": prefix + b"d"}},
        ],
    )
    assert found["succeeded"] is True
    assert found["header"]["revision"] == before + 1
    first, put, second, nested, deleted = found["responses"]
    assert first["response_range"]["count"] == 0
    assert first["response_range"]["header"]["revision"] == before
    assert put["response_put"]["header"] == {
        "revision": before + 1,
        "cluster_id": 0,
        "member_id": 0,
        "raft_term": 0,
    }
    assert second["response_range"]["kvs"][0]["value"] == b"1"
    assert nested["response_txn"]["succeeded"] is False
    assert nested["response_txn"]["responses"][0]["response_put"]["prev_kv"] is None
    assert deleted["response_delete_range"]["deleted"] == 0
    assert client.call("KV/Range", key=prefix + b"b")["kvs"][0]["mod_revision"] == before + 1


def test_texts_of_errors_are_etcds(client: Any, prefix: bytes) -> None:
    put = {"request_put": {"key": prefix, "value": b"1"}}
    expected = {
        (3, "key is not provided"): lambda: client.call("KV/Put"),
        (3, "key not found"): lambda: client.call("KV/Put", key=prefix, ignore_value=True),
        (5, "requested lease not found"): lambda: client.call("KV/Put", key=prefix, lease=77),
        (3, "duplicate key given in txn request"): lambda: client.call(
            "KV/Txn", success=[put, put]
        ),
        (11, "mvcc: required revision is a future revision"): lambda: client.call(
            "KV/Range", key=prefix, revision=1 << 40
        ),
        (3, "request is too large"): lambda: client.call(
            "KV/Put", key=prefix, value=bytes(2_000_000)
        ),
        (11, "too large lease TTL"): lambda: client.call("Lease/LeaseGrant", TTL=9_000_000_001),
        (9, "lease already exists"): lambda: [
            client.call("Lease/LeaseGrant", TTL=60, ID=4711) for _ in range(2)
        ],
        (5, "member not found"): lambda: client.call("Cluster/MemberRemove", ID=1),
        (9, "bad leader transferee"): lambda: client.call("Maintenance/MoveLeader", targetID=1),
        (9, "authentication is not enabled"): lambda: client.call(
            "Auth/Authenticate", name="root", password="x"
        ),
    }
    for (code, text), call in expected.items():
        assert refused(call) == (code, f"etcdserver: {text}")


def test_what_is_no_message_and_what_braft_lacks_is_said(client: Any) -> None:
    wrong = client._channel.unary_unary("/etcdserverpb.KV/Range")
    code, text = refused(lambda: wrong(b"\xff", timeout=60))
    assert (code, text.partition(":")[0]) == (3, "not a etcdserverpb.RangeRequest")
    code, text = refused(lambda: client.call("Cluster/MemberAdd", peerURLs=["http://a:1"]))
    assert (code, text.partition(":")[2].partition(":")[0]) == (
        12,
        " MemberAdd is not supported by braft",
    )
    request = {"request": "AuthUserAddRequest", "response": "CompactionResponse"}
    code, text = refused(lambda: client.call("Auth/UserAdd", **request, name="a"))
    assert (code, "BRAFT_TOKEN" in text) == (12, True)


def test_compaction_forgets_and_says_so(client: Any, prefix: bytes) -> None:
    revision = client.call("KV/Put", key=prefix)["header"]["revision"]
    client.call("KV/Put", key=prefix)
    answers = {"request": "CompactionRequest", "response": "CompactionResponse"}
    found = client.call("KV/Compact", **answers, revision=revision + 1)
    assert found["header"]["revision"] == revision + 1
    compacted = (11, "etcdserver: mvcc: required revision has been compacted")
    assert refused(lambda: client.call("KV/Range", key=prefix, revision=revision)) == compacted
    assert refused(lambda: client.call("KV/Compact", **answers, revision=revision)) == compacted
    assert refused(lambda: client.call("KV/Compact", **answers, revision=-1)) == compacted


def test_a_lease_lives_from_grant_to_revoke(client: Any, prefix: bytes) -> None:
    granted = client.call("Lease/LeaseGrant", TTL=60)
    lease = granted["ID"]
    assert (granted["TTL"], lease > 0) == (60, True)
    client.call("KV/Put", key=prefix, lease=lease)
    assert client.call("KV/Range", key=prefix)["kvs"][0]["lease"] == lease
    found = client.call("Lease/LeaseTimeToLive", ID=lease, keys=True)
    assert (found["grantedTTL"], found["keys"]) == (60, [prefix])
    assert 50 < found["TTL"] <= 60
    assert {"ID": lease} in client.call("Lease/LeaseLeases")["leases"]
    wanted = [{"ID": lease}, {"ID": 99}, {"ID": -1}]
    answers = list(client.stream("Lease/LeaseKeepAlive", iter(wanted)))
    assert [(each["ID"], each["TTL"]) for each in answers] == [(lease, 60), (99, 0), (-1, 0)]
    many = [{"ID": lease}] * 500
    answers = list(client.stream("Lease/LeaseKeepAlive", iter(many)))
    assert [each["TTL"] for each in answers] == [60] * 500
    client.call("Lease/LeaseRevoke", ID=lease)
    assert client.call("KV/Range", key=prefix)["count"] == 0
    assert client.call("Lease/LeaseTimeToLive", ID=lease)["TTL"] == -1
    gone = (5, "etcdserver: requested lease not found")
    assert refused(lambda: client.call("Lease/LeaseRevoke", ID=lease)) == gone
    assert client.call("Lease/LeaseGrant", TTL=0)["TTL"] == 2, "the shortest that is granted"


def test_members_are_listed_with_their_urls(client: Any, served: Any) -> None:
    node, address = served
    for linearizable in (False, True):
        (member,) = client.call("Cluster/MemberList", linearizable=linearizable)["members"]
        assert member["ID"] == member_id(node.server_id)
        assert member["peerURLs"] == [f"http://{node.address}"]
        assert member["clientURLs"] == [f"http://{address}"]
        assert (bool(member["name"]), member["isLearner"]) == (True, False)
    code, text = refused(lambda: client.call("Cluster/MemberPromote", ID=member["ID"]))
    assert (code, text) == (9, "etcdserver: can only promote a learner member")


def test_status_hash_and_alarms(client: Any, served: Any, prefix: bytes) -> None:
    node, _ = served
    client.call("KV/Put", key=prefix)
    status = client.call("Maintenance/Status")
    own = member_id(node.server_id)
    assert (status["version"], status["leader"], status["isLearner"]) == ("3.6.0", own, False)
    assert status["raftTerm"] == node.details()["term"]
    assert status["dbSize"] > 0
    assert status["raftIndex"] >= status["raftAppliedIndex"] > 0

    one = client.call("Maintenance/HashKV")
    assert client.call("Maintenance/HashKV", revision=one["hash_revision"]) == one
    assert client.call("Maintenance/Hash")["hash"] == one["hash"]
    client.call("Maintenance/Defragment")

    raised = client.call("Maintenance/Alarm", action=1, memberID=5, alarm=1)
    assert raised["alarms"] == [{"memberID": 5, "alarm": 1}]
    full = (8, "etcdserver: mvcc: database space exceeded")
    assert refused(lambda: client.call("KV/Put", key=prefix)) == full
    assert client.call("Maintenance/Alarm")["alarms"] == raised["alarms"]
    assert client.call("Maintenance/Status")["errors"] == ["memberID:5 alarm:NOSPACE"]
    lowered = client.call("Maintenance/Alarm", action=2, memberID=0, alarm=0)
    assert lowered["alarms"] == raised["alarms"]
    client.call("KV/Put", key=prefix)


def test_a_leader_hands_over_to_itself(client: Any, served: Any) -> None:
    client.call("Maintenance/MoveLeader", targetID=member_id(served[0].server_id))


_TOKENS = "read:" + "r" * 16 + "," + "a" * 16


@pytest.fixture(scope="module")
def guarded(serve: Callable[..., tuple[Node, str]], client: Any) -> Any:
    """Return a client of a node with tokens."""
    return type(client)(serve(token=_TOKENS)[1])


def _signed(guarded: Any, password: str) -> tuple[tuple[str, str], ...]:
    answer = guarded.call("Auth/Authenticate", name="any", password=password)
    return (("token", answer["token"]),)


def test_calls_need_a_token_whose_role_suffices(guarded: Any) -> None:
    assert guarded.call("Auth/AuthStatus")["enabled"] is True
    assert refused(lambda: guarded.call("KV/Range", key=b"a")) == (
        3,
        "etcdserver: user name is empty",
    )
    wrong = (3, "etcdserver: authentication failed, invalid user ID or password")
    assert refused(lambda: _signed(guarded, "b" * 16)) == wrong
    admin, reader = _signed(guarded, "a" * 16), _signed(guarded, "r" * 16)
    guarded.call("KV/Put", key=b"a", metadata=admin)
    assert guarded.call("KV/Range", key=b"a", metadata=reader)["count"] == 1
    denied = (7, "etcdserver: permission denied")
    assert refused(lambda: guarded.call("KV/Put", key=b"a", metadata=reader)) == denied
    assert guarded.call("Maintenance/Alarm", metadata=reader)["alarms"] == []
    assert refused(lambda: guarded.call("Maintenance/Alarm", action=2, metadata=reader)) == denied
    bearer = (("authorization", "Bearer " + "a" * 16),)
    guarded.call("KV/Put", key=b"a", metadata=bearer)


@pytest.mark.parametrize(
    "attempt",
    [
        {"path": "KV/Range", "key": b"a"},
        {"path": "KV/Range", "key": b"a", "metadata": (("token", "x"),)},
        {"path": "Auth/Authenticate", "name": "root", "password": "x"},
    ],
    ids=["no token", "wrong token", "wrong password"],
)
def test_who_is_refused_is_logged_and_answered_late(
    serve: Callable[..., tuple[Node, str]],
    client: Any,
    caplog: pytest.LogCaptureFixture,
    attempt: dict[str, Any],
) -> None:
    outsider = type(client)(serve(token=_TOKENS)[1])
    began = time.monotonic()
    refused(lambda: outsider.call(**attempt))
    assert time.monotonic() - began >= DELAY
    assert "the etcd API: refused 1 attempt(s) of 127.0.0.1" in caplog.text
    outsider.close()


def test_what_needs_the_role_admin_is_audited(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "braft.audit"):
        client.call("Maintenance/Status")
        client.call("Maintenance/Defragment")
        refused(lambda: client.call("Cluster/MemberRemove", ID=1))
    (line,) = [each.getMessage() for each in caplog.records if each.name == "braft.audit"]
    assert line.startswith("/etcdserverpb.Maintenance/Defragment by='127.0.0.1:")


@pytest.mark.parametrize("change", [lambda t: t[:-2] + "AA", lambda t: "x", lambda t: t + "%"])
def test_a_token_that_was_changed_is_refused(guarded: Any, change: Callable[[str], str]) -> None:
    ((name, token),) = _signed(guarded, "a" * 16)
    forged = ((name, change(token)),)
    assert refused(lambda: guarded.call("KV/Range", key=b"a", metadata=forged)) == (
        16,
        "etcdserver: invalid auth token",
    )


@pytest.fixture(scope="module")
def behind_grpcio(serve: Callable[..., tuple[Node, str]], client: Any) -> Any:
    """Return a client of a node whose API is served by grpcio."""
    return type(client)(serve(EtcdOptions(server="grpcio", listen="127.0.0.1:0"))[1])


def test_grpcio_serves_the_same_calls(behind_grpcio: Any) -> None:
    behind_grpcio.call("KV/Put", key=b"a", value=b"1")
    found: Values = behind_grpcio.call("KV/Range", key=b"a")
    assert found["kvs"][0]["value"] == b"1"
    assert refused(lambda: behind_grpcio.call("KV/Put")) == (3, "etcdserver: key is not provided")
    lease = behind_grpcio.call("Lease/LeaseGrant", TTL=60)["ID"]
    (kept,) = behind_grpcio.stream("Lease/LeaseKeepAlive", iter([{"ID": lease}]))
    assert kept["TTL"] == 60
