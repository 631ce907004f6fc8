"""The services Lock and Election: who has a turn, and what is left when a caller goes away."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from braft_core import Node
from braft_core.errors import NotAcquired
from braft_etcd.wire import Values
from braft_testing.processes import wait_for

_LOCK, _ELECTION = "v3lockpb.Lock", "v3electionpb.Election"
_numbers = itertools.count()


@pytest.fixture
def name() -> bytes:
    """Return a name for a test alone; the node is shared."""
    return b"recipe-%d" % next(_numbers)


def _lease(client: Any) -> int:
    lease: int = client.call("Lease/LeaseGrant", TTL=60)["ID"]
    return lease


def _keys(client: Any, name: bytes) -> list[bytes]:
    found = client.call("KV/Range", key=name + b"/", range_end=name + b"0")
    return [kv["key"] for kv in found["kvs"]]


def test_a_lock_has_one_holder_and_the_next_one_follows(client: Any, name: bytes) -> None:
    lease = _lease(client)
    first = client.call(f"{_LOCK}/Lock", name=name, lease=lease)["key"]
    assert first == name + b"/%x" % lease
    assert client.call(f"{_LOCK}/Lock", name=name, lease=lease)["key"] == first, "it has it"
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(client.call, f"{_LOCK}/Lock", name=name, lease=_lease(client))
        wait_for(lambda: len(_keys(client, name)) == 2, what="another one waits")
        assert not second.done()
        client.call(f"{_LOCK}/Unlock", key=first)
        assert second.result(60)["key"] in _keys(client, name)


def test_a_lock_without_a_lease_gets_one(client: Any, name: bytes) -> None:
    key = client.call(f"{_LOCK}/Lock", name=name)["key"]
    assert client.call("KV/Range", key=key)["kvs"][0]["lease"] > 0


def test_a_caller_that_gives_up_leaves_no_key(client: Any, name: bytes) -> None:
    held = client.call(f"{_LOCK}/Lock", name=name, lease=_lease(client))["key"]
    waiting = client.begin(f"{_LOCK}/Lock", name=name, lease=_lease(client))
    wait_for(lambda: len(_keys(client, name)) == 2, what="another one waits")
    waiting.cancel()
    wait_for(lambda: _keys(client, name) == [held], what="only the holder's key is left")


def test_the_end_of_a_lease_frees_the_lock_and_tells_who_waits(client: Any, name: bytes) -> None:
    lease, waiting = _lease(client), _lease(client)
    client.call(f"{_LOCK}/Lock", name=name, lease=lease)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(client.call, f"{_LOCK}/Lock", name=name, lease=waiting)
        wait_for(lambda: len(_keys(client, name)) == 2, what="another one waits")
        client.call("Lease/LeaseRevoke", ID=waiting)  # its key is gone before its turn
        client.call("Lease/LeaseRevoke", ID=lease)
        with pytest.raises(grpc.RpcError) as caught:
            second.result(60)
    error: Any = caught.value
    assert error.details() == "mutex: session is expired"


def _leader(client: Any, name: bytes) -> Values:
    answer: Values = client.call(f"{_ELECTION}/Leader", name=name)["kv"]
    return answer


def test_an_election_has_a_leader_who_proclaims_and_resigns(client: Any, name: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        _leader(client, name)
    error: Any = caught.value
    assert error.details() == "election: no leader"

    campaign = f"{_ELECTION}/Campaign"
    mine = client.call(campaign, name=name, lease=_lease(client), value=b"me")["leader"]
    assert (_leader(client, name)["key"], _leader(client, name)["value"]) == (mine["key"], b"me")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(client.call, campaign, name=name, lease=_lease(client), value=b"you")
        wait_for(lambda: len(_keys(client, name)) == 2, what="another one waits")
        client.call(f"{_ELECTION}/Proclaim", leader=mine, value=b"me again")
        assert _leader(client, name)["value"] == b"me again"
        client.call(f"{_ELECTION}/Resign", leader=mine)
        theirs = other.result(60)["leader"]
    assert _leader(client, name)["key"] == theirs["key"]
    with pytest.raises(grpc.RpcError) as caught:
        client.call(f"{_ELECTION}/Proclaim", leader=mine, value=b"too late")
    error = caught.value
    assert error.details() == "election: not leader"


def test_who_observes_sees_each_leader(client: Any, name: bytes) -> None:
    seen = client.stream(f"{_ELECTION}/Observe", iter([{"name": name}]), kind="Leader")
    campaign = f"{_ELECTION}/Campaign"
    first = client.call(campaign, name=name, lease=_lease(client), value=b"1")["leader"]
    assert next(seen)["kv"]["value"] == b"1"
    client.call(f"{_ELECTION}/Proclaim", leader=first, value=b"2")
    assert next(seen)["kv"]["value"] == b"2"
    client.call(f"{_ELECTION}/Resign", leader=first)
    client.call(campaign, name=name, lease=_lease(client), value=b"3")
    assert next(seen)["kv"]["value"] == b"3"
    seen.close()


def test_locks_and_elections_of_the_node_are_the_same(
    client: Any, served: tuple[Node, str], name: bytes
) -> None:
    node, text = served[0], name.decode()
    lock_name, election_name = b"_braft/lock/" + name, b"_braft/election/" + name
    with ThreadPoolExecutor(1) as pool:
        with node.lock(text) as lock:
            assert _keys(client, lock_name) == [lock.key]
            waiting = pool.submit(
                client.call, f"{_LOCK}/Lock", name=lock_name, lease=_lease(client)
            )
            wait_for(lambda: len(_keys(client, lock_name)) == 2, what="a client waits")
            assert not waiting.done()
        held = waiting.result(60)["key"]
        with pytest.raises(NotAcquired):
            node.lock(text, wait=0).acquire()
        client.call(f"{_LOCK}/Unlock", key=held)
        node.lock(text, wait=0).acquire().release()
    with node.election(text, value="node") as term:
        leader = _leader(client, election_name)
        assert (leader["key"], leader["value"]) == (term.key, b"node")
        assert leader["create_revision"] == term.token
