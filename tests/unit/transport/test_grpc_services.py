"""The gRPC port as clients other than braft see it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from braft_core.compat.go_braft.raft_service import details_message
from braft_core.errors import NotLeader
from braft_core.proto import message_class
from braft_core.raft.messages import AppendEntries, RequestVote
from braft_core.raft.types import Entry
from braft_core.transport.raft_codec import (
    decode_response,
    encode_entries,
    encode_header,
    encode_request,
)
from braft_testing.transport import answer_to, until

HEADER = encode_header("go", "h:1")
PIPELINE = "/RaftTransport/AppendEntriesPipeline"


def append(index: int) -> bytes:
    entries = [Entry(index, 1, 0, b"x")]
    message = AppendEntries("go", "b", 1, index - 1, 1, entries, 0)
    return encode_request(message, HEADER, b"h:1", encode_entries(entries))


async def unary(channel: grpc.aio.Channel, path: str, data: bytes) -> bytes:
    answer: bytes = await channel.unary_unary(path)(data, timeout=20)
    return answer


async def status(channel: grpc.aio.Channel, path: str, data: bytes, **options: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(path)(data, timeout=20, **options)
    return caught.value


def test_the_original_service_applies_and_tells(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started() as node, stranger(node.address) as channel:
            request = message_class("ApplyRequest")(request=b"abc").SerializeToString()
            answer = await unary(channel, "/Raft/ApplyLog", request)
            assert message_class("ApplyResponse").FromString(answer).response == b"cba"
            answer = await unary(channel, "/Raft/GetDetails", b"")
            assert message_class("GetDetailsResponse").FromString(answer).serverId == "b"

    asyncio.run(scenario())


def test_details_fill_every_field_of_the_original() -> None:
    details = {
        "serverID": "s",
        "raftState": "Leader",
        "leader": "l",
        "raftPort": 1,
        "discoveryPort": 2,
        "httpPort": 3,
        "error": "e",
        "discoveryNodes": ["a", "b"],
        "startTime": "t",
        "duration": "d",
        "rss": 4,
        "raftLogSum": 5,
        "pid": 6,
        "pcpu": 0.5,
        "bizData": {"k": [1]},
        "addr": ["h"],
        "leaderID": "i",
        "nodeIds": ["n"],
        "more": object(),
    }
    cls = message_class("GetDetailsResponse")
    message = cls.FromString(details_message(details))
    assert len(message.ListFields()) == len(cls.DESCRIPTOR.fields)
    assert (message.serverId, message.nodeIds[0], message.pcpu) == ("s", "n", 0.5)
    assert json.loads(message.bizData) == {"k": [1]}
    assert cls.FromString(details_message({"error": None})) == cls()


def test_a_failed_command_has_a_status_for_everybody(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started() as node, stranger(node.address) as channel:

            async def fail(_data: bytes) -> bytes:
                raise NotLeader("ask c ü " + "x" * 9000, leader="c")

            node.handler.on_apply_log = fail
            error = await status(channel, "/Raft/ApplyLog", b"")
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert error.details().startswith("ask c ü x")

            async def bug(_data: bytes) -> bytes:
                raise ZeroDivisionError("oops")

            node.handler.on_apply_log = bug
            error = await status(channel, "/Raft/ApplyLog", b"")
            assert error.code() is grpc.StatusCode.INTERNAL
            assert "ZeroDivisionError: oops" in error.details()

    asyncio.run(scenario())


def test_health(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started() as node, stranger(node.address) as channel:
            for name in ("", "RaftTransport", "Raft", "braft.v1.Peer"):
                request = health_pb2.HealthCheckRequest(service=name).SerializeToString()
                answer = await unary(channel, "/grpc.health.v1.Health/Check", request)
                assert health_pb2.HealthCheckResponse.FromString(answer).status == 1

    asyncio.run(scenario())


async def reflect(channel: grpc.aio.Channel, **question: str) -> Any:
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    call = channel.stream_stream(path)(timeout=20)
    await call.write(reflection_pb2.ServerReflectionRequest(**question).SerializeToString())
    data = await call.read()
    call.cancel()
    return reflection_pb2.ServerReflectionResponse.FromString(data)


def test_reflection_shows_every_service_and_its_messages(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started() as node, stranger(node.address) as channel:
            answer = await reflect(channel, list_services="")
            names = {service.name for service in answer.list_services_response.service}
            assert names >= {"RaftTransport", "Raft", "braft.v1.Peer", "grpc.health.v1.Health"}
            for name in names:
                answer = await reflect(channel, file_containing_symbol=name)
                raw = answer.file_descriptor_response.file_descriptor_proto[0]
                file = descriptor_pb2.FileDescriptorProto.FromString(raw)
                assert name.rpartition(".")[2] in [service.name for service in file.service]

    asyncio.run(scenario())


def test_reflection_can_be_turned_off(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started(reflection=False) as node, stranger(node.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await reflect(channel, list_services="")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())


def test_both_ports_serve(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started(listen=("127.0.0.1:0", "127.0.0.1:0")) as node:
            assert len(set(node.transport.listening)) == 2
            for address in node.transport.listening:
                async with stranger(address) as channel:
                    await unary(channel, "/Raft/GetDetails", b"")

    asyncio.run(scenario())


def test_a_peer_without_our_metadata_is_served_in_order(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started() as node, stranger(node.address) as channel:
            node.handler.answer = lambda _request: None
            call = channel.stream_stream(PIPELINE)(timeout=20)
            for index in (5, 6, 7):
                await call.write(append(index))
            await until(lambda: len(node.handler.requests) == 3)
            for request in reversed(node.handler.requests):
                node.transport.reply(answer_to(request))
            answers = [decode_response(AppendEntries, await call.read(), "b", "go") for _ in "123"]
            assert [answer.last_log for answer in answers] == [5, 6, 7]  # type: ignore[union-attr]
            assert node.handler.requests[0].sender == "go"
            call.cancel()
            await until(lambda: node.handler.lost == ["go"])

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("metadata", "code", "counter"),
    [
        ((("braft-cluster-id", "x"),), grpc.StatusCode.FAILED_PRECONDITION, "wrong_cluster"),
        ((("braft-to", "x"),), grpc.StatusCode.FAILED_PRECONDITION, "wrong_target"),
    ],
)
def test_refusals_are_clear_and_counted(
    started: Any, stranger: Any, metadata: Any, code: grpc.StatusCode, counter: str
) -> None:
    async def scenario() -> None:
        async with started() as node, stranger(node.address) as channel:
            path = "/RaftTransport/AppendEntries"
            error = await status(channel, path, append(1), metadata=metadata)
            assert error.code() is code
            assert "not x" in error.details()
            assert node.transport.counters[f"refused_{counter}"] == 1
            assert node.handler.requests == []

    asyncio.run(scenario())


def test_a_node_without_a_cluster_is_unavailable(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started(cluster_id="") as node, stranger(node.address) as channel:
            error = await status(channel, "/RaftTransport/AppendEntries", append(1))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert "not in a cluster" in error.details()
            call = channel.stream_stream(PIPELINE)(timeout=20)
            with pytest.raises(grpc.aio.AioRpcError, match="not in a cluster"):
                await call.read()

    asyncio.run(scenario())


def test_a_stream_ends_when_the_node_changes_its_cluster(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started() as node, stranger(node.address) as channel:
            call = channel.stream_stream(PIPELINE)(timeout=20)
            await call.write(append(1))
            await call.read()
            node.handler.identify(cluster_id="recovered")
            await call.write(append(2))
            with pytest.raises(grpc.aio.AioRpcError, match="changed its cluster"):
                await call.read()
            assert len(node.handler.requests) == 1

    asyncio.run(scenario())


RAFT_METHODS = ("AppendEntries", "RequestVote", "RequestPreVote", "TimeoutNow")
PEER_METHODS = ("Probe", "Bootstrap", "Join", "Announce", "Propose", "ReadIndex", "Details")
GARBAGE = (b"\xff" * 40, b"\x0a\x7f", b"\x08\x96\x01" * 5, bytes(range(256)))


def test_garbage_bytes_are_answered_as_such(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started() as node, stranger(node.address) as channel:
            paths = [f"/RaftTransport/{name}" for name in RAFT_METHODS]
            for path in [*paths, *(f"/braft.v1.Peer/{name}" for name in PEER_METHODS)]:
                for data in GARBAGE[:2]:
                    error = await status(channel, path, data)
                    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, path
            for data in GARBAGE:
                call = channel.stream_stream(PIPELINE)(timeout=20)
                await call.write(data)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert node.handler.requests == []
            assert node.handler.lost == []
            vote = encode_request(RequestVote("go", "b", 1, 1, 1), HEADER, b"h:1")
            assert await unary(channel, "/RaftTransport/RequestVote", vote)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "noise",
    [
        b"\x00" * 100,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200,
        bytes(range(256)) * 8,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"",
    ],
    ids=["zeros", "http1", "half preface", "bad frames", "bytes", "tls", "nothing"],
)
def test_noise_on_the_port_disturbs_nobody(started: Any, stranger: Any, noise: bytes) -> None:
    async def scenario() -> None:
        async with started() as node, stranger(node.address) as channel:
            host, _, port = node.address.rpartition(":")
            for _ in range(3):
                _reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(noise)
                await writer.drain()
                writer.close()
            await unary(channel, "/Raft/GetDetails", b"")
            assert node.handler.requests == []

    asyncio.run(scenario())


def test_a_message_beyond_the_limit_is_not_read(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started(max_message_bytes=10_000) as node, stranger(node.address) as channel:
            request = message_class("ApplyRequest")(request=b"x" * 20_000).SerializeToString()
            error = await status(channel, "/Raft/ApplyLog", request)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await unary(channel, "/Raft/GetDetails", b"")

    asyncio.run(scenario())
