"""The services beside ``RaftTransport``.

They are the original's ``Raft`` and ``braft.v1.Peer``. Owns their registration and the form of
their answers; what they do is the node's affair.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from braft_core import jsontext, peer
from braft_core.errors import BraftError, DecodeError, WrongCluster
from braft_core.proto import ProtobufError, message_class
from braft_core.transport.admission import WRONG_CLUSTER, refuse_call
from braft_core.transport.call_codec import METHODS, decode_peer, encode_peer
from braft_core.transport.grpc.bounded_calls import BoundedCalls
from braft_core.transport.grpc.call_auth import CallAuthorizer
from braft_core.transport.grpc.error_status import fail
from braft_core.transport.grpc.grpc_endpoint import CLUSTER, GrpcEndpoint, pairs, text
from braft_core.transport.size_limits import MAX_CALL, call_limit

__all__ = [
    "SERVICES",
    "details_message",
    "peer_service",
    "raft_service",
]

_log = logging.getLogger(__name__)

SERVICES = ("RaftTransport", "Raft", "braft.v1.Peer")

_ApplyRequest = message_class("ApplyRequest")
_ApplyResponse = message_class("ApplyResponse")
_Details = message_class("GetDetailsResponse")

#: Protobuf field of GetDetailsResponse → key of ``GET /raft``, where they differ.
_DETAILS_KEYS = {"serverId": "serverID"}

Handler = Callable[[bytes, Any], Awaitable[bytes]]


def _guarded(
    authorizer: CallAuthorizer,
    bounded: BoundedCalls,
    method: str,
    serve: Handler,
    limit: int | None = None,
) -> Any:
    """Admit the calls of a method, and turn what ``serve`` raises into a status and the error."""

    async def guarded(data: bytes, context: Any) -> bytes:
        try:
            return await serve(data, context)
        except BraftError as error:
            await fail(context, error)
        # A bug in a handler must reach the caller as an answer and the log as a traceback.
        except Exception as error:  # noqa: BLE001
            _log.exception("a peer call failed")
            await fail(context, BraftError(f"internal error: {type(error).__name__}: {error}"))

    return bounded.method(authorizer.admits(method), guarded, limit)


# ---------------------------------------------------------------------- braft.v1.Peer


def peer_service(
    local: GrpcEndpoint, authorizer: CallAuthorizer, bounded: BoundedCalls
) -> grpc.GenericRpcHandler:
    """One RPC per request class of ``braft_core.peer``."""
    handlers = {
        name: _guarded(
            authorizer,
            bounded,
            f"/braft.v1.Peer/{name}",
            _peer_method(local, kind),
            call_limit(kind),
        )
        for name, kind in METHODS.items()
    }
    return grpc.method_handlers_generic_handler("braft.v1.Peer", handlers)


def _peer_method(local: GrpcEndpoint, kind: type[peer.PeerRequest]) -> Handler:
    async def serve(data: bytes, context: Any) -> bytes:
        theirs = text(pairs(context.invocation_metadata()).get(CLUSTER, ""))
        reason = refuse_call(local.identity, kind, theirs)
        if reason:
            local.counters[WRONG_CLUSTER] += 1
            raise WrongCluster(reason, cluster_id=local.identity.cluster_id)
        return encode_peer(await local.handler.on_call(decode_peer(kind, data)))

    return serve


# ---------------------------------------------------------------------- Raft


def raft_service(
    local: GrpcEndpoint, authorizer: CallAuthorizer, bounded: BoundedCalls
) -> grpc.GenericRpcHandler:
    """The original's service."""

    async def apply_log(data: bytes, _context: Any) -> bytes:
        try:
            command = _ApplyRequest.FromString(data).request
        except ProtobufError as error:
            raise DecodeError(f"not an ApplyRequest: {error}") from error
        answer = await local.handler.on_apply_log(command)
        encoded: bytes = _ApplyResponse(response=answer).SerializeToString()
        return encoded

    async def get_details(_data: bytes, _context: Any) -> bytes:
        # The request tells the caller's address; ours learns addresses by announcements.
        return details_message(await local.handler.on_details())

    handlers = {
        "ApplyLog": _guarded(authorizer, bounded, "/Raft/ApplyLog", apply_log),
        "GetDetails": _guarded(authorizer, bounded, "/Raft/GetDetails", get_details, MAX_CALL),
    }
    return grpc.method_handlers_generic_handler("Raft", handlers)


def details_message(details: dict[str, Any]) -> bytes:
    """``GetDetailsResponse`` of a node's entry in ``GET /raft``; keys it lacks are left out."""
    values: dict[str, Any] = {}
    for field in _Details.DESCRIPTOR.fields:
        value = details.get(_DETAILS_KEYS.get(field.name, field.name))
        if value is None:
            continue
        if field.name == "bizData" and not isinstance(value, str):
            value = jsontext.dumps(value, anything=True)
        values[field.name] = value
    encoded: bytes = _Details(**values).SerializeToString()
    return encoded
