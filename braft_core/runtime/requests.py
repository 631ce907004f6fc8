"""Requests of callers, and the delivery of their answers, many at a time.

A request is settled exactly once: with a plain value, or with a ``BraftError``. Callers wait in
their own thread or on their own event loop; answers to one loop travel in one wake-up.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from braft_core.errors import (
    BraftError,
    DeadlineExceeded,
    NotApplied,
    OutcomeUnknown,
    SessionExpired,
)
from braft_core.runtime import clock

__all__ = ["Command", "IndexQuery", "Query", "Request", "SupersededAttempt", "settle"]

#: Errors that leave open what becomes of a command that is being tried again.
_NO_ANSWER = (NotApplied, OutcomeUnknown, SessionExpired)


class Request:
    """A request whose caller waits until ``deadline`` (monotonic seconds).

    ``sent`` turns true once the request may take effect: from then on its failure is "outcome
    unknown", before that it is surely not applied.
    """

    __slots__ = ("deadline", "future", "loop", "sent")

    def __init__(self, timeout: float, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.deadline = clock.monotonic() + timeout
        self.loop = loop
        self.sent = False
        self.future: asyncio.Future[Any] | concurrent.futures.Future[Any]
        self.future = loop.create_future() if loop is not None else concurrent.futures.Future()

    @property
    def awaitable(self) -> asyncio.Future[Any]:
        """The future of a request that was made for a loop."""
        if not isinstance(self.future, asyncio.Future):
            raise BraftError("a request made for a thread cannot be awaited")
        return self.future

    @property
    def blocking(self) -> concurrent.futures.Future[Any]:
        """The future of a request that was made for a thread."""
        if not isinstance(self.future, concurrent.futures.Future):
            raise BraftError("a request made for a loop cannot block a thread")
        return self.future

    def remaining(self) -> float:
        """Seconds to the deadline; negative after it."""
        return self.deadline - clock.monotonic()

    def classify(self, error: BraftError) -> BraftError | None:
        """Map an error to the one the caller sees, or ``None`` to retry. Any thread."""
        return error

    def attempt(self, submit: Callable[[Any], None]) -> None:
        """*Loop.* Submit the request again, unless its caller has an answer or has left."""
        if not self.future.done():
            self.sent = False
            submit(self)


class Command(Request):
    """A command for the log: ``data`` is the content of its entry."""

    __slots__ = ("data",)

    #: Whether sending it again cannot apply it twice.
    retryable: ClassVar[bool] = False

    def __init__(
        self, data: bytes, timeout: float, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(timeout, loop)
        self.data = data


class SupersededAttempt(Command):
    """Placeholder for a superseded attempt at ``command``.

    Its success settles the command; its failure is ignored.
    """

    __slots__ = ()

    def __init__(self, command: Command) -> None:
        self.data = command.data
        self.deadline = command.deadline
        self.loop = command.loop
        self.future = command.future
        self.sent = True

    def classify(self, error: BraftError) -> BraftError | None:
        """See :meth:`Request.classify`."""
        return None if isinstance(error, _NO_ANSWER) else error


class Query(Request):
    """A read of one service. ``lease``: the leader's lease will do, where it has one."""

    __slots__ = ("args", "lease", "name", "service")

    def __init__(
        self,
        service: str,
        name: str,
        args: tuple[Any, ...],
        timeout: float,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(timeout, loop)
        self.service = service
        self.name = name
        self.args = args
        self.lease = False

    def classify(self, error: BraftError) -> BraftError | None:
        """Return the error for the caller: a read has no unknown outcome."""
        if not isinstance(error, OutcomeUnknown):
            return error
        if self.remaining() <= 0:
            return DeadlineExceeded("the read was not served in time; reads change nothing")
        reason = error.message.removeprefix("the outcome is unknown: ")
        return NotApplied(f"the read was interrupted: {reason}")


class IndexQuery(Query):
    """Asks for a confirmed read index only; the read itself happens on the node that asked."""

    __slots__ = ()

    def __init__(self, timeout: float, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__("", "", (), timeout, loop)


def settle(pairs: Iterable[tuple[Request, Any]]) -> None:
    """Give each request its answer (an error if it is a ``BraftError``). Any thread."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Any, Any]]] = {}
    for request, answer in pairs:
        if isinstance(answer, BraftError):
            verdict = request.classify(answer)
            if verdict is None:
                continue
            answer = verdict
        if request.loop is None:
            _settle_one(request.future, answer)
        else:
            by_loop.setdefault(request.loop, []).append((request.future, answer))
    for loop, answers in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_all, answers)
        except RuntimeError:
            # The caller's loop is closed: nobody waits any more.
            continue


def _settle_all(answers: list[tuple[Any, Any]]) -> None:
    for future, answer in answers:
        _settle_one(future, answer)


def _settle_one(future: Any, answer: Any) -> None:
    if future.done():
        return
    try:
        if isinstance(answer, BraftError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
    except concurrent.futures.InvalidStateError:
        # Another thread was quicker: the applier with an answer, the loop with a deadline.
        return
