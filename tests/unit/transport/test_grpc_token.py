"""The token on the gRPC port: who is admitted, and the errors for others."""

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
from braft_core.tokens import Keyring
from braft_core.transport.raft_codec import encode_header, encode_request

SECRET = "s3cret-token-s3cret"
READER = "reader-token-reader"


async def details(_request: PeerRequest) -> PeerReply:
    return DetailsReply(b"{}")


def test_nodes_with_the_same_token_talk(started: Any) -> None:
    async def scenario() -> None:
        async with started("a", token=SECRET) as a, started("b", token=SECRET) as b:
            b.handler.on_called = details
            assert await a.transport.call(b.address, DetailsRequest(), 20) == DetailsReply(b"{}")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("token", "why", "refused"),
    [("", "asks for a token", 2), ("other-other-other-other", "does not know the token", 0)],
)
def test_a_node_without_the_token_gets_the_reason_and_does_nothing(
    started: Any, token: str, why: str, refused: int, caplog: pytest.LogCaptureFixture
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
            assert b.transport.counters["refused_token"] == refused

    asyncio.run(scenario())
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        ((), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Basic abc"),), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Bearer "),), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Bearer wrong"),), grpc.StatusCode.PERMISSION_DENIED),
        ((("authorization", f"Bearer {READER}"),), grpc.StatusCode.PERMISSION_DENIED),
        ((("authorization", f"bearer {SECRET}"),), None),
    ],
    ids=["none", "another scheme", "empty", "wrong", "of a lesser role", "right"],
)
def test_other_clients_get_a_status(
    started: Any, stranger: Any, metadata: Any, status: grpc.StatusCode | None
) -> None:
    async def scenario() -> None:
        tokens = f"{SECRET},read:{READER}"
        async with started("b", token=tokens) as node, stranger(node.address) as channel:
            request = message_class("ApplyRequest")(request=b"abc").SerializeToString()
            for path in ("/Raft/ApplyLog", "/Raft/GetDetails", "/braft.v1.Peer/Details"):
                node.handler.on_called = details
                call = channel.unary_unary(path)(request, timeout=20, metadata=metadata)
                if "Peer" in path:  # only for nodes, which prove that they know the token
                    expected: grpc.StatusCode | None = grpc.StatusCode.UNAUTHENTICATED
                else:
                    reads = path.endswith("GetDetails") and READER in str(metadata)
                    expected = None if reads else status
                if expected is None:
                    await call
                    continue
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                assert caught.value.code() is expected
                assert "token" in (caught.value.details() or "")
                assert SECRET not in (caught.value.details() or "")

    asyncio.run(scenario())


@pytest.mark.parametrize("asked_for", [True, False])
def test_raft_needs_a_proof_unless_there_are_hashicorp_servers(
    started: Any, stranger: Any, asked_for: bool
) -> None:
    async def scenario() -> None:
        options = {"token": SECRET, "unproved_raft": asked_for}
        async with started("b", **options) as node, stranger(node.address) as channel:
            vote = RequestVote("go", "b", 1, 1, 1)
            data = encode_request(vote, encode_header("go", "h:1"), b"h:1", b"")
            call = channel.unary_unary("/RaftTransport/RequestVote")(data, timeout=20)
            if asked_for:
                assert await call
                return
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert node.handler.requests == []

    asyncio.run(scenario())


def test_health_needs_none(started: Any, stranger: Any) -> None:
    async def scenario() -> None:
        async with started("b", token=SECRET) as node, stranger(node.address) as channel:
            answer = await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20)
            serving = health_pb2.HealthCheckResponse.SERVING
            assert health_pb2.HealthCheckResponse.FromString(answer).status == serving

    asyncio.run(scenario())


def test_options_do_not_show_the_token() -> None:
    assert SECRET not in repr(TransportOptions(listen=(), keyring=Keyring.of(SECRET)))
