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

from braft_core import peer
from braft_core.abc import TransportHandler
from braft_core.compat.go_braft.raft_service import METHODS as RAFT_METHODS
from braft_core.compat.go_braft.raft_service import SERVICE
from braft_core.errors import BraftError, WrongCluster
from braft_core.transport.admission import WRONG_CLUSTER, refuse_call
from braft_core.transport.call_codec import METHODS, decode_peer, encode_peer
from braft_core.transport.grpc.bounded_calls import BoundedCalls
from braft_core.transport.grpc.call_auth import CallAuthorizer
from braft_core.transport.grpc.error_status import fail
from braft_core.transport.grpc.grpc_endpoint import CLUSTER, GrpcEndpoint, pairs, text
from braft_core.transport.size_limits import MAX_CALL, call_limit

__all__ = ["SERVICES", "peer_service", "raft_service"]

_log = logging.getLogger(__name__)

SERVICES = ("RaftTransport", SERVICE, "braft.v1.Peer")

Handler = Callable[[bytes, Any], Awaitable[bytes]]


def _guarded(
    authorizer: CallAuthorizer,
    bounded: BoundedCalls,
    method: str,
    serve: Handler,
    limit: int | None = None,
) -> Any:
    """Admit the calls of a method, and send what ``serve`` raises as a status and the error."""

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
    """Return the handlers of ``braft.v1.Peer``: one RPC per request class."""
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
    """Serve the Go original's service ``Raft``."""
    limits = {"GetDetails": MAX_CALL}
    handlers = {
        name: _guarded(
            authorizer, bounded, f"/{SERVICE}/{name}", _raft_method(local, call), limits.get(name)
        )
        for name, call in RAFT_METHODS.items()
    }
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _raft_method(
    local: GrpcEndpoint, call: Callable[[TransportHandler, bytes], Awaitable[bytes]]
) -> Handler:
    async def serve(data: bytes, _context: Any) -> bytes:
        return await call(local.handler, data)

    return serve
