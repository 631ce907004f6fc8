"""Snapshots over gRPC: streams of other implementations, stalling peers, and memory."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest

from braft_core.errors import StorageFull
from braft_core.proto import message_class
from braft_core.raft.messages import InstallSnapshot, InstallSnapshotResponse
from braft_core.raft.types import SnapshotMeta, encode_configuration
from braft_core.storage.file_snapshots import FileSnapshots
from braft_core.transport.grpc.raft_server import RaftTransportServer
from braft_core.transport.raft_codec import decode_response
from braft_testing.snapshots import CONFIGURATION, pattern, put
from braft_testing.transport import PATIENCE, PATIENT_TIMING, until
from braft_testing.transport_snapshots import WatchedSnapshots, transfer_threads

PATH = "/RaftTransport/InstallSnapshot"
Wire = message_class("InstallSnapshotRequest")
Answer = message_class("InstallSnapshotResponse")


def head(size: int, **others: Any) -> bytes:
    """Encode the first message as HashiCorp raft's leader does."""
    fields: dict[str, Any] = {
        "rpc_header": {"protocol_version": 3, "id": b"go", "addr": b"h:1"},
        "term": 6,
        "leader": b"h:1",
        "last_log_index": 40,
        "last_log_term": 5,
        "peers": b"\x91\xa3h:1",
        "configuration": encode_configuration(CONFIGURATION),
        "configuration_index": 30,
        "size": size,
        "snapshot_version": 1,
        **others,
    }
    data: bytes = Wire(**fields).SerializeToString()
    return data


def chunk(data: bytes) -> bytes:
    encoded: bytes = Wire(data=data).SerializeToString()
    return encoded


async def stream(channel: grpc.aio.Channel, *messages: bytes, **options: Any) -> Any:
    """Send a stream to its end; return the call."""
    call = channel.stream_unary(PATH)(timeout=20, **options)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for message in messages:
            await call.write(message)
        await call.done_writing()
    return call


async def no_threads() -> None:
    await until(lambda: not transfer_threads(), "no thread of a transfer is left")


@contextlib.asynccontextmanager
async def watched(started: Any, **options: Any) -> AsyncIterator[tuple[Any, WatchedSnapshots]]:
    store = WatchedSnapshots()
    async with started(**options) as node:
        node.handler.snapshots = store
        yield node, store
    await no_threads()


def test_the_stream_of_a_hashicorp_leader(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with watched(started) as (node, store), stranger(node.address) as channel:
            contents = [chunk(b"ab"), chunk(b""), chunk(b"cde")]
            answer = await (await stream(channel, head(5), *contents))
            response = decode_response(InstallSnapshot, answer, "b", "go")
            assert response == InstallSnapshotResponse("b", "go", 6, success=True)
            [message] = node.handler.requests
            assert (message.sender, message.to, message.term) == ("go", "b", 6)
            meta = message.meta
            assert meta == SnapshotMeta(meta.id, 40, 5, CONFIGURATION, 30, 5, meta.checksum)
            assert b"".join(store.open(message.meta.id)) == b"abcde"

    asyncio.run(scenario())


def test_contents_in_the_first_message_count(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with watched(started) as (node, store), stranger(node.address) as channel:
            await (await stream(channel, head(5, data=b"abc"), chunk(b"de")))
            assert b"".join(store.open(node.handler.requests[0].meta.id)) == b"abcde"

    asyncio.run(scenario())


BAD_STREAMS = {
    "nothing": [],
    "garbage": [b"\xff" * 40],
    "garbage behind the head": [head(5), b"\xff" * 40],
    "no sender": [head(5, rpc_header={"protocol_version": 3})],
    "negative size": [head(-1)],
    "configuration is none": [head(5, configuration=b"\xc1")],
    "short": [head(5), chunk(b"abcd")],
    "long": [head(5), chunk(b"abc"), chunk(b"def")],
    "no contents": [head(5)],
    "contents of none": [head(0), chunk(b"a")],
}


@pytest.mark.parametrize("messages", BAD_STREAMS.values(), ids=BAD_STREAMS)
def test_a_stream_that_cannot_be_used_leaves_nothing(
    started: Any, stranger: Any, messages: list[bytes]
) -> None:
    async def scenario() -> None:
        async with watched(started) as (node, store), stranger(node.address) as channel:
            call = await stream(channel, *messages)
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert node.handler.requests == []
            await until(lambda: store.events in ([], ["begun", "aborted"]), str(store.events))
            assert store.list() == []
            assert (await (await stream(channel, head(1), chunk(b"x")))) is not None

    asyncio.run(scenario())


@pytest.mark.parametrize("metadata", [(("braft-cluster-id", "x"),), (("braft-to", "x"),)])
def test_snapshots_of_unknown_senders_are_refused_before_anything_is_stored(
    started: Any, stranger: Any, metadata: Any
) -> None:
    async def scenario() -> None:
        async with watched(started) as (node, store), stranger(node.address) as channel:
            call = channel.stream_unary(PATH)(timeout=20, metadata=metadata)
            assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
            node.handler.identify(cluster_id="")
            call = channel.stream_unary(PATH)(timeout=20)
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert store.events == []

    asyncio.run(scenario())


def test_a_full_disk_has_a_status(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with watched(started) as (node, store), stranger(node.address) as channel:

            def full(_chunk: bytes) -> None:
                raise StorageFull("no space left")

            store.writing = full
            call = await stream(channel, head(5), chunk(b"abcde"))
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await call.details() == "no space left"

    asyncio.run(scenario())


def test_a_bug_of_the_node_leaves_nothing_and_is_logged(
    started: Any, stranger: Any, caplog: Any
) -> None:
    async def scenario() -> None:
        async with watched(started) as (node, store), stranger(node.address) as channel:
            store.writing = lambda _chunk: 1 / 0
            call = await stream(channel, head(5), chunk(b"abcde"))
            assert await call.code() is grpc.StatusCode.UNKNOWN
            await until(lambda: store.events == ["begun", "aborted"])

    asyncio.run(scenario())
    assert "ZeroDivisionError" in caplog.text


def test_a_node_that_changes_its_cluster_meanwhile_takes_nothing(
    started: Any, stranger: Any
) -> None:
    async def scenario() -> None:
        async with watched(started) as (node, store), stranger(node.address) as channel:
            call = channel.stream_unary(PATH)(timeout=20)
            await call.write(head(1))
            await until(lambda: store.events == ["begun"])
            node.handler.identify(cluster_id="recovered")
            await call.write(chunk(b"x"))
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
            await until(lambda: store.events == ["begun", "aborted"])
            assert node.handler.requests == []

    asyncio.run(scenario())


def test_a_silent_sender_is_given_up(started: Any, stranger: Any) -> None:
    timing = replace(PATIENT_TIMING, snapshot_silence=0.2)

    async def scenario() -> None:
        async with (
            watched(started, timing=timing) as (node, store),
            stranger(node.address) as channel,
        ):
            call = channel.stream_unary(PATH)(timeout=20)
            await call.write(head(5, data=b"ab"))
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await until(lambda: store.events == ["begun", "aborted"])

    asyncio.run(scenario())


def test_what_is_stored_reaches_the_node_though_the_leader_hung_up(
    started: Any, stranger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung_up: list[bool] = []
    until_stopped = RaftTransportServer.until_stopped

    async def watched_call(server: Any, serving: Any, context: Any) -> bytes:
        try:
            return await until_stopped(server, serving, context)
        except asyncio.CancelledError:
            hung_up.append(True)
            raise

    monkeypatch.setattr(RaftTransportServer, "until_stopped", watched_call)

    async def scenario() -> None:
        async with watched(started) as (node, store), stranger(node.address) as channel:
            node.handler.answer = lambda _request: None
            reached, go = held_commit(store)
            call = await stream(channel, head(5), chunk(b"abcde"))
            await until(reached.is_set, "the snapshot is being stored")
            call.cancel()
            await until(lambda: hung_up, "the call has ended at the receiver")
            go.set()
            await until(lambda: node.handler.requests, "the node is told")
            response = InstallSnapshotResponse("b", "go", 6, True)
            response.context = node.handler.requests[0].context
            node.transport.reply(response)
            assert len(store.list()) == 1

    asyncio.run(scenario())


def held_commit(store: WatchedSnapshots) -> tuple[threading.Event, threading.Event]:
    """Hold the next commit; return events for its begin and for the permission."""
    reached, go = threading.Event(), threading.Event()
    create = store.create

    def created(*args: Any) -> Any:
        sink: Any = create(*args)
        commit = sink.commit

        def later() -> Any:
            reached.set()
            go.wait(PATIENCE)
            return commit()

        sink.commit = later
        return sink

    hooked: Any = store
    hooked.create = created
    return reached, go


# ------------------------------------------------------------------ our sender, foreign servers


@contextlib.asynccontextmanager
async def foreign(install: Any) -> AsyncIterator[str]:
    """Run a server that offers nothing but InstallSnapshot."""
    # Fixed windows: otherwise gRPC sometimes buffers all data that the handler does not read.
    server = grpc.aio.server(options=(("grpc.http2.bdp_probe", 0),))
    handlers = {"InstallSnapshot": grpc.stream_unary_rpc_method_handler(install)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("RaftTransport", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def snapshot(node: Any, size: int = 5 << 20) -> InstallSnapshot:
    meta = put(node.handler.snapshots, 5, [pattern(size)], term=2)
    return InstallSnapshot(node.id, "c", 3, meta, request_id=7)


async def answer_of(node: Any, message: InstallSnapshot) -> InstallSnapshotResponse:
    node.transport.send(message)
    await until(lambda: node.handler.responses, "the answer")
    [response] = node.handler.responses
    assert isinstance(response, InstallSnapshotResponse)
    return response


def test_a_hashicorp_follower_gets_metadata_first_and_then_contents_alone(started: Any) -> None:
    seen: list[Any] = []

    async def install(_requests: Any, context: Any) -> bytes:
        while (data := await context.read()) is not grpc.aio.EOF:
            assert len(data) <= (1 << 20) + 64
            seen.append(Wire.FromString(data))
        answer: bytes = Answer(term=4, success=True).SerializeToString()
        return answer

    async def scenario() -> None:
        async with foreign(install) as address, watched(started) as (node, _store):
            node.transport.set_peer("c", address)
            response = await answer_of(node, snapshot(node))
            assert response == InstallSnapshotResponse("c", "b", 4, True, request_id=7)

    asyncio.run(scenario())
    first, *rest = seen
    own = {"protocol_version": 3, "id": b"b", "addr": first.rpc_header.addr}
    expected = Wire(
        rpc_header=own,
        term=3,
        leader=first.rpc_header.addr,
        last_log_index=5,
        last_log_term=2,
        configuration=encode_configuration(CONFIGURATION),
        configuration_index=2,
        size=5 << 20,
        snapshot_version=1,
    )
    assert first == expected
    assert all(message == Wire(data=message.data) for message in rest)
    assert b"".join(message.data for message in rest) == pattern(5 << 20)


def test_an_answer_before_the_end_of_the_contents_counts(started: Any) -> None:
    # A write at the end of the call would hide the answer.
    timing = replace(PATIENT_TIMING, snapshot_accept=PATIENCE)

    async def install(_requests: Any, context: Any) -> bytes:
        await context.read()
        answer: bytes = Answer(term=9, success=False).SerializeToString()
        return answer

    async def scenario() -> None:
        async with foreign(install) as address, watched(started, timing=timing) as (node, _store):
            node.transport.set_peer("c", address)
            response = await answer_of(node, snapshot(node))
            assert response == InstallSnapshotResponse("c", "b", 9, False, request_id=7)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("setting", "reads"),
    [("snapshot_stall", 1), ("snapshot_answer", 1000)],
    ids=["taking", "answering"],
)
def test_a_peer_that_stops_is_given_up(started: Any, caplog: Any, setting: str, reads: int) -> None:
    timing = replace(PATIENT_TIMING, **{setting: 0.3})

    async def install(_requests: Any, context: Any) -> bytes:
        for _ in range(reads):
            if await context.read() is grpc.aio.EOF:
                break
        await asyncio.sleep(60)
        return b""

    async def scenario() -> None:
        async with foreign(install) as address, watched(started, timing=timing) as (node, _store):
            node.transport.set_peer("c", address)
            response = await answer_of(node, snapshot(node))
            assert response == InstallSnapshotResponse("c", "b", 0, False, request_id=7)

    asyncio.run(scenario())
    assert "for 0.3 s" in caplog.text


def test_nonsense_for_an_answer_and_a_peer_without_snapshots_are_failures(
    started: Any, caplog: Any
) -> None:
    async def install(_requests: Any, context: Any) -> bytes:
        while await context.read() is not grpc.aio.EOF:
            continue
        return b"\xff" * 30

    async def scenario() -> None:
        async with foreign(install) as address, watched(started) as (node, _store):
            node.transport.set_peer("c", address)
            failed = InstallSnapshotResponse("c", "b", 0, False, request_id=7)
            assert await answer_of(node, snapshot(node, 10)) == failed
            node.handler.responses.clear()
            # A write at the end of the call hides the reason, the first one sometimes as well.
            timing = replace(PATIENT_TIMING, snapshot_accept=PATIENCE)
            async with _empty_server() as other, watched(started, timing=timing) as (node, _store):
                node.transport.set_peer("c", other)
                after = 0
                for _ in range(50):
                    assert await answer_of(node, snapshot(node, 10)) == failed
                    node.handler.responses.clear()
                    after += "UNIMPLEMENTED" in caplog.text
                    if after == 3:
                        break

    asyncio.run(scenario())
    assert "UNIMPLEMENTED" in caplog.text
    records = [record for record in caplog.records if "did not reach" in record.getMessage()]
    reasons = [str(record.args[-1]) for record in records]
    assert all(one != next_one for one, next_one in pairwise(reasons)), "a reason is logged once"
    assert len(reasons) < 50


@contextlib.asynccontextmanager
async def _empty_server() -> AsyncIterator[str]:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def test_a_large_snapshot_needs_little_memory(started: Any, tmp_path: Path) -> None:
    size = 100 << 20

    async def scenario() -> int:
        async with started("a") as a, started("b") as b:
            a.handler.snapshots = FileSnapshots(tmp_path / "a")
            b.handler.snapshots = FileSnapshots(tmp_path / "b")
            a.meets(b)
            meta = put(a.handler.snapshots, 5, _blocks(size), term=2)
            process = psutil.Process()
            before: int = process.memory_info().rss
            peak = before
            a.transport.send(InstallSnapshot("a", "b", 3, meta, request_id=7))

            def over() -> bool:
                nonlocal peak
                peak = max(peak, process.memory_info().rss)
                return any(isinstance(r, InstallSnapshotResponse) for r in a.handler.responses)

            async with asyncio.timeout(60):
                while not over():  # noqa: ASYNC110 - it samples the memory
                    await asyncio.sleep(0.005)
            assert b.handler.requests[-1].meta.size == size
        return peak - before

    assert asyncio.run(scenario()) < 30 << 20


def _blocks(size: int) -> Iterator[bytes]:
    block = pattern(1 << 20)
    return (block for _ in range(size >> 20))
