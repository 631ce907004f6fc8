"""What one memory transport knows of a peer: its address, what is under way, what was reported.

Bounds the requests under way as a connection does: those with entries, and all others.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from braft_core.errors import BraftError
from braft_core.peer import PeerReply
from braft_core.raft.messages import AppendEntries, Request, Response

__all__ = ["MemoryPeer", "copied", "resolve"]

#: Requests without a response: as many as a connection queues, and as a node is given at a time.
_MAX_APPENDS = 128
_MAX_OTHERS = 32


class MemoryPeer:
    """One peer. Used on the loop only."""

    def __init__(self, address: str) -> None:
        self.address = address
        #: Whether the node knows that requests to it are dropped.
        self.reported = False
        self.silence: asyncio.TimerHandle | None = None
        #: When each request was sent, by its id, oldest first.
        self._appends: dict[int, float] = {}
        self._others: dict[int, float] = {}

    def admit(self, request: Request, outdated: float) -> bool:
        """Note a request that is being sent; return ``False`` if there are too many.

        :param outdated: requests sent before this time are not waited for; it is in seconds.
        """
        bulk = isinstance(request, AppendEntries) and not request.heartbeat
        lane, limit = (self._appends, _MAX_APPENDS) if bulk else (self._others, _MAX_OTHERS)
        if len(lane) >= limit:
            for number in [number for number, sent in lane.items() if sent < outdated]:
                del lane[number]
        if len(lane) >= limit:
            return False
        lane[request.request_id] = asyncio.get_running_loop().time()
        return True

    def answered(self, response: Response) -> None:
        """Note that the peer has answered."""
        self.reported = False
        self._appends.pop(response.request_id, None)
        self._others.pop(response.request_id, None)

    def forget(self) -> bool:
        """Give up what is under way; return whether there was anything."""
        waited = bool(self._appends or self._others)
        self._appends.clear()
        self._others.clear()
        return waited


def copied(message: Request) -> Request:
    """Copy a request for the receiver, so that the sender may change its own."""
    if isinstance(message, AppendEntries):
        return replace(message, entries=list(message.entries), request_id=0)
    return replace(message, request_id=0)


def resolve(answer: asyncio.Future[PeerReply], result: PeerReply | BraftError) -> None:
    """Give a call its answer, unless it has one."""
    if answer.done():
        return
    if isinstance(result, BraftError):
        answer.set_exception(result)
    else:
        answer.set_result(result)
