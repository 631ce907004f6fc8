"""Sending requests on to the leader, and answering those that were sent to us.

A command whose call may have reached the leader is not sent again here: its outcome is unknown
(client sessions retry it). One that certainly did not (no connection, "not the leader") goes back
to the retry queue. Waiting requests share a call; the number of calls is bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from braft_core.abc import Identity
from braft_core.errors import (
    AccessDenied,
    BraftError,
    NoLeader,
    NotApplied,
    OutcomeUnknown,
    Unreachable,
    WrongCluster,
)
from braft_core.peer import (
    PeerReply,
    PeerRequest,
    ProposeReply,
    ProposeRequest,
    ReadIndexReply,
    ReadIndexRequest,
)
from braft_core.runtime import clock
from braft_core.runtime.answer_codec import decoded
from braft_core.runtime.requests import Command, Query, Request, SupersededAttempt, settle
from braft_core.runtime.retry_queue import RetryQueue
from braft_core.runtime.timing import Timing

__all__ = ["Forwarder"]

_log = logging.getLogger(__name__)
_MAX_CALL_BYTES = 1 << 20
_MAX_CALL_COMMANDS = 1024
_MAX_CALLS = 16
#: More calls would only split what one call serves.
_MAX_READS = 4


Call = Callable[[str, PeerRequest, float], Awaitable[PeerReply]]


class _Addresses(Protocol):
    def of(self, server_id: str) -> str:
        """Return the address of a server, "" if it is not known."""


class _Server(Protocol):
    """What the forwarder needs of the server."""

    @property
    def addresses(self) -> _Addresses:
        """Where the other servers are."""

    @property
    def identity(self) -> Identity:
        """Who this node is."""

    @property
    def retries(self) -> RetryQueue:
        """Requests that wait for another attempt."""

    def serve(self, index: int, queries: list[Query]) -> None:
        """Serve these once ``index`` is applied here."""


class _Call(NamedTuple):
    """A call under way."""

    leader: str
    requests: list[Any]
    proposes: bool


class Forwarder:
    """Lives on the loop.

    :param call: see :meth:`braft_core.abc.Transport.call`.
    """

    def __init__(self, server: _Server, call: Call, timing: Timing) -> None:
        self._server, self._transport_call, self._timing = server, call, timing
        self._commands: list[Command] = []
        self._queries: list[Query] = []
        self._reads_under_way = 0
        self._tasks: dict[asyncio.Task[None], _Call] = {}

    # -- commands ------------------------------------------------------------------------------

    def commands(self, leader: str, commands: list[Command]) -> None:
        """Send commands to ``leader``."""
        self._commands.extend(commands)
        while self._commands and self._calls_to(leader) < _MAX_CALLS:
            batch = self._next_batch()
            self._spawn(self._propose(leader, batch), _Call(leader, batch, True), self._hand_back)

    def _calls_to(self, leader: str) -> int:
        return sum(call.proposes and call.leader == leader for call in self._tasks.values())

    def _hand_back(self) -> None:
        if self._commands:
            waiting, self._commands = self._commands, []
            # Through the queue: the leader may have changed.
            self._server.retries.put_all(waiting, at_once=True)

    def leader_changed(self, leader: str) -> None:
        """Stop waiting for former leaders, which may be cut off or frozen.

        Retryable commands that were sent to them are retried.
        """
        for call in self._tasks.values():
            if call.leader != leader:
                _abandon(call, leader)
        self._hand_back()

    def _next_batch(self) -> list[Command]:
        size = 0
        for count, command in enumerate(self._commands):
            size += len(command.data)
            if count and (size > _MAX_CALL_BYTES or count >= _MAX_CALL_COMMANDS):
                break
        else:
            count = len(self._commands)
        batch, self._commands = self._commands[:count], self._commands[count:]
        return batch

    async def _propose(self, leader: str, batch: list[Command]) -> None:
        for command in batch:
            command.sent = True
        timeout = max(0.001, max(c.deadline for c in batch) - clock.monotonic())
        data = tuple(command.data for command in batch)
        try:
            reply = await self._call(
                leader, ProposeRequest(data, max(1, int(timeout * 1000))), timeout
            )
        except NotApplied as error:
            self._again(batch, error)
        except AccessDenied as error:
            # Not applied, and a retry fails until a setting changes.
            settle((command, error) for command in batch)
        except (Unreachable, WrongCluster) as error:
            if isinstance(error, WrongCluster) or error.data.get("sent") is False:
                self._again(batch, error)
            else:
                settle((command, _unknown(leader, error)) for command in batch)
        except BraftError as error:
            settle((command, _unknown(leader, error)) for command in batch)
        else:
            await self._settle(leader, batch, reply)

    async def _settle(self, leader: str, batch: list[Command], reply: PeerReply) -> None:
        outcomes = reply.outcomes if isinstance(reply, ProposeReply) else ()
        if len(outcomes) != len(batch):
            error = BraftError(f"{len(outcomes)} answers to {len(batch)} commands")
            settle((command, _unknown(leader, error)) for command in batch)
            return
        answers = [await decoded(outcome) for outcome in outcomes]
        settle(zip(batch, answers, strict=True))

    def _again(self, batch: list[Any], why: BraftError) -> None:
        """Hand requests that were not applied to the retry queue, unless a retry cannot help.

        From then on they are no longer requests of this call: ``batch`` is empty.
        """
        if isinstance(why, NotApplied) and not why.safe_to_retry:
            settle((request, why) for request in batch)
            return
        again = [request for request in batch if not isinstance(request, SupersededAttempt)]
        batch.clear()
        self._server.retries.put_all(again)

    # -- reads ---------------------------------------------------------------------------------

    def reads(self, leader: str, queries: list[Query]) -> None:
        """Serve queries here at an index that ``leader`` confirms. One call serves all waiting."""
        self._queries.extend(queries)
        if self._reads_under_way < _MAX_READS:
            self._reads_under_way += 1
            batch, self._queries = self._queries, []
            self._spawn(self._read(leader, batch), _Call(leader, batch, False), self._read_done)

    def _read_done(self) -> None:
        self._reads_under_way -= 1
        if self._queries:
            waiting, self._queries = self._queries, []
            self._server.retries.put_all(waiting, at_once=True)

    async def _read(self, leader: str, queries: list[Query]) -> None:
        timeout = max(0.001, max(q.deadline for q in queries) - clock.monotonic())
        request = ReadIndexRequest(self._server.identity.cluster_id)
        try:
            reply = await self._call(leader, request, min(timeout, self._timing.read_index_timeout))
        except AccessDenied as error:
            settle((query, error) for query in queries)
            return
        except BraftError as error:
            # A read may always be retried.
            _log.debug("read index from %s failed: %s", leader, error)
            self._again(queries, Unreachable())
            return
        if isinstance(reply, ReadIndexReply):
            self._server.serve(reply.index, queries)
        else:
            self._again(queries, Unreachable())

    # -- plumbing ------------------------------------------------------------------------------

    async def _call(self, leader: str, request: PeerRequest, timeout: float) -> PeerReply:
        address = self._server.addresses.of(leader)
        if not address:
            raise Unreachable(f"no address is known for the leader {leader}", sent=False)
        return await self._transport_call(address, request, timeout)

    def _spawn(
        self,
        work: Coroutine[Any, Any, None],
        call: _Call,
        done: Callable[[], None],
    ) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = call

        def finished(task: asyncio.Task[None]) -> None:
            self._tasks.pop(task, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("forwarding failed", exc_info=error)
                _give_up(call, error)
            done()

        task.add_done_callback(finished)

    @property
    def has_undecided(self) -> bool:
        """Whether forwarded commands wait for their outcome."""
        sent = [call.requests for call in self._tasks.values() if call.proposes]
        return any(not request.future.done() for requests in sent for request in requests)

    def sweep(self, now: float) -> list[Request]:
        """Return expired requests that were certainly not applied.

        The others are settled as ``OutcomeUnknown``: a call waits for its latest deadline.
        """
        refused: list[Request] = [c for c in self._commands if c.deadline <= now]
        self._commands = [c for c in self._commands if c.deadline > now]
        for leader, requests, proposes in self._tasks.values():
            late = [r for r in requests if r.deadline <= now and not r.future.done()]
            if proposes:
                silent = _unknown(leader, Unreachable("it did not answer in time"))
                settle((command, silent) for command in late if command.sent)
            else:
                refused.extend(late)
        return refused

    async def stop(self, reason: BraftError) -> None:
        """End all calls; settle their requests by whether they may have arrived."""
        under_way = dict(self._tasks)
        cut_off = OutcomeUnknown("the outcome is unknown: this node stopped during the call")
        for task, call in under_way.items():
            task.cancel()
            settle((request, cut_off if request.sent else reason) for request in call.requests)
        waiting: list[Request] = [*self._commands, *self._queries]
        self._commands, self._queries = [], []
        settle((request, reason) for request in waiting)
        await asyncio.gather(*under_way, return_exceptions=True)


def _abandon(call: _Call, leader: str) -> None:
    for position, request in enumerate(call.requests):
        if isinstance(request, Command) and request.retryable:
            call.requests[position] = SupersededAttempt(request)
            gone = OutcomeUnknown(f"{call.leader} does not lead any more, but {leader}")
            settle([(request, gone)])


def _give_up(call: _Call, error: BaseException) -> None:
    """Settle the requests of a call whose transport raised an unexpected error."""
    unknown = _unknown(call.leader, BraftError(repr(error)))
    refusal = NoLeader(f"the leader {call.leader} could not be asked: {error!r}")
    settle((request, unknown if request.sent else refusal) for request in call.requests)


def _unknown(leader: str, error: BraftError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the outcome is unknown: the call to the leader {leader} failed: {error.message}",
        leader=leader,
    )
