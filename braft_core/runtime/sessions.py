"""Client sessions, seen from the node that took the call: numbering, and trying again.

A command of a session may be sent any number of times and is applied once
(:mod:`braft_core.services.sessions`). So whatever hides its outcome, a lost connection, a leader
that dies or is deposed, is answered here by sending it again, until its deadline. The rule for an
error that ends it: if any attempt may have been applied, the caller is told ``OutcomeUnknown``.

A :class:`ClientSession` holds one registered session at a time and registers it with the first
command. The node draws the session's id at random, so that only holders of the log know it. Calls
without a session share the node's own, which registers again when it has expired or is full.

Any thread may call what is not marked otherwise.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from typing import Any, Protocol

from braft_core.abc import Serializer
from braft_core.errors import (
    BraftError,
    Busy,
    NoLeader,
    NotApplied,
    NotReady,
    NotSupported,
    OutcomeUnknown,
    SessionExpired,
    Stopped,
)
from braft_core.runtime import clock
from braft_core.runtime.requests import Command, Query, settle
from braft_core.services.envelope import SESSION_ID_BYTES, encode_command, in_session
from braft_core.services.machine import SESSIONS
from braft_core.services.sessions import MAX_CHARGE, SMALL, shown

__all__ = ["ClientSession", "SessionCommand", "Sessions"]

#: Seconds before a command whose outcome is unknown is sent again.
_RETRY = 0.05
#: Facts of a ``Busy`` that ends without anybody's help.
_PASSING = frozenset({"session", "successor"})
#: How far the commands of one session may run ahead of the oldest that is under way: as many small
#: answers as the state machine keeps of one session.
WINDOW = MAX_CHARGE // SMALL


class _Engine(Protocol):
    """What sessions need of the node."""

    def submit(self, request: Command | Query) -> None:
        """Take a request."""

    def refusal(self) -> NotApplied:
        """Why no request is served at the moment."""


class Window:
    """The sequence numbers of one session. Guarded by the lock of its client_session."""

    def __init__(self, session: bytes) -> None:
        self.session = session
        self.first_unacknowledged = 1
        self._next = 1
        self._under_way: set[int] = set()

    @property
    def full(self) -> bool:
        """Whether no number can be given out."""
        return self._next - self.first_unacknowledged >= WINDOW

    def take(self) -> int:
        """The next number."""
        number, self._next = self._next, self._next + 1
        self._under_way.add(number)
        return number

    def done(self, number: int) -> None:
        """Nobody waits for that command any more."""
        self._under_way.discard(number)
        while (
            self.first_unacknowledged < self._next
            and self.first_unacknowledged not in self._under_way
        ):
            self.first_unacknowledged += 1


class RetryableCommand(Command):
    """A command that may be sent again without harm."""

    __slots__ = ("_sessions", "finished", "unknown")

    retryable = True

    def __init__(
        self,
        sessions: Sessions,
        data: bytes,
        timeout: float,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        super().__init__(data, timeout, loop)
        self._sessions = sessions
        #: An attempt may have been applied.
        self.unknown = False
        #: Nobody waits any more.
        self.finished = False

    def classify(self, error: BraftError) -> BraftError | None:
        """See :meth:`Request.classify`."""
        if self.finished or self.future.done():
            return None
        if isinstance(error, OutcomeUnknown):
            self.unknown = True
        elif not self._may_help(error):
            return self._verdict(error)
        if self.remaining() <= 0 or not self._sessions.retry_later(self):
            return self._verdict(error)
        return None

    def _may_help(self, error: BraftError) -> bool:
        """Whether to try again after an error that says that this attempt was not applied."""
        if not isinstance(error, NotApplied):
            return False
        if self.unknown:
            return True
        # A cluster that has too much to do says so to its callers. What passes by itself is no
        # news to them: a transfer of leadership, or answers that they are about to let go.
        if isinstance(error, Busy):
            return not _PASSING.isdisjoint(error.data)
        return error.safe_to_retry

    def _verdict(self, error: BraftError) -> BraftError:
        if self.unknown and isinstance(error, NotApplied):
            return OutcomeUnknown(
                f"the outcome is unknown: an attempt may have been applied, and the last one was "
                f"not: {error.message}"
            )
        return error

    def prepare(self) -> bool:
        """Get ready for the next attempt; whether there is to be one."""
        self.sent = False
        return not self.finished and not self.future.done()


class SessionCommand(RetryableCommand):
    """A command of a session. ``plain`` is the command without its place in it."""

    __slots__ = ("client_session", "number", "plain", "window")

    def __init__(
        self,
        client_session: ClientSession,
        plain: bytes,
        timeout: float,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        super().__init__(client_session.sessions, plain, timeout, loop)
        self.client_session = client_session
        self.plain = plain
        self.window: Window | None = None
        self.number = 0

    def place(self, window: Window) -> None:
        """Make it a command of that session. Under the client_session's lock."""
        self.window, self.number = window, window.take()
        self.stamp(window)

    def stamp(self, window: Window) -> None:
        """Say again where the floor is. Under the client_session's lock."""
        self.data = in_session(
            self.plain, (window.session, self.number, window.first_unacknowledged)
        )

    def prepare(self) -> bool:
        """See :meth:`RetryableCommand.prepare`. The floor has risen, which may be what helps."""
        with self.client_session.lock:
            # Not of one that is done with: the floor may have risen above its number.
            if not super().prepare():
                return False
            if self.window is not None:
                self.stamp(self.window)
            return True

    def finish(self) -> None:
        """The caller has its answer, or has gone away: it is not wanted any more."""
        with self.client_session.lock:
            self.finished = True
            if self.window is not None:
                self.window.done(self.number)

    def classify(self, error: BraftError) -> BraftError | None:
        """See :meth:`Request.classify`."""
        if self.finished or self.future.done():
            return None
        if isinstance(error, SessionExpired):
            return self.client_session.expired(self, error)
        if self.window is None:
            # It waits for a session and was not sent. Outside one it could be applied twice.
            return self._verdict(error)
        return super().classify(error)


class ClientSession:
    """One client: its session, and the commands that wait for it to be opened.

    :param renews: take another session where this one cannot go on.
    """

    def __init__(self, sessions: Sessions, *, renews: bool) -> None:
        self.sessions = sessions
        self.lock = threading.Lock()
        self._renews = renews
        self._window: Window | None = None
        self._waiting: list[SessionCommand] = []
        self._opening = False
        self._closed: BraftError | None = None

    @property
    def session(self) -> bytes:
        """The id of the open session, empty before there is one."""
        window = self._window
        return b"" if window is None else window.session

    def submit(self, command: SessionCommand) -> None:
        """Take a command. :raises Busy: too many are under way. :raises SessionExpired: closed."""
        opens = False
        with self.lock:
            if self._closed is not None:
                raise self._closed
            if command.finished:
                return
            window = self._window
            if window is not None and window.full:
                if not self._renews:
                    name = shown(window.session)
                    raise Busy(
                        f"session {name} has commands under way from "
                        f"{window.first_unacknowledged} on; "
                        f"the newest is at most {WINDOW} ahead of the oldest",
                        session=name,
                        floor=window.first_unacknowledged,
                    )
                window = self._window = None
            if window is None:
                self._waiting.append(command)
                opens, self._opening = not self._opening, True
            else:
                command.place(window)
        if window is not None:
            self.sessions.submit(command)
        elif opens:
            self.open()

    def expired(self, command: SessionCommand, error: SessionExpired) -> BraftError | None:
        """The state machine does not know the session (any more), or the number is too old."""
        if not self._renews:
            facts = {**error.data, "maybe_applied": command.unknown}
            return SessionExpired(error.message, **facts)
        if command.unknown:
            return OutcomeUnknown(
                f"the outcome is unknown: it was tried more than once, and {error.message}"
            )
        with self.lock:
            if self._window is command.window:
                self._window = None
            command.window = None
        try:
            self.submit(command)  # the only attempt was refused, so this is the first again
        except BraftError as refused:
            return refused
        return None

    def open(self) -> None:
        """Have a session opened for those that wait."""
        with self.lock:
            timeout = max((command.remaining() for command in self._waiting), default=0.0)
        self.sessions.open(self, timeout)

    def opened(self, session: bytes) -> None:
        """*Loop.* The session is open."""
        with self.lock:
            self._window = Window(session)
        self._go_on()

    def not_opened(self, error: BraftError) -> None:
        """*Loop.* It could not be opened. What waits was not sent, so it was surely not applied."""
        if isinstance(error, OutcomeUnknown):
            error = NoLeader(f"no session could be opened in time: {error.message}")
        # In time for some may be too late for others.
        self._go_on(error, keep=isinstance(error, (NoLeader, NotReady)))

    def _go_on(self, error: BraftError | None = None, *, keep: bool = False) -> None:
        with self.lock:
            waiting, self._waiting = self._waiting, []
            self._opening = False
        for command in waiting:
            if error is not None and not (keep and command.remaining() > 0):
                settle([(command, error)])
            elif command.prepare():
                try:
                    self.submit(command)
                except BraftError as refused:
                    settle([(command, refused)])

    def refuse_late(self, error: NotApplied) -> None:
        """Answer the waiting whose deadline has passed."""
        with self.lock:
            now = clock.monotonic()
            late = [command for command in self._waiting if command.deadline <= now]
            self._waiting = [command for command in self._waiting if command.deadline > now]
        settle((command, error) for command in late)

    def close(self, reason: BraftError) -> None:
        """Take no more commands."""
        with self.lock:
            first, self._closed = self._closed is None, reason
            waiting, self._waiting = self._waiting, []
        settle((command, reason) for command in waiting)
        if first and self.session:
            self.sessions.forget(self)


class RegisterClient(RetryableCommand):
    """The command that opens a session, under another id at each attempt.

    An attempt that comes late must not bring a session back to life that has ended meanwhile: the
    commands that it has forgotten could be applied again. Two sessions instead of one harm nobody.
    """

    __slots__ = ("_drawn",)

    def __init__(
        self, sessions: Sessions, timeout: float, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        super().__init__(sessions, b"", timeout, loop)
        self._drawn: set[bytes] = set()
        self._draw()

    def _draw(self) -> None:
        session, self.data = self._sessions.new_session()
        self._drawn.add(session)

    def prepare(self) -> bool:
        """See :meth:`RetryableCommand.prepare`."""
        if not super().prepare():
            return False
        self._draw()
        return True

    def session_of(self, answer: Any) -> bytes | None:
        """Return the session that was opened, ``None`` if the answer names none of ours."""
        return answer if type(answer) is bytes and answer in self._drawn else None


class Sessions:
    """All client sessions of a node, and the commands that wait before they are sent again.

    :param timeout: of closing a session, seconds.
    :param random_bytes: draws the ids of sessions.
    """

    def __init__(
        self,
        engine: _Engine,
        serializer: Serializer,
        timeout: float,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._engine = engine
        self._random_bytes = random_bytes
        self._serializer = serializer
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._retrying: list[RetryableCommand] = []
        self._opening: list[ClientSession] = []
        self._closed = False
        #: The node's own session.
        self.own = ClientSession(self, renews=True)

    def start(self) -> None:
        """*Loop.* Open what was asked for so far: callers may know the node before it runs."""
        with self._lock:
            self._loop = asyncio.get_running_loop()
            opening, self._opening = self._opening, []
        for client_session in opening:
            client_session.open()

    def stop(self, reason: BraftError) -> None:
        """Try nothing again from now on; answer all that wait. Idempotent."""
        with self._lock:
            self._closed = True
            retrying, self._retrying = self._retrying, []
            opening, self._opening = self._opening, []
        settle((command, reason) for command in retrying)
        for client_session in opening:
            client_session.close(reason)

    def sweep(self) -> None:
        """*Loop.* Now and then: answer those whose deadline has passed."""
        with self._lock:
            opening = list(self._opening)
        for client_session in opening:
            client_session.refuse_late(self._engine.refusal())

    def submit(self, command: Command) -> None:
        """On its way to the leader."""
        self._engine.submit(command)

    # -- again -----------------------------------------------------------------------------------

    def retry_later(self, command: RetryableCommand) -> bool:
        """Send that command again after a moment; ``False`` if the node is stopping."""
        with self._lock:
            if self._closed or self._loop is None:
                return False
            self._retrying.append(command)
            first = len(self._retrying) == 1
        if first:
            try:
                self._loop.call_soon_threadsafe(self._loop.call_later, _RETRY, self._wake)
            except RuntimeError:  # the loop has ended
                return False
        return True

    def _wake(self) -> None:
        with self._lock:
            retrying, self._retrying = self._retrying, []
        for command in retrying:
            if command.prepare():
                self._engine.submit(command)

    # -- opening and closing ---------------------------------------------------------------------

    def open(self, client_session: ClientSession, timeout: float) -> None:
        """Register ``client_session``, at the start of the node if it does not run yet."""
        with self._lock:
            closed, loop = self._closed, self._loop
            if not closed:
                self._opening.append(client_session)
        if closed:
            client_session.close(Stopped("the node was stopped"))
        if closed or loop is None:
            return
        opening = RegisterClient(self, timeout, loop)
        opening.awaitable.add_done_callback(
            lambda future: self._opened(client_session, opening, future)
        )
        self._engine.submit(opening)

    def new_session(self) -> tuple[bytes, bytes]:
        """Draw the id of a session; returns it and the command that opens it."""
        session = self._random_bytes(SESSION_ID_BYTES)
        return session, encode_command(self._serializer, SESSIONS, "open", [session])

    def _opened(
        self, client_session: ClientSession, opening: RegisterClient, future: asyncio.Future[Any]
    ) -> None:
        with self._lock:
            if client_session in self._opening:
                self._opening.remove(client_session)
        error = None if future.cancelled() else future.exception()
        if isinstance(error, BraftError):
            client_session.not_opened(error)
        elif not future.cancelled():
            session = opening.session_of(future.result())
            if session is not None:
                client_session.opened(session)
            else:
                client_session.not_opened(
                    NotSupported("the leader did not open the session asked for")
                )

    def forget(self, client_session: ClientSession) -> None:
        """Close the client_session's session, without waiting: it would end by itself in time."""
        data = encode_command(self._serializer, SESSIONS, "close", [client_session.session])
        self._engine.submit(Command(data, self._timeout))
