"""The service ``braft.v1.Proof``, by which nodes prove the token, and the sessions it makes.

It has two calls, whose bodies are msgpack. ``Challenge`` answers a hello by a proof of ours.
``Prove`` takes hello, challenge and the caller's proof, and begins the session. The server keeps no
state for an unproved caller: its nonce contains a time and a MAC that covers the hello.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import grpc
import msgpack

from braft_core.errors import AccessDenied, Busy, DecodeError
from braft_core.transport.grpc.bounded_calls import BoundedCalls, host_of
from braft_core.transport.grpc.call_mac import CallMac, ReplayWindow
from braft_core.transport.grpc.error_status import fail
from braft_core.transport.grpc.grpc_endpoint import GrpcEndpoint
from braft_core.transport.token_handshake import (
    HandshakeKeys,
    accept,
    challenge,
    decode_hello,
    token_unset_error,
)

__all__ = ["NAME", "READY", "AuthSessions"]

#: The transport's name, which is bound into proofs.
NAME = "grpc"
#: Signed by a server that begins a session.
READY = b"ready"

#: Seconds within which a challenge has to be answered.
_PATIENCE = 10.0
#: Seconds that a session lasts.
_LIFETIME = 3600.0
_MAX_SESSIONS = 4096
#: Bytes of a request.
_MAX_BYTES = 8 << 10
_AGE = struct.Struct("!Q")
_RANDOM = 8


class _Session:
    def __init__(self, proven: HandshakeKeys, now: float) -> None:
        self.proven = proven
        self.window = ReplayWindow()
        self.began = self.used = now


class AuthSessions:
    """The sessions of nodes that proved the token. Used on the loop only."""

    def __init__(self, local: GrpcEndpoint) -> None:
        self._local = local
        self._loop = asyncio.get_running_loop()
        self._key = secrets.token_bytes(32)
        #: The least recently used first.
        self._known: OrderedDict[bytes, _Session] = OrderedDict()

    def service(self, bounded: BoundedCalls) -> grpc.GenericRpcHandler:
        """Return the handlers to register."""
        handlers = {
            "Challenge": bounded.method(self._admit, self._challenge, _MAX_BYTES),
            "Prove": bounded.method(self._admit, self._prove, _MAX_BYTES),
        }
        return grpc.method_handlers_generic_handler("braft.v1.Proof", handlers)

    def authenticate(
        self, session: bytes, number: int, fields: tuple[str, ...], tag: bytes
    ) -> tuple[CallMac, Callable[[], bool]] | None:
        """Return a call's MAC, and a function that tells whether its token is still accepted.

        ``None``: the session is unknown, or the call's MAC is wrong.
        """
        known = self._known.get(session)
        if known is None:
            return None
        now = self._loop.time()
        if now - known.began > _LIFETIME or not known.proven.still_accepted_by(self._local.keyring):
            del self._known[session]
            return None
        mac = CallMac(known.proven.keys, number, client=False)
        if not mac.verifies_metadata(fields, tag) or not known.window.take(number):
            return None
        known.used = now
        self._known.move_to_end(session)
        return mac, lambda: known.proven.still_accepted_by(self._local.keyring)

    async def _admit(self, context: Any) -> Any:
        address = self._local.identity.address
        refusal = self._local.call_refusal(context)
        if refusal is not None:
            await fail(context, AccessDenied(refusal.reason, address=address))
        if not self._local.keyring.current:
            await fail(context, token_unset_error(address))
        return context

    async def _challenge(self, hello: bytes, context: Any) -> bytes:
        try:
            decode_hello(hello)
        except DecodeError as error:
            await fail(context, error)
        local = self._local
        server_id = local.identity.server_id
        number = self._number(self._now() + secrets.token_bytes(_RANDOM), hello, server_id)
        return challenge(local.keyring, NAME, hello, server_id, number)[0]

    async def _prove(self, data: bytes, context: Any) -> bytes:
        local = self._local
        try:
            hello, core, proof = _decode(data)
            known = self._is_ours(hello, core)
        except DecodeError as error:
            await fail(context, error)
        proven = accept(local.keyring, NAME, hello, core, proof) if known else None
        if proven is None:
            await self._refuse_late(context)
            raise AssertionError("unreachable: it fails the call")
        session = self._known.get(proven.keys.session)
        if session is None and not self._begin(proven):
            await fail(context, Busy("this node has the maximum number of sessions"))
        # Call number 0 is Prove itself.
        return CallMac(proven.keys, 0, client=False).sign(READY)

    async def _refuse_late(self, context: Any) -> None:
        """Refuse a wrong proof after a delay, unless many refusals are delayed already."""
        local = self._local
        local.counters["refused_token"] += 1
        local.auth_failures.record(host_of(context.peer()))
        await local.auth_failures.delay_answer()
        address = local.identity.address
        message = f"{address} refuses the proof: BRAFT_TOKEN must be the same on every node"
        await fail(context, AccessDenied(message, address=address))

    def _begin(self, proven: HandshakeKeys) -> bool:
        now = self._loop.time()
        if len(self._known) >= _MAX_SESSIONS:
            oldest, session = next(iter(self._known.items()))
            # While its challenge is fresh, its proof could be replayed.
            if now - session.used < 2 * _PATIENCE:
                return False
            del self._known[oldest]
        session = self._known[proven.keys.session] = _Session(proven, now)
        session.window.take(0)
        return True

    def _now(self) -> bytes:
        return _AGE.pack(int(self._loop.time() * 1000))

    def _number(self, fresh: bytes, hello: bytes, server_id: str) -> bytes:
        """Return our nonce: its time, random bytes, and a MAC that binds it to this hello."""
        said = fresh + struct.pack("!Q", len(hello)) + hello + server_id.encode()
        return fresh + hmac.digest(self._key, said, "sha256")[: 32 - len(fresh)]

    def _is_ours(self, hello: bytes, core: bytes) -> bool:
        try:
            number, server_id = msgpack.unpackb(core)
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            raise DecodeError(f"not a challenge: {error}") from error
        if not isinstance(number, bytes) or server_id != self._local.identity.server_id:
            return False
        fresh = number[: _AGE.size + _RANDOM]
        if len(fresh) != _AGE.size + _RANDOM:
            return False
        age = self._loop.time() - _AGE.unpack(fresh[: _AGE.size])[0] / 1000
        ours = self._number(fresh, hello, server_id)
        return hmac.compare_digest(ours, number) and 0 <= age + 1 <= _PATIENCE + 1


def _decode(data: bytes) -> tuple[bytes, bytes, bytes]:
    try:
        hello, core, proof = msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise DecodeError(f"not a proof: {error}") from error
    if not all(isinstance(each, bytes) for each in (hello, core, proof)):
        raise DecodeError("not a proof")
    return hello, core, proof
