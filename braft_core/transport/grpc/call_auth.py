"""Authorizes gRPC calls: nodes that proved the token, and for ``Raft`` holders of a token.

Decides before anything of the request is read. No secret gets into an error or a log line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from braft_core.errors import AccessDenied
from braft_core.tokens import bearer, role_for_rpc
from braft_core.transport.grpc.auth_sessions import AuthSessions
from braft_core.transport.grpc.authenticated_context import AuthenticatedContext
from braft_core.transport.grpc.bounded_calls import host_of
from braft_core.transport.grpc.call_mac import PROOF, SESSION, unpack
from braft_core.transport.grpc.error_status import fail
from braft_core.transport.grpc.grpc_endpoint import CLUSTER, SENDER, TO, GrpcEndpoint, pairs, text
from braft_core.transport.token_handshake import token_required_error, token_unset_error

__all__ = ["CallAuthorizer", "signed_fields"]

_AUTHORIZATION = "authorization"


def signed_fields(method: str, metadata: dict[str, Any]) -> tuple[str, ...]:
    """Return the metadata of a call that its MAC covers, in a fixed order."""
    return (method, *(text(metadata.get(key, "")) for key in (CLUSTER, SENDER, TO)))


class CallAuthorizer:
    """Accepts or refuses calls. Used on the loop only."""

    def __init__(self, local: GrpcEndpoint, sessions: AuthSessions) -> None:
        self._local = local
        self.sessions = sessions

    def admits(self, method: str) -> Callable[[Any], Awaitable[Any]]:
        """Return a function that admits the calls of one method: see :meth:`admit`."""

        async def admit(context: Any) -> Any:
            return await self.admit(method, context)

        return admit

    async def admit(self, method: str, context: Any) -> Any:
        """Return the context to serve the call with, or end the call."""
        refusal = self._local.call_refusal(context) if role_for_rpc(method) is None else None
        if refusal is not None:
            await fail(context, AccessDenied(refusal.reason, address=self._local.identity.address))
        metadata = pairs(context.invocation_metadata())
        proof = unpack(metadata.get(PROOF))
        if not self._local.keyring.current:
            if proof is not None:
                await self._unknown(context, token_unset_error(self._local.identity.address))
            return context
        if proof is not None:
            session, number, tag = proof
            mac = self.sessions.authenticate(session, number, signed_fields(method, metadata), tag)
            if mac is None:
                address = self._local.identity.address
                message = f"{address} does not know the session of the call"
                await self._unknown(context, AccessDenied(message, address=address))
                raise AssertionError("unreachable: it fails the call")
            return AuthenticatedContext(context, *mac)
        if method.startswith("/RaftTransport/") and self._local.options.unproved_raft:
            return context
        await self._by_token(method, metadata, context)
        return context

    async def _unknown(self, context: Any, error: AccessDenied) -> None:
        self._local.counters["refused_session"] += 1
        await fail(context, error, grpc.StatusCode.UNAUTHENTICATED, ((SESSION, "unknown"),))

    async def _by_token(self, method: str, metadata: dict[str, Any], context: Any) -> None:
        """End a call unless its token has the role that the method needs."""
        local = self._local
        address, needed = local.identity.address, role_for_rpc(method)
        value = metadata.get(_AUTHORIZATION, b"")
        given = bearer(value if isinstance(value, bytes) else value.encode(errors="replace"))
        role = local.keyring.current.role_of(given) if given and needed is not None else None
        if role is not None and needed is not None and role >= needed:
            return
        local.counters["refused_token"] += 1
        local.auth_failures.record(host_of(context.peer()))
        if not given or needed is None:
            await fail(context, token_required_error(address), grpc.StatusCode.UNAUTHENTICATED)
        if role is None:
            await local.auth_failures.delay_answer()
            message = f"{address} refuses the token that was sent: it is not in BRAFT_TOKEN"
        else:
            message = f"{address} refuses a token with the role {role}: {method} needs {needed}"
        await fail(context, AccessDenied(message, address=address))
