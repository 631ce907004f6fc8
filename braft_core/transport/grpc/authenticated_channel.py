"""Authenticated calls on one channel: the server proves the token first, then MACs protect calls.

Owns the session of a channel. It begins before the first call, and again if the server has
forgotten it. Without a token calls are sent unprotected. A server without proofs is not called,
unless it may be a HashiCorp server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import grpc
import grpc.aio
import msgpack

from braft_core.errors import AccessDenied, DecodeError
from braft_core.proof import Keys
from braft_core.transport.error_codec import decode_error
from braft_core.transport.grpc.auth_sessions import NAME, READY
from braft_core.transport.grpc.call_auth import signed_fields
from braft_core.transport.grpc.call_mac import ERROR_SEAL, SESSION, CallMac
from braft_core.transport.grpc.error_status import ERROR_KEY
from braft_core.transport.grpc.grpc_endpoint import GrpcEndpoint, Metadata, pairs
from braft_core.transport.token_handshake import encode_hello, respond

__all__ = ["AuthenticatedChannel", "reason_of"]

#: Seconds until a server that could not prove itself is tried again.
_PAUSE = 0.5


class AuthenticatedChannel:
    """Calls on one channel. Used on the loop only.

    :param to: id of the intended server; "" for any server at ``address``.
    """

    def __init__(
        self, local: GrpcEndpoint, channel: grpc.aio.Channel, address: str, to: str
    ) -> None:
        self._local = local
        self._channel = channel
        self._address, self._to = address, to
        self._stubs: dict[str, Any] = {}
        self._keys: Keys | None = None
        self._number = 0
        #: The server does not support proofs, and may be called without.
        self._plain = False
        self._beginning = asyncio.Lock()
        self._refusal: tuple[float, AccessDenied] | None = None

    async def ready(self, timeout: float | None = None) -> None:
        """Make the server prove itself, unless it has already.

        :raises grpc.aio.AioRpcError: the call failed. :raises AccessDenied: the proof did.
        """
        limit = self._local.timing.handshake
        if self._is_settled() or not self._local.keyring.current:
            return
        async with self._beginning:
            if not self._is_settled():
                await self._begin(limit if timeout is None else min(timeout, limit))

    def _is_settled(self) -> bool:
        return self._keys is not None or self._plain

    async def unary(self, path: str, data: bytes, timeout: float, metadata: Metadata) -> bytes:
        """Make a single call, and return the answer.

        :raises grpc.aio.AioRpcError: it failed. :raises AccessDenied: the server has no proof.
        :raises BraftError: the server's handler raised it.
        :raises MacMismatchError: the answer's MAC is wrong.
        """
        try:
            return await self._unary(path, data, timeout, metadata)
        except grpc.aio.AioRpcError as error:
            if pairs(error.trailing_metadata()).get(SESSION) is None:
                raise
        # The server was restarted or the session is old; the call was not executed.
        self._keys = None
        return await self._unary(path, data, timeout, metadata)

    def stream_stream(self, path: str, metadata: Metadata) -> Any:
        """Open a stream in both directions, after :meth:`ready`."""
        return self._open(self._channel.stream_stream(path), path, metadata)

    def stream_unary(self, path: str, metadata: Metadata) -> Any:
        """Open a stream with a single answer, after :meth:`ready`."""
        return self._open(self._channel.stream_unary(path), path, metadata)

    def _open(self, method: Any, path: str, metadata: Metadata) -> Any:
        mac = self._mac()
        if mac is None:
            return method(metadata=metadata)
        return _AuthenticatedCall(method(metadata=_with_proof(mac, path, metadata)), mac)

    async def _unary(self, path: str, data: bytes, timeout: float, metadata: Metadata) -> bytes:
        await self.ready(timeout)
        stub, mac = self._stub(path), self._mac()
        try:
            if mac is None:
                plain: bytes = await stub(data, timeout=timeout, metadata=metadata)
                return plain
            metadata = _with_proof(mac, path, metadata)
            return mac.verify(await stub(mac.sign(data), timeout=timeout, metadata=metadata))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                self._plain = False  # it is a braft server now
            trailing = pairs(error.trailing_metadata())
            packed = trailing.get(ERROR_KEY)
            if isinstance(packed, bytes) and trailing.get(SESSION) is None:
                refusal = decode_error(packed)
                # Unauthenticated errors do not count: a man in the middle could forge them.
                refused = isinstance(refusal, AccessDenied)
                if mac is None or refused or mac.verifies_error(packed, trailing.get(ERROR_SEAL)):
                    raise refusal from error
            raise

    def _stub(self, path: str) -> Any:
        stub = self._stubs.get(path)
        if stub is None:
            stub = self._stubs[path] = self._channel.unary_unary(path)
        return stub

    def _mac(self) -> CallMac | None:
        if self._keys is None:
            return None
        self._number += 1
        return CallMac(self._keys, self._number, client=True)

    async def _begin(self, timeout: float) -> None:
        now = asyncio.get_running_loop().time()
        if self._refusal is not None and now < self._refusal[0]:
            raise AccessDenied(self._refusal[1].message, address=self._address)
        try:
            async with asyncio.timeout(timeout):
                self._keys, self._number = await self._handshake(timeout), 0
        except AccessDenied as error:
            self._refusal = now + _PAUSE, error
            raise
        except TimeoutError:
            # The same error as for any other call that takes too long.
            raise _deadline() from None

    async def _handshake(self, timeout: float) -> Keys | None:
        local = self._local
        hello = encode_hello(
            local.identity.server_id,
            self._to,
            local.identity.cluster_id,
            local.options.cluster_name,
        )
        try:
            asked = await self._stub("/braft.v1.Proof/Challenge")(hello, timeout=timeout)
            proof, core, proven = respond(local.keyring, NAME, hello, asked, self._address)
            said: bytes = msgpack.packb([hello, core, proof])
            answer = await self._stub("/braft.v1.Proof/Prove")(said, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            self._refused(error)
            return None
        if CallMac(proven.keys, 0, client=True).verify(answer) != READY:
            raise DecodeError("the peer does not begin the session")
        return proven.keys

    def _refused(self, error: grpc.aio.AioRpcError) -> None:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            if self._local.options.unproved_raft and self._to:
                self._plain = True
                return
            raise AccessDenied(
                f"{self._address} does not support token proofs and is not called: it runs "
                "another version of braft, or is a HashiCorp server (BRAFT_HASHICORP_PEERS)",
                address=self._address,
            ) from error
        packed = pairs(error.trailing_metadata()).get(ERROR_KEY)
        if isinstance(packed, bytes):
            refusal = decode_error(packed)
            if isinstance(refusal, AccessDenied):
                raise refusal from error
        raise error


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return why a call failed; the whole message if the peer is a braft node."""
    packed = pairs(error.trailing_metadata()).get(ERROR_KEY)
    if isinstance(packed, bytes):
        return decode_error(packed).message
    return str(error.details() or error.code().name)


def _with_proof(mac: CallMac, path: str, metadata: Metadata) -> tuple[tuple[str, Any], ...]:
    return (*metadata, mac.call_metadata(signed_fields(path, dict(metadata))))


def _deadline() -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(
        grpc.StatusCode.DEADLINE_EXCEEDED, nothing, nothing, "the server did not prove itself"
    )


class _AuthenticatedCall:
    """An authenticated stream: signs what is written, verifies what is read."""

    def __init__(self, call: Any, mac: CallMac) -> None:
        self._call = call
        self._mac = mac

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __await__(self) -> Generator[Any, None, bytes]:
        answer: bytes = yield from self._call.__await__()
        return self._mac.verify(answer)

    async def read(self) -> Any:
        data = await self._call.read()
        return data if data is grpc.aio.EOF else self._mac.verify(data)

    async def write(self, data: bytes) -> None:
        await self._call.write(self._mac.sign(data))
