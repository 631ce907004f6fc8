"""The context of an authenticated call: verifies what is read, signs what is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc
import grpc.aio

from braft_core.transport.grpc.call_mac import CallMac
from braft_core.transport.grpc.error_status import ERROR_KEY

__all__ = ["AuthenticatedContext", "is_over", "signed"]


class AuthenticatedContext:
    """Wraps gRPC's context and passes on its other methods."""

    def __init__(self, context: Any, mac: CallMac, still_accepted: Callable[[], bool]) -> None:
        """:param still_accepted: whether the token of the session is still accepted."""
        self._context = context
        self._mac = mac
        self.still_accepted = still_accepted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def read(self) -> Any:
        """Read the next message. :raises DecodeError: its MAC is wrong."""
        data = await self._context.read()
        return data if data is grpc.aio.EOF else self._mac.verify(data)

    async def write(self, data: bytes) -> None:
        """Write a message of the answer."""
        await self._context.write(self._mac.sign(data))

    def sign(self, data: bytes) -> bytes:
        """Return the single answer with its MAC."""
        return self._mac.sign(data)

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: Iterable[tuple[str, Any]] = (),
    ) -> None:
        """End the call by an error."""
        metadata = tuple(trailing_metadata)
        packed = dict(metadata).get(ERROR_KEY)
        if packed is not None:
            metadata += (self._mac.sign_error(packed),)
        await self._context.abort(code, details, metadata)


def signed(context: Any, answer: bytes) -> bytes:
    """Return the single answer of a call, with its MAC if the call is authenticated."""
    return context.sign(answer) if isinstance(context, AuthenticatedContext) else answer


def is_over(context: Any) -> bool:
    """Return whether the token of a stream's session is no longer accepted."""
    return isinstance(context, AuthenticatedContext) and not context.still_accepted()
