"""Requests of callers, and the delivery of their answers, many at a time.

A request is settled exactly once: with a plain value, or with a ``BraftError``. Callers wait in
their own thread or on their own event loop; answers to one loop travel in one wake-up.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Protocol

from braft_core.errors import (
    BraftError,
    DeadlineExceeded,
    NotApplied,
    OutcomeUnknown,
    SessionExpired,
)
from braft_core.runtime import clock
from braft_core.services.capabilities import Need

__all__ = [
    "Command",
    "IndexQuery",
    "LocalCommand",
    "Query",
    "Request",
    "SupersededAttempt",
    "settle",
]

#: Errors that leave open what becomes of a command that is being tried again.
_NO_ANSWER = (NotApplied, OutcomeUnknown, SessionExpired)


class Holder(Protocol):
    """Holds something for each of its requests until they are answered."""

    def release(self, requests: Sequence[Any]) -> None:
        """Release what is held for requests whose futures are done. On their caller's loop."""


class Request:
    """A request whose caller waits until ``deadline`` (monotonic seconds).

    ``sent`` turns true once the request may take effect: from then on its failure is "outcome
    unknown", before that it is surely not applied.
    """

    __slots__ = ("deadline", "future", "holder", "loop", "sent")

    def __init__(self, timeout: float, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.deadline = clock.monotonic() + timeout
        self.loop = loop
        self.sent = False
        #: Released together with other requests that are answered in the same wake-up of a loop.
        self.holder: Holder | None = None
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
    """A command for the log: ``data`` is the content of its entry.

    :param need: what a member needs to execute it; ``None`` has the loop read that from the data.
    """

    __slots__ = ("data", "need")

    #: Whether sending it again cannot apply it twice.
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        data: bytes,
        timeout: float,
        loop: asyncio.AbstractEventLoop | None = None,
        need: Need | None = None,
    ) -> None:
        super().__init__(timeout, loop)
        self.data = data
        self.need = need


class LocalCommand(Command):
    """A command for the log of this node as leader of one term.

    It is never forwarded, and never proposed again when another leader has replaced it.
    """

    __slots__ = ()


class SupersededAttempt(Command):
    """Placeholder for a superseded attempt at ``command``.

    Its success settles the command; its failure is ignored.
    """

    __slots__ = ()

    def __init__(self, command: Command) -> None:
        self.data = command.data
        self.need = command.need
        self.deadline = command.deadline
        self.loop = command.loop
        self.future = command.future
        self.holder = None
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
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Request, Any]]] = {}
    for request, answer in pairs:
        if isinstance(answer, BraftError):
            verdict = request.classify(answer)
            if verdict is None:
                continue
            answer = verdict
        loop = request.loop
        if loop is None:
            _settle_one(request.future, answer)
        elif loop in by_loop:
            by_loop[loop].append((request, answer))
        else:
            by_loop[loop] = [(request, answer)]
    for loop, answers in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_all, answers)
        except RuntimeError:
            # The caller's loop is closed: nobody waits any more.
            continue


def _settle_all(answers: list[tuple[Request, Any]]) -> None:
    """Set the futures of one loop, on that loop, then release what is held for the requests."""
    held: dict[Holder, list[Request]] = {}
    for request, answer in answers:
        future = request.future
        if future.done():
            continue
        if isinstance(answer, BraftError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        holder = request.holder
        if holder is None:
            continue
        if holder in held:
            held[holder].append(request)
        else:
            held[holder] = [request]
    for holder, requests in held.items():
        holder.release(requests)


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
