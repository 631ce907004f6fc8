"""Client sessions on the node that took the call: number commands, and retry them.

A command of a session may be sent any number of times and is applied once
(:mod:`braft_core.services.sessions`). So when the outcome of an attempt is unknown, because the
connection broke or the leader died, this module sends the command again until its deadline. If any
attempt may have been applied when the deadline passes, the caller gets ``OutcomeUnknown``.

A :class:`ClientSession` registers its session with the first command. The node draws the session id
at random, so only those who hold the log can know it. All calls without a session share one, which
is replaced when it has expired or is full.

Methods may be called from any thread unless marked otherwise.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
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
from braft_core.runtime.retry_queue import RetryQueue
from braft_core.services.capabilities import Need
from braft_core.services.envelope import SESSION_ID_BYTES, encode_command, with_session
from braft_core.services.sessions import MAX_CHARGE, SMALL, shown
from braft_core.services.state_machine import SESSIONS

__all__ = ["ClientSession", "SessionCommand", "Sessions"]

#: Data keys that mark a ``Busy`` as transient.
_PASSING = frozenset({"session", "successor"})
#: How far the newest command of a session may be ahead of its oldest unacknowledged one: as many
#: small answers as the state machine keeps of one session.
WINDOW = MAX_CHARGE // SMALL


class _Server(Protocol):
    """The part of the node that sessions use."""

    @property
    def retries(self) -> RetryQueue:
        """Requests that wait for another attempt."""

    def submit(self, request: Command | Query) -> None:
        """Take a request."""

    def refusal(self) -> NotApplied:
        """Return the reason why no request is served at the moment."""


class Window:
    """The sequence numbers of one session. Guarded by the lock of its :class:`ClientSession`."""

    def __init__(self, session: bytes) -> None:
        self.session = session
        self.first_unacknowledged = 1
        self._next = 1
        self._under_way: set[int] = set()

    def take(self) -> int:
        """Return the next number, 0 if none is left to take."""
        number = self._next
        if number - self.first_unacknowledged >= WINDOW:
            return 0
        self._next = number + 1
        self._under_way.add(number)
        return number

    def done(self, numbers: Iterable[int]) -> None:
        """Acknowledge the answers of commands, or record that their callers left."""
        self._under_way.difference_update(numbers)
        while (
            self.first_unacknowledged < self._next
            and self.first_unacknowledged not in self._under_way
        ):
            self.first_unacknowledged += 1


class RetryableCommand(Command):
    """A command that may be sent again without being applied twice."""

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
        #: Whether an attempt may have been applied.
        self.unknown = False
        #: Whether the caller has its answer or has left.
        self.finished = False

    def classify(self, error: BraftError) -> BraftError | None:
        """See :meth:`Request.classify`."""
        if self.finished or self.future.done():
            return None
        if isinstance(error, OutcomeUnknown):
            self.unknown = True
        elif not self._may_help(error):
            return self._verdict(error)
        if self.remaining() <= 0 or not self._sessions.retries.put(self):
            return self._verdict(error)
        return None

    def _may_help(self, error: BraftError) -> bool:
        """Return whether a retry may succeed after an attempt that was not applied."""
        if not isinstance(error, NotApplied):
            return False
        if self.unknown:
            return True
        # Report real overload to the caller. Retry a transient Busy: leadership is being
        # transferred, or the session keeps answers that are about to be acknowledged.
        if isinstance(error, Busy):
            return not _PASSING.isdisjoint(error.data)
        return error.safe_to_retry

    def _verdict(self, error: BraftError) -> BraftError:
        if self.unknown and isinstance(error, NotApplied):
            return OutcomeUnknown(
                "the outcome is unknown: an earlier attempt may have been applied; the last one "
                f"was not: {error.message}"
            )
        return error

    def prepare(self) -> bool:
        """Prepare the next attempt; return whether to make it."""
        self.sent = False
        return not self.finished and not self.future.done()

    def attempt(self, submit: Callable[[Any], None]) -> None:
        """See :meth:`Request.attempt`."""
        if self.prepare():
            submit(self)


class SessionCommand(RetryableCommand):
    """A command of a session. ``plain`` is the command without the session's fields."""

    __slots__ = ("client_session", "number", "plain", "window")

    def __init__(
        self,
        client_session: ClientSession,
        plain: bytes,
        timeout: float,
        loop: asyncio.AbstractEventLoop | None,
        need: Need | None = None,
    ) -> None:
        # What the classes above set, without a call for each of them: every write makes one.
        self.deadline = clock.monotonic() + timeout
        self.loop = loop
        self.future = loop.create_future() if loop is not None else concurrent.futures.Future()
        self.sent = self.unknown = self.finished = False
        self.data = self.plain = plain
        self.need = need
        self._sessions = client_session.sessions
        self.holder = self.client_session = client_session
        self.window: Window | None = None
        self.number = 0

    def stamp(self, window: Window) -> None:
        """Encode the session's fields, as they are now. The caller holds the session's lock."""
        self.data = with_session(
            self.plain, (window.session, self.number, window.first_unacknowledged)
        )

    def prepare(self) -> bool:
        """See :meth:`RetryableCommand.prepare`. Stamp it with the newest acknowledgement."""
        with self.client_session.lock:
            # A finished command must not be stamped: its own number may be acknowledged.
            if not super().prepare():
                return False
            if self.window is not None:
                self.stamp(self.window)
            return True

    def attempt(self, submit: Callable[[Any], None]) -> None:
        """See :meth:`Request.attempt`. Without a number, let the session give it one first."""
        if self.window is not None:
            super().attempt(submit)
        elif self.prepare():
            try:
                self.client_session.submit(self)
            except BraftError as refused:
                settle([(self, refused)])

    def finish(self) -> None:
        """Record that the caller has its answer or has left."""
        self.client_session.release((self,))

    def classify(self, error: BraftError) -> BraftError | None:
        """See :meth:`Request.classify`."""
        if self.finished or self.future.done():
            return None
        if isinstance(error, SessionExpired):
            return self.client_session.expired(self, error)
        if self.window is None:
            # It waits for a session and was never sent; without one it could be applied twice.
            return self._verdict(error)
        return super().classify(error)


class ClientSession:
    """A client, its session, and the commands that wait for the session to be registered.

    :param renews: register another session when this one has expired or is full.
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
    def session_id(self) -> bytes:
        """The id of the registered session, empty before there is one."""
        window = self._window
        return b"" if window is None else window.session

    def submit(self, command: SessionCommand) -> None:
        """Submit a command.

        :raises Busy: too many commands of the session are unacknowledged.
        :raises SessionExpired: the session is closed.
        """
        opens = False
        with self.lock:
            if self._closed is not None:
                raise self._closed
            if command.finished:
                return
            window = self._window
            number = window.take() if window is not None else 0
            if window is not None and not number:
                if not self._renews:
                    name = shown(window.session)
                    raise Busy(
                        f"session {name} waits for its command {window.first_unacknowledged}; "
                        f"the newest may be at most {WINDOW} numbers later",
                        session=name,
                        first_unacknowledged=window.first_unacknowledged,
                    )
                window = self._window = None
            if window is None:
                self._waiting.append(command)
                opens, self._opening = not self._opening, True
            else:
                command.window, command.number = window, number
                command.stamp(window)
        if window is not None:
            self.sessions.submit(command)
        elif opens:
            self.open()

    def release(self, commands: Sequence[SessionCommand]) -> None:
        """Record that the callers of these commands have their answers or have left."""
        with self.lock:
            numbers: dict[Window, list[int]] = {}
            for command in commands:
                command.finished = True
                window = command.window
                if window is None:
                    continue
                if window in numbers:
                    numbers[window].append(command.number)
                else:
                    numbers[window] = [command.number]
            for window, done in numbers.items():
                window.done(done)

    def expired(self, command: SessionCommand, error: SessionExpired) -> BraftError | None:
        """Handle a session, or a number in it, that the state machine no longer knows."""
        if not self._renews:
            facts = {**error.data, "maybe_applied": command.unknown}
            return SessionExpired(error.message, **facts)
        if command.unknown:
            return OutcomeUnknown(
                f"the outcome is unknown: an earlier attempt may have been applied; {error.message}"
            )
        with self.lock:
            if self._closed is not None:
                return self._closed
            if self._window is command.window:
                self._window = None
            command.window = None
        # No attempt was applied, so start over.
        if not self.sessions.retries.put(command, at_once=True):
            return Stopped("the node was stopped")
        return None

    def open(self) -> None:
        """Register a session for the waiting commands."""
        with self.lock:
            timeout = max((command.remaining() for command in self._waiting), default=0.0)
        self.sessions.open(self, timeout)

    def opened(self, session: bytes) -> None:
        """*Loop.* Submit the waiting commands: the session is registered."""
        with self.lock:
            self._window = Window(session)
        self._go_on()

    def not_opened(self, error: BraftError) -> None:
        """*Loop.* Handle a failed registration; the waiting commands were surely not applied."""
        if isinstance(error, OutcomeUnknown):
            error = NoLeader(f"no session could be opened in time: {error.message}")
        # Deadlines differ: retry only the commands that have time left.
        self._go_on(error, keep=isinstance(error, (NoLeader, NotReady)))

    def _go_on(self, error: BraftError | None = None, *, keep: bool = False) -> None:
        with self.lock:
            waiting, self._waiting = self._waiting, []
            self._opening = False
        for command in waiting:
            if error is not None and not (keep and command.remaining() > 0):
                settle([(command, error)])
            else:
                self.sessions.retries.put_all([command], at_once=True)

    def refuse_late(self, error: NotApplied) -> None:
        """Refuse the waiting commands whose deadline has passed."""
        with self.lock:
            now = clock.monotonic()
            late = [command for command in self._waiting if command.deadline <= now]
            self._waiting = [command for command in self._waiting if command.deadline > now]
        settle((command, error) for command in late)

    def close(self, reason: BraftError) -> None:
        """Refuse further commands, and those that wait."""
        with self.lock:
            first, self._closed = self._closed is None, reason
            waiting, self._waiting = self._waiting, []
        settle((command, reason) for command in waiting)
        if first and self.session_id:
            self.sessions.forget(self)


class RegisterClient(RetryableCommand):
    """The command that registers a session, with another id at each attempt.

    With one id, a late first attempt could reopen a session that has ended since. Commands whose
    answers it no longer keeps could then be applied again. A second, unused session does no harm.
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
        """Return the session that was registered, or ``None`` if the answer names another one."""
        return answer if type(answer) is bytes and answer in self._drawn else None


class Sessions:
    """All client sessions of a node.

    :param timeout: for closing a session, seconds.
    :param random_bytes: source of the session ids.
    """

    def __init__(
        self,
        server: _Server,
        serializer: Serializer,
        timeout: float,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._server = server
        #: Takes a command; the server's own method.
        self.submit = server.submit
        #: Takes what needs another attempt.
        self.retries = server.retries
        self._random_bytes = random_bytes
        self._serializer = serializer
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._opening: list[ClientSession] = []
        self._closed = False
        #: The session of all calls that have none of their own.
        self.shared = ClientSession(self, renews=True)

    def start(self) -> None:
        """*Loop.* Register the sessions requested so far: calls may come before the node runs."""
        with self._lock:
            self._loop = asyncio.get_running_loop()
            opening, self._opening = self._opening, []
        for client_session in opening:
            client_session.open()

    def stop(self, reason: BraftError) -> None:
        """Open no session from now on; answer the commands that wait for one. Idempotent."""
        with self._lock:
            self._closed = True
            opening, self._opening = self._opening, []
        for client_session in opening:
            client_session.close(reason)

    def sweep(self) -> None:
        """*Loop.* Refuse waiting commands whose deadline has passed. Called periodically."""
        with self._lock:
            opening = list(self._opening)
        for client_session in opening:
            client_session.refuse_late(self._server.refusal())

    # -- opening and closing ---------------------------------------------------------------------

    def open(self, client_session: ClientSession, timeout: float) -> None:
        """Register a session; ``opened`` or ``not_opened`` is called on the loop.

        Before the start, wait for it.
        """
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
        self._server.submit(opening)

    def new_session(self) -> tuple[bytes, bytes]:
        """Draw a session id; return it and the command that registers it."""
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
                    NotSupported("the leader did not register the requested session")
                )

    def forget(self, client_session: ClientSession) -> None:
        """Close the session without waiting for it; otherwise it ends when it expires."""
        data = encode_command(self._serializer, SESSIONS, "close", [client_session.session_id])
        self._server.submit(Command(data, self._timeout))
