"""Conformance suite for transports: snapshot transfers.

Part of :class:`braft_testing.transport.TransportConformance`, which derives from it.
"""

# Method names state the rules, and the suite consists of asserts.
# ruff: noqa: D102, S101

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from braft_core.errors import InvalidRequest, StorageCorrupt, StorageFull
from braft_core.raft.messages import (
    AppendEntries,
    InstallSnapshot,
    InstallSnapshotResponse,
    Request,
    Response,
)
from braft_core.raft.types import SnapshotMeta
from braft_core.storage.memory_snapshots import MemorySnapshots
from braft_testing import transport_nodes
from braft_testing.snapshots import CONFIGURATION, pattern, put
from braft_testing.transport_nodes import (
    Node,
    TransportSuite,
    answer_to,
    append,
    on_a_loop,
    prompt,
    silent,
    until,
)
from braft_testing.watched_snapshots import WatchedSnapshots

__all__ = ["SnapshotTransferRules", "WatchedSnapshots", "transfer_threads"]

_CHUNK = 256 << 10


class _Brake:
    """Blocks a thread at the second chunk until the test releases it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._go = threading.Event()
        self._passed = 0

    def __call__(self, _chunk: bytes) -> None:
        self._passed += 1
        if self._passed == 2:
            self.reached.set()
            self._go.wait(3 * transport_nodes.PATIENCE)

    def between(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self(chunk)
            yield chunk

    def release(self) -> None:
        self._go.set()


def transfer_threads() -> list[threading.Thread]:
    """Return the running threads of transfers."""
    return [t for t in threading.enumerate() if t.name.startswith("braft-snapshot-")]


def _answers(node: Node) -> list[InstallSnapshotResponse]:
    return [r for r in node.handler.responses if isinstance(r, InstallSnapshotResponse)]


def _arrived(node: Node) -> list[InstallSnapshot]:
    return [r for r in node.handler.requests if isinstance(r, InstallSnapshot)]


def _contents(node: Node, meta: SnapshotMeta) -> bytes:
    return b"".join(MemorySnapshots.open(_store(node), meta.id))


def _store(node: Node) -> WatchedSnapshots:
    store = node.handler.snapshots
    assert isinstance(store, WatchedSnapshots)
    return store


def _chunks(size: int) -> list[bytes]:
    data = pattern(min(size, 1 << 20))
    whole = data * (size // len(data)) + data[: size % len(data)] if data else b""
    return [whole[start : start + _CHUNK] for start in range(0, size, _CHUNK)]


class SnapshotTransferRules(TransportSuite):
    """Rules for ``InstallSnapshot``, for every transport. Each ``test_*`` method is one rule."""

    @asynccontextmanager
    async def snapshot_pair(
        self, cluster: str = "cl", other: str = "cl"
    ) -> AsyncIterator[tuple[Node, Node]]:
        """Start a pair like ``pair``, with watched stores; no transfer may outlive it."""
        async with self.pair(cluster, other) as (a, b):
            a.handler.snapshots, b.handler.snapshots = WatchedSnapshots(), WatchedSnapshots()
            yield a, b
        await until(lambda: not transfer_threads(), "no thread of a transfer is left")

    def install(self, node: Node, to: str, size: int, number: int = 7) -> InstallSnapshot:
        """Create a snapshot of that size and let the node send it."""
        meta = put(_store(node), 5, _chunks(size), term=2)
        message = InstallSnapshot(node.id, to, 3, meta, request_id=number)
        node.transport.send(message)
        return message

    async def _fails(self, a: Node, number: int = 7) -> None:
        """Check that the transfer of that number is answered as failed, once."""
        await until(lambda: _answers(a), "the answer")
        await asyncio.sleep(0.05)
        response = _answers(a)[0]
        assert _answers(a) == [
            InstallSnapshotResponse(response.sender, a.id, 0, success=False, request_id=number)
        ]

    async def _leaves_nothing(self, b: Node) -> None:
        """Check that the partial snapshot was discarded and the node not notified."""
        store = _store(b)
        await until(lambda: store.events.count("begun") == store.events.count("aborted"), "abort")
        assert _arrived(b) == []
        assert store.list() == []

    # ---------------------------------------------------------------- successful transfers

    @on_a_loop
    async def test_a_snapshot_arrives_whole_whatever_its_size(self) -> None:
        async with self.snapshot_pair() as (a, b):
            for number, size in enumerate((0, 1, 3000, 3 * _CHUNK, (20 << 20) + 1), 11):
                sent = self.install(a, "b", size, number)
                await until(lambda: _answers(a), f"{size} bytes")
                received = _arrived(b)[0]
                assert (received.sender, received.to, received.term) == ("a", "b", 3)
                stored = received.meta
                expected = SnapshotMeta(stored.id, 5, 2, CONFIGURATION, 2, size, stored.checksum)
                assert received.meta == expected
                assert _contents(b, received.meta) == _contents(a, sent.meta)
                assert _answers(a) == [
                    InstallSnapshotResponse("b", "a", 3, success=True, request_id=number)
                ]
                a.handler.responses.clear()
                b.handler.requests.clear()

    @on_a_loop
    async def test_the_message_follows_the_durable_snapshot(self) -> None:
        async with self.snapshot_pair() as (a, b):
            seen: list[list[str]] = []

            def answer(request: Request) -> Response:
                seen.append([*_store(b).events])
                return answer_to(request)

            b.handler.answer = answer
            self.install(a, "b", 1000)
            await until(lambda: _answers(a), "the answer")
            assert seen == [["begun", "committed"]]

    @on_a_loop
    async def test_the_nodes_refusal_comes_home_with_its_term(self) -> None:
        async with self.snapshot_pair() as (a, b):
            b.handler.answer = silent
            self.install(a, "b", 1000)
            await until(lambda: _arrived(b), "the request")
            response = answer_to(_arrived(b)[0])
            assert isinstance(response, InstallSnapshotResponse)
            b.transport.reply(replace(response, term=9, success=False))
            await until(lambda: _answers(a), "the answer")
            expected = InstallSnapshotResponse("b", "a", 9, success=False, request_id=7)
            assert _answers(a) == [expected]

    # ---------------------------------------------------------------- offers

    @on_a_loop
    async def test_an_offer_is_put_before_the_node_before_anything_is_stored(self) -> None:
        async with self.snapshot_pair() as (a, b):
            seen: list[list[str]] = []

            def take(message: InstallSnapshot) -> bool:
                seen.append([*_store(b).events])
                return True

            b.handler.on_offered = take
            sent = self.install(a, "b", 1000)
            await until(lambda: _answers(a), "the answer")
            (offer,) = b.handler.offers
            assert (offer.sender, offer.term, offer.meta.size) == ("a", 3, sent.meta.size)
            assert seen == [[]]

    @on_a_loop
    async def test_an_offer_that_is_refused_fails_and_stores_nothing(self) -> None:
        async with self.snapshot_pair() as (a, b):

            def refuse(message: InstallSnapshot) -> bool:
                raise InvalidRequest("no")

            b.handler.on_offered = refuse
            self.install(a, "b", 20 * _CHUNK)
            await self._fails(a)
            assert _store(b).events == []
            assert _arrived(b) == []

    @on_a_loop
    async def test_an_offer_whose_contents_are_not_wanted_is_answered_without_them(self) -> None:
        async with self.snapshot_pair() as (a, b):
            b.handler.on_offered = lambda message: False
            self.install(a, "b", 20 * _CHUNK)
            await until(lambda: _answers(a), "the answer")
            (arrived,) = _arrived(b)
            assert arrived.meta.id == ""
            assert _answers(a) == [InstallSnapshotResponse("b", "a", 3, success=True, request_id=7)]
            assert _store(b).events == []

    # ---------------------------------------------------------------- failures

    @on_a_loop
    async def test_a_transfer_to_nobody_fails_once(self) -> None:
        async with self.snapshot_pair() as (a, _b):
            self.install(a, "stranger", 1000)
            await self._fails(a)
            a.handler.responses.clear()
            a.transport.set_peer("c", self.new_address())
            self.install(a, "c", 1000, 8)
            await self._fails(a, 8)

    @on_a_loop
    async def test_a_snapshot_that_is_gone_fails_once(self) -> None:
        async with self.snapshot_pair() as (a, b):
            meta = put(_store(a), 5, [b"x"])
            _store(a).retain(0)
            a.transport.send(InstallSnapshot("a", "b", 3, meta, request_id=7))
            await self._fails(a)
            await self._leaves_nothing(b)

    @on_a_loop
    async def test_another_cluster_or_server_refuses_before_anything_is_stored(self) -> None:
        async with self.snapshot_pair("cl", "another") as (a, b):
            self.install(a, "b", 1000)
            await self._fails(a)
            a.handler.responses.clear()
            a.handler.identify(cluster_id="another")
            a.transport.set_peer("c", b.address)
            self.install(a, "c", 1000, 8)
            await self._fails(a, 8)
            assert _store(b).events == []
            assert _arrived(b) == []

    @on_a_loop
    async def test_contents_that_break_off_fail_and_leave_nothing(self) -> None:
        async with self.snapshot_pair() as (a, b):

            def torn(chunks: Iterator[bytes]) -> Iterator[bytes]:
                yield next(chunks)
                raise StorageCorrupt("a flipped bit")

            _store(a).reading = torn
            self.install(a, "b", 3 * _CHUNK)
            await self._fails(a)
            await self._leaves_nothing(b)

    @on_a_loop
    async def test_contents_of_another_length_fail_and_leave_nothing(self) -> None:
        async with self.snapshot_pair() as (a, b):
            for number, extra in ((7, -1), (8, 1)):
                meta = put(_store(a), 5, [bytes(3 * _CHUNK)])
                claimed = meta._replace(size=meta.size + extra)
                a.transport.send(InstallSnapshot("a", "b", 3, claimed, request_id=number))
                await self._fails(a, number)
                await self._leaves_nothing(b)
                a.handler.responses.clear()

    @on_a_loop
    async def test_a_full_disk_fails_and_leaves_nothing(self) -> None:
        async with self.snapshot_pair() as (a, b):

            def full(_chunk: bytes) -> None:
                raise StorageFull("no space")

            _store(b).writing = full
            self.install(a, "b", 20 * _CHUNK)
            await self._fails(a)
            await self._leaves_nothing(b)
            _store(b).writing = lambda _chunk: None
            a.handler.responses.clear()
            self.install(a, "b", 20 * _CHUNK, 8)
            await until(lambda: _answers(a), "another attempt")
            assert _answers(a)[0].success

    @on_a_loop
    async def test_the_end_of_the_sender_leaves_nothing(self) -> None:
        async with self.snapshot_pair() as (a, b):
            brake = _Brake()
            _store(a).reading = brake.between
            self.install(a, "b", 4 * _CHUNK)
            await until(lambda: "begun" in _store(b).events, "the first bytes")
            await a.transport.stop()
            brake.release()
            await self._leaves_nothing(b)

    @on_a_loop
    async def test_the_end_of_the_receiver_fails_once(self) -> None:
        async with self.snapshot_pair() as (a, b):
            brake = _Brake()
            _store(b).writing = brake
            self.install(a, "b", 100 * _CHUNK)
            await until(brake.reached.is_set, "the second chunk")
            await b.transport.stop()
            await self._fails(a)
            brake.release()
            await self._leaves_nothing(b)

    @on_a_loop
    async def test_a_broken_connection_fails_once_and_leaves_nothing(self) -> None:
        if not self.can_sever:
            pytest.skip("this transport's suite cannot break connections (can_sever is False)")
        async with self.snapshot_pair() as (a, b):
            await self.connected(a, b)
            await self.connected(b, a)
            brake = _Brake()
            _store(a).reading = brake.between
            self.install(a, "b", 100 * _CHUNK)
            await until(lambda: "begun" in _store(b).events, "the first bytes")
            await self.sever(a, b)
            await self._fails(a)
            brake.release()
            await self._leaves_nothing(b)

    @on_a_loop
    async def test_a_removed_or_moved_peer_fails_once(self) -> None:
        async with self.snapshot_pair() as (a, b):
            for number in (7, 8):
                brake = _Brake()
                _store(b).writing = brake
                self.install(a, "b", 100 * _CHUNK, number)
                await until(brake.reached.is_set, "the second chunk")
                if number == 7:
                    a.transport.remove_peer("b")
                else:
                    a.transport.set_peer("b", self.new_address())
                await self._fails(a, number)
                brake.release()
                await self._leaves_nothing(b)
                a.meets(b)
                a.handler.responses.clear()

    @on_a_loop
    async def test_stop_is_quick_in_the_middle_and_tells_nothing(self) -> None:
        before = asyncio.all_tasks()
        async with self.snapshot_pair() as (a, b):
            brake = _Brake()
            _store(b).writing = brake
            self.install(a, "b", 100 * _CHUNK)
            await until(brake.reached.is_set, "the second chunk")
            for node in (a, b):
                started = asyncio.get_running_loop().time()
                await node.transport.stop()
                assert asyncio.get_running_loop().time() - started < prompt()
            brake.release()
            assert _answers(a) == []
            await self._leaves_nothing(b)
        await until(lambda: asyncio.all_tasks() == before, "no task is left")

    # ---------------------------------------------------------------- one at a time

    @on_a_loop
    async def test_a_newer_transfer_to_the_same_peer_replaces_the_older(self) -> None:
        async with self.snapshot_pair() as (a, b):
            brake = _Brake()
            _store(a).reading = brake.between
            self.install(a, "b", 4 * _CHUNK, 7)
            await until(lambda: "begun" in _store(b).events, "the first bytes")
            _store(a).reading = iter
            self.install(a, "b", 3 * _CHUNK, 8)
            await until(lambda: len(_answers(a)) == 2, "both answers")
            brake.release()
            found = {r.request_id: (r.success, r.term) for r in _answers(a)}
            assert found == {7: (False, 0), 8: (True, 3)}
            assert [m.meta.size for m in _arrived(b)] == [3 * _CHUNK]
            await until(lambda: "aborted" in _store(b).events, "the older is thrown away")

    @on_a_loop
    async def test_only_a_later_term_replaces_another_leaders_transfer(self) -> None:
        async with self.snapshot_pair() as (a, b):
            c = await self.start("c")
            c.meets(b)
            c.handler.snapshots = WatchedSnapshots()
            brake = _Brake()
            _store(a).reading = brake.between
            try:
                self.install(a, "b", 4 * _CHUNK)
                await until(lambda: "begun" in _store(b).events, "the first bytes")
                self.install(c, "b", 1000, 8)
                await self._fails(c, 8)
                assert _answers(a) == []
                c.handler.responses.clear()
                meta = _store(c).list()[0]
                c.transport.send(InstallSnapshot("c", "b", 4, meta, request_id=9))
                await until(lambda: _answers(c), "the later term's answer")
                assert _answers(c)[0].success
                brake.release()
                await self._fails(a)
                assert [m.sender for m in _arrived(b)] == ["c"]
            finally:
                brake.release()
                await c.transport.stop()

    # ---------------------------------------------------------------- effects on other traffic

    @on_a_loop
    async def test_a_slow_disk_of_the_receiver_delays_nothing_else(self) -> None:
        async with self.snapshot_pair() as (a, b):
            await self.connected(a, b)
            brake = _Brake()
            _store(b).writing = brake
            self.install(a, "b", 100 * _CHUNK)
            blocked = brake.reached.is_set
            assert await self._slowest(a, lambda number: number > 20 and blocked()) < prompt()
            brake.release()
            await until(lambda: _answers(a), "the answer")
            assert _answers(a)[0].success

    @on_a_loop
    async def test_heartbeats_and_appends_are_prompt_while_a_snapshot_travels(self) -> None:
        async with self.snapshot_pair() as (a, b):
            await self.connected(a, b)
            self.install(a, "b", 50 << 20)
            assert await self._slowest(a, lambda _number: bool(_answers(a))) < prompt()
            assert _answers(a)[0].success

    async def _slowest(self, a: Node, enough: Callable[[int], bool]) -> float:
        """Send heartbeats and appends in turn; return the longest time until an answer."""
        loop = asyncio.get_running_loop()
        slowest, number = 0.0, 0
        while not enough(number):
            number += 1
            started = loop.time()
            a.transport.send(AppendEntries("a", "b", 3, 0, 0, [], 0, request_id=2 * number))
            a.transport.send(replace(append("a", "b", 10 * number), request_id=2 * number + 1))
            expected = {2 * number, 2 * number + 1}
            await until(
                lambda expected=expected: (
                    expected  # type: ignore[misc]
                    <= {r.request_id for r in a.handler.responses if not _is_install(r)}
                ),
                "a heartbeat's and an append's answers",
            )
            slowest = max(slowest, loop.time() - started)
        return slowest


def _is_install(response: Response) -> bool:
    return isinstance(response, InstallSnapshotResponse)
