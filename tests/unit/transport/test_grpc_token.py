"""The token on the gRPC port: who is let in, what is said to the others."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2

from braft_core.abc import TransportOptions
from braft_core.errors import AccessDenied
from braft_core.peer import (
    ChangeMembershipRequest,
    DetailsReply,
    DetailsRequest,
    PeerReply,
    PeerRequest,
)
from braft_core.proto import message_class
from braft_core.raft.messages import RequestVote
from braft_core.transport.codec import encode_header, encode_request

SECRET = "s3cret-token"


async def details(_request: PeerRequest) -> PeerReply:
    return DetailsReply(b"{}")


def test_nodes_with_the_same_token_talk(started: Any) -> None:
    async def scenario() -> None:
        async with started("a", token=SECRET) as a, started("b", token=SECRET) as b:
            b.handler.on_called = details
            assert await a.transport.call(b.address, DetailsRequest(), 20) == DetailsReply(b"{}")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("token", "why"), [("", "asks for a token"), ("other", "refuses the token that was sent")]
)
def test_a_node_without_the_token_is_told_why_and_does_nothing(
    started: Any, token: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    async def scenario() -> None:
        async with started("a", token=token) as a, started("b", token=SECRET) as b:
            b.handler.on_called = details
            for request in (DetailsRequest(), ChangeMembershipRequest("promote", "x", "", 10)):
                with pytest.raises(AccessDenied, match=why) as caught:
                    await a.transport.call(b.address, request, 20)
                assert "BRAFT_TOKEN" in caught.value.message
                assert b.address in caught.value.message
            assert b.handler.calls == []
            assert b.transport.counters["refused_token"] == 2

    asyncio.run(scenario())
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        ((), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Basic abc"),), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Bearer "),), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Bearer wrong"),), grpc.StatusCode.PERMISSION_DENIED),
        ((("authorization", f"bearer {SECRET}"),), None),
    ],
    ids=["none", "another scheme", "empty", "wrong", "right"],
)
def test_other_clients_get_a_status(
    started: Any, stranger: Any, metadata: Any, status: grpc.StatusCode | None
) -> None:
    async def scenario() -> None:
        async with started("b", token=SECRET) as node, stranger(node.address) as channel:
            request = message_class("ApplyRequest")(request=b"abc").SerializeToString()
            for path in ("/Raft/ApplyLog", "/Raft/GetDetails", "/braft.v1.Peer/Details"):
                node.handler.on_called = details
                call = channel.unary_unary(path)(request, timeout=20, metadata=metadata)
                if status is None and "Peer" not in path:
                    await call
                elif status is not None:
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await call
                    assert caught.value.code() is status
                    assert "token" in (caught.value.details() or "")

    asyncio.run(scenario())


def test_raft_and_health_need_none(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started("b", token=SECRET) as node, stranger(node.address) as channel:
            vote = RequestVote("go", "b", 1, 1, 1)
            data = encode_request(vote, encode_header("go", "h:1"), b"h:1", b"")
            assert await channel.unary_unary("/RaftTransport/RequestVote")(data, timeout=20)
            answer = await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20)
            serving = health_pb2.HealthCheckResponse.SERVING
            assert health_pb2.HealthCheckResponse.FromString(answer).status == serving

    asyncio.run(scenario())


def test_options_do_not_show_the_token() -> None:
    assert SECRET not in repr(TransportOptions(listen=(), token=SECRET))
