"""The node as a library: methods, async variants, callbacks, several nodes per process."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import pytest

from braft_core import Node
from braft_core.client import Client
from braft_core.errors import (
    BraftError,
    Conflict,
    InvalidArgument,
    InvalidRequest,
    NoLeader,
    NotReady,
    OutcomeUnknown,
    Rejected,
    Stopped,
    UnknownCommand,
    UnknownService,
)
from braft_testing.processes import PATIENCE, wait_for

pytestmark = pytest.mark.integration


class MakeNodes(Protocol):
    def __call__(self, count: int, *, start: bool = True, **settings: Any) -> list[Node]: ...


LeaderOf = Callable[[list[Node]], Node]


def hand_over(asked: Node, target: Node) -> None:
    """Transfer leadership to ``target``, again if a slow machine makes a transfer time out.

    A node that leads already is not accepted as a successor.
    """

    def leads() -> bool:
        if not target.is_leader:
            assert asked.transfer_leadership(to=target.server_id) == target.server_id
        return target.is_leader

    wait_for(leads, what=f"{target.server_id} leads")


def test_bad_arguments_cost_nobody_else_anything(
    make_nodes: MakeNodes, leader_of: LeaderOf, caplog: pytest.LogCaptureFixture
) -> None:
    """An infinite timeout used to fail all commands that were forwarded together with it."""
    nodes = make_nodes(3)
    follower = next(node for node in nodes if node is not leader_of(nodes))
    assert follower.kv.put("m", "k", 1, timeout=math.inf) > 0
    calls: list[Callable[[], object]] = [
        lambda: follower.kv.put("m", "k", 2, timeout=math.nan),
        lambda: follower.kv.get("m", "k", timeout=math.nan),
        lambda: follower.kv.put("m", "k", math.nan),
        lambda: follower.cluster_view(timeout=math.nan),
        lambda: follower.add_member("gr\udcfcn", "127.0.0.1:1"),
        lambda: follower.add_member("x", "127.0.0.1"),
        lambda: follower.remove_member("gr\udcfcn"),
        lambda: follower.promote_member(""),
        lambda: follower.transfer_leadership("gr\udcfcn"),
    ]
    for call in calls:
        with pytest.raises(InvalidRequest, match="accepted: "):
            call()
    assert follower.kv.get("m", "k") == 1
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_each_node_takes_writes_and_every_other_reads_them_at_once(make_nodes: MakeNodes) -> None:
    nodes = make_nodes(3)
    for turn in range(10):
        for writer in nodes:
            key = f"{turn}-{writer.settings.rport}"
            revision = writer.kv.put("colors", key, turn)
            for reader in nodes:
                assert reader.kv.get_with_revision("colors", key) == (turn, revision)
    for node in nodes:
        node.barrier(5) if node.is_leader else None
        assert len(node.kv.list("colors", consistency="linearizable")) == 30


def test_every_kind_of_value_comes_back_as_it_was(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1)
    values: list[Any] = [
        None, True, 0, -1, 2**63, 1.5, "", "grün", b"", b"\x00\xff", [1, [2, {"a": None}]],
        {"k": b"v"},
    ]  # fmt: skip
    for value in values:
        node.kv.put("m", "k", value)
        assert node.kv.get("m", "k", default="no such key") == value
        assert type(node.kv.get("m", "k", default="no such key")) is type(value)
    assert node.kv.get("m", "other", default=7) == 7
    assert node.kv.get("no map", "k") is None


def test_conditions_deletions_and_their_refusals(make_nodes: MakeNodes) -> None:
    nodes = make_nodes(3)
    first, second, _ = nodes
    revision = first.kv.put_if("m", "k", 1, 0)
    with pytest.raises(Conflict) as caught:
        second.kv.put_if("m", "k", 2, 0)
    assert caught.value.data["revision"] == revision
    assert second.kv.put_if("m", "k", 2, revision) > revision
    assert first.kv.delete("m", "k") is True
    assert second.kv.delete("m", "k") is False
    with pytest.raises(Rejected, match="no map"):
        first.kv.list("m")


@pytest.mark.parametrize("size", [1, 3])
def test_unknown_names_are_answers_that_say_what_there_is(make_nodes: MakeNodes, size: int) -> None:
    for node in make_nodes(size):
        with pytest.raises(UnknownService, match=r"nowhere.*kv") as service:
            node.execute("nowhere", "put", 1)
        assert "kv" in service.value.data["known"]
        with pytest.raises(UnknownService, match="nowhere"):
            node.query("nowhere", "get")
        with pytest.raises(UnknownCommand, match=r"shout.*put"):
            node.execute("kv", "shout")
        with pytest.raises(UnknownCommand, match=r"shout.*get"):
            node.query("kv", "shout")
        with pytest.raises(BraftError, match=r"'sometimes'.*linearizable.*stale"):
            node.query("kv", "get", "m", "k", consistency="sometimes")  # type: ignore[arg-type]
        assert node.kv.put("m", "k", 1)


def test_the_async_twins_do_the_same(make_nodes: MakeNodes) -> None:
    nodes = make_nodes(3)

    async def main() -> None:
        for node in nodes:
            await node.await_ready(40)
        revision = await nodes[0].kv.aput("m", "k", 1)
        assert await nodes[1].kv.aget("m", "k") == 1
        assert await nodes[1].kv.aput_if("m", "k", 2, revision) > revision
        with pytest.raises(Conflict):
            await nodes[2].kv.aput_if("m", "k", 3, revision)
        assert await nodes[2].kv.alist("m") == {"k": 2}
        many = [nodes[n % 3].kv.aput("many", str(n), n) for n in range(300)]
        revisions = await asyncio.gather(*many)
        assert len(set(revisions)) == 300
        assert len(await nodes[1].kv.alist("many")) == 300
        assert await nodes[1].kv.adelete("m", "k") is True
        await nodes[0].distribute.aset(["a", "b", "c"])
        # Empty until the leader has published which members are live.
        while set(await nodes[1].distribute.aassignment()) != {"a", "b", "c"}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(main(), 100))


def test_a_node_is_an_async_context_manager(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1, start=False)

    async def main() -> None:
        async with node as entered:
            assert entered is node
            await node.kv.aput("m", "k", 1)
            assert await node.kv.aget("m", "k") == 1
        with pytest.raises(Stopped):
            await node.kv.aget("m", "k")

    asyncio.run(main())


def test_two_clusters_live_in_one_process_and_a_third_follows_them(make_nodes: MakeNodes) -> None:
    red, blue = make_nodes(2), make_nodes(2)
    for number in range(20):
        red[number % 2].kv.put("m", "k", f"red {number}")
        blue[number % 2].kv.put("m", "k", f"blue {number}")
    assert [node.kv.get("m", "k") for node in (*red, *blue)] == ["red 19"] * 2 + ["blue 19"] * 2
    for node in (*red, *blue):
        node.stop()
    (green,) = make_nodes(1)
    assert green.kv.get("m", "k") is None


def test_a_stopped_node_says_so_and_its_data_serves_the_next(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1)
    node.kv.put("m", "k", 1)
    settings = node.settings
    node.stop()
    node.stop()
    calls: list[Callable[[], object]] = [
        lambda: node.kv.put("m", "k", 2),
        lambda: node.kv.get("m", "k"),
        lambda: node.members(),
        lambda: node.details(),
        lambda: node.leader,
        node.start,
    ]
    for call in calls:
        with pytest.raises(Stopped):
            call()
    assert node.ready() == (False, "the node is not running")
    with Node(settings=settings) as again:
        assert again.kv.get("m", "k", timeout=10) == 1


def test_requests_before_there_is_a_cluster_wait_for_it(make_nodes: MakeNodes) -> None:
    nodes = make_nodes(2, start=False)
    with nodes[0]:

        def refused() -> bool:
            """Return whether the error names the missing node's address."""
            with pytest.raises(NotReady) as told:
                nodes[0].kv.put("m", "k", 0, timeout=0.3)
            return str(nodes[1].settings.rport) in told.value.message

        wait_for(refused, what="it names the missing one")
        with pytest.raises(NotReady):
            nodes[0].kv.get("m", "k", timeout=0.3)
        with pytest.raises(NotReady, match="not ready after"):
            nodes[0].wait_ready(0.1)
        revisions: list[int] = []
        early = threading.Thread(
            target=lambda: revisions.append(nodes[0].kv.put("m", "k", 1, timeout=40))
        )
        early.start()
        with nodes[1]:
            early.join(40)
            assert revisions
            assert nodes[1].kv.get("m", "k") == 1


def test_a_deadline_that_passes_is_no_leader_or_an_unknown_outcome(
    make_nodes: MakeNodes, leader_of: LeaderOf
) -> None:
    nodes = make_nodes(3)
    leader = leader_of(nodes)
    leader.kv.put("m", "before", 1)
    for node in nodes:
        if node is not leader:
            node.stop()
    began = time.monotonic()
    with pytest.raises((OutcomeUnknown, NoLeader)):
        leader.kv.put("m", "k", 1, timeout=0.5)
    assert 0.4 < time.monotonic() - began < 8.0, "by its own deadline, not by that of all others"
    # After stepping down it proposes nothing, so the command was certainly not applied.
    wait_for(lambda: not leader.is_leader, what="the leader without a majority steps down")
    began = time.monotonic()
    with pytest.raises(NoLeader, match="no leader"):
        leader.kv.put("m", "k", 1, timeout=0.5)
    with pytest.raises(NoLeader):
        leader.kv.get("m", "k", timeout=0.5)
    assert time.monotonic() - began < 8.0
    assert leader.kv.get("m", "before", consistency="stale") == 1


def test_leader_changes_are_reported_until_the_callback_is_removed(
    make_nodes: MakeNodes, leader_of: LeaderOf
) -> None:
    nodes = make_nodes(3)
    seen: dict[str, list[tuple[str | None, int]]] = {node.server_id: [] for node in nodes}
    ends = []
    for node in nodes:

        def note(leader: str | None, term: int, node: Node = node) -> None:
            seen[node.server_id].append((leader, term))

        ends.append(node.on_leader_change(note))

    def broken(leader: str | None, term: int) -> None:
        raise RuntimeError("a callback's bug is its own")

    leader_of(nodes).on_leader_change(broken)
    former = leader_of(nodes)
    old = former.server_id

    def successor() -> str:
        """Return the new leader; transfer again, as a slow successor times out."""
        if (nodes[0].leader or ("", ""))[0] in ("", old):
            return nodes[0].transfer_leadership()
        return (nodes[0].leader or ("", ""))[0]

    new = wait_for(successor)
    assert new != old
    wait_for(lambda: all(new in [leader for leader, _ in log] for log in seen.values()))
    terms = [term for log in seen.values() for leader, term in log if leader == new]
    assert len(set(terms)) == 1
    for end in ends:
        end()
    quiet = {name: len(log) for name, log in seen.items()}
    hand_over(nodes[1], former)
    wait_for(lambda: all((node.leader or ("", ""))[0] == old for node in nodes))
    assert {name: len(log) for name, log in seen.items()} == quiet


def test_leadership_goes_where_it_is_sent_and_refuses_nonsense(
    make_nodes: MakeNodes, leader_of: LeaderOf
) -> None:
    nodes = make_nodes(3)
    for target in nodes:
        for asked in nodes:
            if target.is_leader:
                break
            hand_over(asked, target)
            wait_for(lambda: {(n.leader or ("", ""))[0] for n in nodes} == {target.server_id})  # noqa: B023
        target.kv.put("m", "led", target.server_id)
    for node in nodes:
        with pytest.raises(BraftError, match="nobody"):
            node.transfer_leadership(to="nobody", timeout=2)


def test_members_views_and_details_agree(make_nodes: MakeNodes, leader_of: LeaderOf) -> None:
    nodes = make_nodes(3)
    leader = leader_of(nodes)
    wait_for(lambda: all(len(node.members()) == 3 for node in nodes))
    for node in nodes:
        assert {m.id for m in node.members()} == {n.server_id for n in nodes}
        assert {m.address for m in node.members()} == {n.address for n in nodes}
        assert [m.id for m in node.members() if m.leader] == [leader.server_id]
        assert {m.suffrage for m in node.members()} == {"Voter"}
        view = node.cluster_view(PATIENCE)
        assert view["leaderID"] == leader.server_id
        assert view["leaderAddr"] == leader.address
        assert view["nodeNum"] == 3
        assert {entry["serverID"] for entry in view["nodes"]} == {n.server_id for n in nodes}
        assert not any(entry.get("error") for entry in view["nodes"])
        assert node.details()["serverID"] == node.server_id


def test_a_member_that_is_gone_can_be_removed_from_any_node(
    make_nodes: MakeNodes, leader_of: LeaderOf
) -> None:
    nodes = make_nodes(3)
    leader = leader_of(nodes)
    gone, other = (node for node in nodes if node is not leader)
    gone_id = gone.server_id
    gone.stop()
    other.remove_member(gone_id, timeout=20)
    wait_for(lambda: len(leader.members()) == 2)
    assert other.kv.put("m", "k", 1)
    for node in (leader, other):
        with pytest.raises(BraftError, match="nobody"):
            node.promote_member("nobody", timeout=20)


def test_a_member_that_was_removed_is_added_again_and_votes(
    make_nodes: MakeNodes, leader_of: LeaderOf
) -> None:
    nodes = make_nodes(3)
    leader = leader_of(nodes)
    gone, other = (node for node in nodes if node is not leader)
    leader.remove_member(gone.server_id, timeout=20)
    other.kv.put("m", "k", 1)
    other.add_member(gone.server_id, gone.address, timeout=20)
    wait_for(lambda: [m.suffrage for m in leader.members()] == ["Voter"] * 3)
    assert gone.kv.get("m", "k", timeout=10) == 1
    other.stop()
    assert leader.kv.put("m", "k", 2), "its vote counts"


def test_lists_in_pages(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1)
    expected = {f"k{number:02d}": [number, {"n": number}] for number in range(30)}
    for key in reversed(expected):
        node.kv.put("m", key, expected[key])
    assert list(node.kv.list("m").items()) == list(expected.items())
    assert dict(node.kv.items("m")) == expected
    page = node.kv.page("m", limit=7)
    assert (list(page.items), page.next) == ([f"k{number:02d}" for number in range(7)], "k06")
    assert node.kv.page("m", "k27", consistency="stale").items.keys() == {"k28", "k29"}
    for limit in (0, 100_001):
        with pytest.raises(InvalidArgument, match="from 1 to 100000"):
            node.kv.page("m", limit=limit)

    async def collect() -> dict[str, Any]:
        assert (await node.kv.apage("m", "k28")).next is None
        return {key: value async for key, value in node.kv.aitems("m")}

    assert asyncio.run(collect()) == expected
    with node.session() as session:
        assert session.kv.page("m", limit=1).next == "k00"
    with Client([f"127.0.0.1:{node.settings.hport}"]) as client:
        assert client.kv_list("m") == expected
        assert client.kv_page("m", "k10", 2).items.keys() == {"k11", "k12"}
        assert client.kv_maps() == ["m"]
