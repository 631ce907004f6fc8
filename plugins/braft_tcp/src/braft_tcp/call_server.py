"""Serves inbound peer calls, each in a task that is cancelled when the caller gives up.

Bounds how many run at a time.
"""

from __future__ import annotations

import asyncio
import logging

from braft_core.errors import BraftError, DecodeError, TransportError, WrongCluster
from braft_core.transport import (
    METHODS,
    WRONG_CLUSTER,
    decode_peer,
    encode_error,
    encode_peer,
    refuse_call,
)
from braft_tcp.connection import Connection
from braft_tcp.frames import Hello, Kind
from braft_tcp.inbound import Inbound
from braft_tcp.tcp_endpoint import TcpEndpoint

__all__ = ["CallServer", "encode_call"]

_log = logging.getLogger(__name__)

#: Calls of one connection that may be under way; then reading pauses.
_MAX_CALLS = 256


def encode_call(method: str, request: bytes) -> bytes:
    """Return the body of a ``CALL``: length of the method's name, name, request."""
    name = method.encode()
    return bytes((len(name),)) + name + request


def _decode_call(body: bytes) -> tuple[str, bytes]:
    if not body or len(body) <= body[0]:
        raise DecodeError("a call without a method")
    end = 1 + body[0]
    return body[1:end].decode(errors="replace"), body[end:]


class CallServer(Inbound):
    """The calls of one connection."""

    def __init__(self, local: TcpEndpoint, connection: Connection, hello: Hello) -> None:
        super().__init__(local, connection, hello)
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def receive(self, kind: int, request_id: int, body: bytes) -> None:
        """See the base class."""
        if kind == Kind.CANCEL:
            task = self._tasks.get(request_id)
            if task is not None:
                task.cancel()
            return
        if kind != Kind.CALL or request_id in self._tasks:
            raise DecodeError(f"frame {kind} for {request_id} on the calls channel")
        method, request = _decode_call(body)
        task = asyncio.get_running_loop().create_task(self._serve(request_id, method, request))
        self._tasks[request_id] = task
        task.add_done_callback(lambda _task: self._ended(request_id))
        if len(self._tasks) >= _MAX_CALLS:
            self._connection.hold()

    def lost(self) -> None:
        """See the base class."""
        for task in self._tasks.values():
            task.cancel()

    async def stop(self) -> None:
        """See the base class."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, request_id: int) -> None:
        del self._tasks[request_id]
        if len(self._tasks) < _MAX_CALLS // 2:
            self._connection.release()

    async def _serve(self, request_id: int, method: str, request: bytes) -> None:
        try:
            kind, answer = Kind.REPLY, await self._answer(method, request)
        except BraftError as error:
            kind, answer = Kind.ERROR, encode_error(error)
        # A bug in a handler must reach the caller as an answer and the log as a traceback.
        except Exception as error:  # noqa: BLE001
            _log.exception("a peer call failed")
            failure = BraftError(f"internal error: {type(error).__name__}: {error}")
            kind, answer = Kind.ERROR, encode_error(failure)
        self._connection.send(kind, request_id, answer)

    async def _answer(self, method: str, data: bytes) -> bytes:
        request = METHODS.get(method)
        if request is None:
            raise DecodeError(f"there is no call {method!r}")
        reason = refuse_call(self._local.identity, request, self._hello.cluster_id)
        if reason:
            self._local.counters[WRONG_CLUSTER] += 1
            raise WrongCluster(reason, cluster_id=self._local.identity.cluster_id)
        reply = encode_peer(await self._local.handler.on_call(decode_peer(request, data)))
        limit = self._local.options.max_message_bytes
        if len(reply) > limit:
            raise TransportError(f"the reply of {len(reply)} bytes exceeds {limit}")
        return reply
