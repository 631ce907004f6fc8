"""Outbound gRPC links to foreign servers: silent, limited or misbehaving ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from braft_core.abc import TransportTiming
from braft_core.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from braft_core.raft.types import Entry
from braft_core.transport.grpc import pipeline as pipeline_module
from braft_core.transport.raft_codec import decode_request, encode_header, encode_response
from braft_testing.transport import PATIENCE, PATIENT_TIMING, until

HEADER = encode_header("go", "h:1")
#: An index beyond those that are sent before the first response.
FIRST = 1_000_000


def append(index: int, size: int = 1, request_id: int = 0) -> AppendEntries:
    entries = [Entry(index, 1, 0, b"x" * size)]
    return AppendEntries("b", "go", 1, index - 1, 1, entries, 0, request_id=request_id or index)


def answered(data: bytes) -> bytes:
    request = decode_request(AppendEntries, data, "go")
    assert isinstance(request, AppendEntries)
    last = request.prev_log_index + len(request.entries)
    return encode_response(AppendEntriesResponse("go", "b", 1, True, last), HEADER)


@asynccontextmanager
async def foreign(**methods: Any) -> AsyncIterator[str]:
    """Run a server with these methods of RaftTransport; yield its address."""
    server = grpc.aio.server()
    handlers = grpc.method_handlers_generic_handler("RaftTransport", methods)
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def send_until(node: Any, condition: Callable[[], object]) -> None:
    index = 1

    def act() -> object:
        nonlocal index
        index += 1
        node.transport.send(append(index))
        return condition()

    await until(act)


async def one_answered(node: Any) -> None:
    """Send entries one by one until one is answered in time; then none is in flight."""
    index, counters, link = 1, node.transport.counters, node.transport._session.peers.links["go"]
    while not node.handler.responses:
        index += 1
        # Without a connection the node is notified only of the first dropped message.
        dropped = counters["dropped"]
        node.transport.send(append(index))
        await until(
            lambda dropped=dropped: node.handler.responses or counters["dropped"] > dropped  # type: ignore[misc]
        )
        if link._bulk is None or link._bulk._queue.closing:
            node.handler.responses.clear()  # it came too late: the stream is closing
        await asyncio.sleep(0.01)


def test_a_pipeline_of_a_server_that_says_nothing_first(started: Any) -> None:
    """Go servers send no initial metadata before the first response, and know no GOAWAY message."""
    # A server that does not read to the end in time is disconnected.
    timing = replace(PATIENT_TIMING, close=PATIENCE)
    ends: list[str] = []

    async def pipeline(requests: Any, context: Any) -> None:
        async for data in requests:
            assert data, "GOAWAY was sent to a foreign server"
            await context.write(answered(data))
        ends.append("half-closed")

    async def scenario() -> None:
        method = grpc.stream_stream_rpc_method_handler(pipeline)
        async with foreign(AppendEntriesPipeline=method) as address, started(timing=timing) as node:
            node.transport.set_peer("go", address)
            await send_until(node, lambda: node.handler.responses)
            assert node.handler.responses[0].sender == "go"
            node.transport.remove_peer("go")
            await until(lambda: ends)
            assert node.handler.lost == []

    asyncio.run(scenario())


def test_a_server_without_pipelines_gets_single_calls_in_order(started: Any) -> None:
    seen: list[int] = []

    async def single(data: bytes, _context: Any) -> bytes:
        request = decode_request(AppendEntries, data, "go")
        seen.append(request.prev_log_index)  # type: ignore[union-attr]
        return answered(data)

    async def scenario() -> None:
        method = grpc.unary_unary_rpc_method_handler(single)
        async with foreign(AppendEntries=method) as address, started() as node:
            node.transport.set_peer("go", address)
            await one_answered(node)
            for index in range(FIRST, FIRST + 20):
                node.transport.send(append(index))
            await until(lambda: node.handler.responses[-1].request_id == FIRST + 19)
            # Before them come the messages sent until the first response.
            assert seen[-20:] == list(range(FIRST - 1, FIRST + 19))
            ids = [response.request_id for response in node.handler.responses]
            assert ids[-20:] == list(range(FIRST, FIRST + 20))

    asyncio.run(scenario())


def test_a_server_without_pre_votes_counts_as_willing(started: Any) -> None:
    async def scenario() -> None:
        async with foreign() as address, started() as node:
            node.transport.set_peer("go", address)
            node.transport.send(RequestPreVote("b", "go", 5, 1, 1, request_id=9))
            await until(lambda: node.handler.responses)
            willing = RequestPreVoteResponse("go", "b", 4, granted=True, request_id=9)
            assert node.handler.responses == [willing]
            node.transport.send(RequestVote("b", "go", 5, 1, 1, request_id=10))
            await until(lambda: node.handler.unreachable == ["go"])

    asyncio.run(scenario())


def test_a_vote_may_take_as_long_as_a_slow_disk(
    started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The voter stores its vote first; with a short timeout no election would ever succeed."""
    timing = replace(PATIENT_TIMING, control_timeout=0.05, vote_timeout=PATIENCE)
    stored = asyncio.Event()

    async def vote(data: bytes, _context: Any) -> bytes:
        await stored.wait()
        return encode_response(RequestVoteResponse("go", "b", 5, granted=True), HEADER)

    async def pre_vote(data: bytes, _context: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def scenario() -> None:
        methods = {
            "RequestVote": grpc.unary_unary_rpc_method_handler(vote),
            "RequestPreVote": grpc.unary_unary_rpc_method_handler(pre_vote),
        }
        async with foreign(**methods) as address, started(timing=timing) as node:
            # Disable the renewal of a silent channel, which this test is not about.
            node.transport.set_peer("go", address)
            link_of = node.transport._session.peers.links["go"]
            await until(lambda: _is_connected(link_of))
            monkeypatch.setattr(link_of, "_renew_control", lambda: None)
            node.transport.send(RequestVote("b", "go", 5, 1, 1, request_id=7))
            node.transport.send(RequestPreVote("b", "go", 6, 1, 1, request_id=8))
            # The pre-vote, which is not stored, times out meanwhile.
            await until(lambda: node.transport.counters["dropped"])
            stored.set()
            await until(lambda: node.handler.responses)
            assert node.handler.responses[0].request_id == 7

    asyncio.run(scenario())


def _is_connected(link_of: Any) -> bool:
    state = link_of._control.get_state(try_to_connect=True)
    return bool(state is grpc.ChannelConnectivity.READY)


def test_a_peer_that_stops_answering_is_reported_and_retried(started: Any) -> None:
    streams: list[str] = []

    async def pipeline(requests: Any, _context: Any) -> None:
        streams.append("open")
        async for _data in requests:
            pass
        streams.append("half-closed")

    async def scenario() -> None:
        method = grpc.stream_stream_rpc_method_handler(pipeline)
        async with (
            foreign(AppendEntriesPipeline=method) as address,
            started(rpc_timeout=0.2) as node,
        ):
            node.transport.set_peer("go", address)
            await until(lambda: streams == ["open"])
            assert node.handler.unreachable == []
            node.transport.send(append(1))
            await until(lambda: node.handler.unreachable == ["go"])
            await until(lambda: streams.count("open") == 2)
            assert node.handler.lost == []

    asyncio.run(scenario())


def test_a_peer_that_answers_heartbeats_may_store_slowly(
    started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = replace(PATIENT_TIMING, store_timeout=PATIENCE)
    streams: list[str] = []
    stored = asyncio.Event()

    async def pipeline(requests: Any, context: Any) -> None:
        streams.append("open")
        async for data in requests:
            if data:
                await stored.wait()
                await context.write(answered(data))

    async def scenario() -> None:
        method = grpc.stream_stream_rpc_method_handler(pipeline)
        async with (
            foreign(AppendEntriesPipeline=method) as address,
            started(rpc_timeout=0.2, timing=timing) as node,
        ):
            node.transport.set_peer("go", address)
            link = node.transport._session.peers.links["go"]
            await until(lambda: link._bulk is not None and link._bulk._established is not None)
            beats = iter(range(1_000_000))

            def heard() -> float:
                next(beats)
                return asyncio.get_running_loop().time()

            monkeypatch.setattr(link._bulk, "_heard", heard)
            node.transport.send(append(1))
            # It was checked several times over more than the timeout.
            await until(lambda: next(beats) > 20)
            assert streams == ["open"]
            stored.set()
            await until(lambda: node.handler.responses)
            assert node.handler.responses[0].request_id == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("heard", "since", "stalled"),
    [(0.0, 3.0, True), (0.0, 1.0, False), (9.0, 9.5, False), (9.0, 12.0, True), (99.0, 33.0, True)],
)
def test_a_bulk_channel_is_given_up_in_time(heard: float, since: float, stalled: bool) -> None:
    """2 s after the last response or heartbeat response, at most 32 s after the former."""
    pipeline = pipeline_module.Pipeline.__new__(pipeline_module.Pipeline)
    pipeline._local = cast(Any, SimpleNamespace(timing=TransportTiming()))
    pipeline._progress = 0.0
    pipeline._heard = lambda: heard
    pipeline._loop = SimpleNamespace(time=lambda: since)  # type: ignore[assignment]
    assert pipeline._is_stalled(2.0) is stalled


@pytest.mark.slow  # a pause of the machine of 0.1 s makes it stall
def test_an_idle_pipeline_is_left_in_peace(started: Any) -> None:
    streams: list[str] = []

    async def pipeline(requests: Any, context: Any) -> None:
        streams.append("open")
        async for data in requests:
            await context.write(answered(data))

    async def scenario() -> None:
        method = grpc.stream_stream_rpc_method_handler(pipeline)
        async with (
            foreign(AppendEntriesPipeline=method) as address,
            started(rpc_timeout=0.1) as node,
        ):
            node.transport.set_peer("go", address)
            await one_answered(node)
            opened = len(streams)
            await asyncio.sleep(0.4)
            assert len(streams) == opened

    asyncio.run(scenario())


def test_nonsense_for_an_answer_ends_the_stream(started: Any, caplog: Any) -> None:
    async def pipeline(requests: Any, context: Any) -> None:
        async for _data in requests:
            await context.write(b"\xff\xff")

    async def scenario() -> None:
        method = grpc.stream_stream_rpc_method_handler(pipeline)
        async with foreign(AppendEntriesPipeline=method) as address, started() as node:
            node.transport.set_peer("go", address)
            await send_until(node, lambda: node.transport.counters["refused_by_peer"] > 1)
            assert node.handler.responses == []

    asyncio.run(scenario())
    assert len([r for r in caplog.records if "sent a malformed response" in r.message]) == 1


def test_a_refusal_is_logged_once_and_counted(started: Any, caplog: Any) -> None:
    async def scenario() -> None:
        async with started("a", "other") as other, started() as node:
            node.transport.set_peer("a", other.address)
            await until(lambda: node.transport.counters["refused_by_peer"] >= 2)
            assert other.transport.counters["refused_wrong_cluster"] >= 2

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert len([r for r in caplog.records if "WrongCluster" in r.message]) == 1


def test_a_message_beyond_the_limit_is_dropped_before_it_is_sent(started: Any, caplog: Any) -> None:
    async def scenario() -> None:
        async with started("go") as other, started(max_message_bytes=5000) as node:
            node.transport.set_peer("go", other.address)
            await one_answered(node)
            node.handler.unreachable.clear()
            node.transport.send(append(50, size=6000))
            assert node.handler.unreachable == ["go"]
            await send_until(node, lambda: other.handler.requests)

    asyncio.run(scenario())
    assert "exceeds max_message_bytes 5000" in caplog.text


def test_a_full_queue_drops_and_tells(started: Any) -> None:
    opened: list[bool] = []

    async def pipeline(_requests: Any, context: Any) -> None:
        await context.send_initial_metadata(())
        opened.append(True)
        await asyncio.sleep(60)  # never reads, so the flow control window fills up

    async def scenario() -> None:
        method = grpc.stream_stream_rpc_method_handler(pipeline)
        async with (
            foreign(AppendEntriesPipeline=method) as address,
            started(rpc_timeout=30) as node,
        ):
            node.transport.set_peer("go", address)
            await until(lambda: opened)
            for index in range(1, 100):
                node.transport.send(append(index, size=1 << 20))
            assert node.handler.unreachable == ["go"]

    asyncio.run(scenario())


def test_heartbeats_do_not_wait_behind_bulk_that_nobody_reads(started: Any) -> None:
    opened: list[bool] = []

    async def pipeline(_requests: Any, context: Any) -> None:
        await context.send_initial_metadata(())
        opened.append(True)
        await asyncio.sleep(60)  # never reads within the timeouts below

    async def single(data: bytes, _context: Any) -> bytes:
        return answered(data)

    async def scenario() -> None:
        methods = {
            "AppendEntriesPipeline": grpc.stream_stream_rpc_method_handler(pipeline),
            "AppendEntries": grpc.unary_unary_rpc_method_handler(single),
        }
        async with foreign(**methods) as address, started(rpc_timeout=60) as node:
            node.transport.set_peer("go", address)
            await until(lambda: opened)
            for index in range(1, 9):
                node.transport.send(append(index, size=1 << 20))
            node.transport.send(AppendEntries("b", "go", 1, 0, 0, [], 0, request_id=99))
            await until(lambda: node.handler.responses)
            assert node.handler.responses[0].request_id == 99

    asyncio.run(scenario())


def test_nothing_is_opened_before_the_node_is_in_a_cluster(started: Any) -> None:
    async def scenario() -> None:
        async with started("go") as other, started("b", "") as node:
            node.transport.set_peer("go", other.address)
            await asyncio.sleep(0.2)
            assert not other.transport.counters
            node.handler.identify(cluster_id="cl")
            await send_until(node, lambda: node.handler.responses)

    asyncio.run(scenario())


@pytest.mark.parametrize("times", [3])
def test_the_address_of_a_peer_may_change_often(started: Any, times: int) -> None:
    async def scenario() -> None:
        async with started("go") as one, started("go") as two, started() as node:
            for _ in range(times):
                for other in (one, two):
                    node.transport.set_peer("go", other.address)
                    node.transport.set_peer("go", other.address)
            await send_until(node, lambda: two.handler.requests)
            assert node.handler.lost == []

    asyncio.run(scenario())
