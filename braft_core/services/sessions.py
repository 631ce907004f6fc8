"""The session table: what the state machine remembers so that a retried command is applied once.

Raft thesis §6.3. A log entry opens a session. Its id is 128 random bits that the client drew, so
only those who can read the log can use it. A command of a session carries the session id, a
sequence number, and the first sequence number whose answer the client has not acknowledged. The
table keeps the answers from there on. A command whose answer is kept is a retry and gets that
answer. The table is a function of the log alone and equal on every node.

**Log time.** A session ends after an hour of log time without use. Log time is the sum of the steps
between the leaders' timestamps of successive session commands. A step back counts as zero, a step
forward as :data:`MAX_STEP` at most. So log time never goes back. A leader whose clock is wrong by
any amount shifts it by one step when it takes over; from then on only the clock's rate matters.

**Bounds.** A session keeps up to :data:`MAX_CHARGE` bytes of answers and refuses more (``Busy``,
not applied) until the client acknowledges some. There are up to :data:`MAX_SESSIONS` sessions with
:data:`MAX_TOTAL` bytes of answers together. The least recently used session ends first; to free
bytes, the least recently used session that keeps answers.

Must not know services, clients or how a command is encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgpack

from braft_core.errors import BraftError, Busy, DecodeError, Rejected, SessionExpired
from braft_core.serializers.plain import INT_MAX, INT_MIN
from braft_core.services.envelope import (
    SESSION_ID_BYTES,
    decode_outcome,
    encode_failure,
    encode_outcome,
)

__all__ = [
    "IDLE",
    "MAX_CHARGE",
    "MAX_SESSIONS",
    "MAX_STEP",
    "MAX_TOTAL",
    "NEW",
    "SessionTable",
    "shown",
]

_SECOND: Final = 1_000_000_000
#: A session ends after this much log time without a command, nanoseconds.
IDLE: Final = 3600 * _SECOND
#: The most that one command can add to the log time, nanoseconds.
MAX_STEP: Final = 60 * _SECOND
#: The most sessions at one time.
MAX_SESSIONS: Final = 10_000
#: The most bytes of answers that one session keeps, and that all sessions keep together.
MAX_CHARGE: Final = 1 << 20
MAX_TOTAL: Final = 64 << 20
#: The bytes that a small answer and an error are charged. Constants, because the text of an
#: unexpected exception may differ between Python versions and so must not decide anything.
SMALL: Final = 64
ERROR: Final = 1024
#: A longer encoded error is kept without its data and with the beginning of its message.
_ERROR_LIMIT: Final = 4096
_ERROR_MESSAGE: Final = 256

#: What :meth:`SessionTable.begin` returns for a command that is to be applied.
NEW: Final = object()
_MISSING: Final = object()
_SCALARS: Final = frozenset({type(None), bool, int, float})

#: A kept answer: a scalar as it is (an int of 64 bits), ``bytes`` for any other value encoded,
#: ``(bytes,)`` for an encoded error. Values are encoded because callers may change the lists and
#: dicts that they receive.
_Kept = Any


class _Session:
    __slots__ = ("answers", "charge", "first_unacknowledged", "used")

    def __init__(self, used: int, first_unacknowledged: int = 1) -> None:
        #: Log time of its last command.
        self.used = used
        #: The lowest sequence number whose answer the client has not acknowledged.
        self.first_unacknowledged = first_unacknowledged
        self.answers: dict[int, _Kept] = {}
        self.charge = 0


class SessionTable:
    """All open sessions with their answers. Owned by the state machine; not thread-safe."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        #: By id, least recently used first.
        self._sessions: dict[bytes, _Session] = {}
        self._total = 0
        self._now = 0
        self._stamp = 0
        #: The earliest log time at which a session can end. Derived, not part of the state.
        self._next_end = 0
        #: The most recently used session, if known. Derived.
        self._latest = b""

    def __len__(self) -> int:
        return len(self._sessions)

    def __bool__(self) -> bool:
        """Return whether a snapshot must hold anything of this table."""
        return self._stamp != 0 or bool(self._sessions)

    # -- commands --------------------------------------------------------------------------------

    def open(self, session_id: bytes, appended_at: int) -> bytes:
        """Open a session and return its id. A session that is open keeps its answers."""
        self._advance(appended_at)
        session = self._sessions.pop(session_id, None)
        if session is None:
            while len(self._sessions) >= MAX_SESSIONS:
                self._end(next(iter(self._sessions)))
            session = _Session(self._now)
        session.used = self._now
        self._sessions[session_id] = session
        self._latest = session_id
        return session_id

    def close(self, session_id: bytes, appended_at: int) -> bool:
        """End a session; return whether it was open."""
        self._advance(appended_at)
        if session_id not in self._sessions:
            return False
        self._end(session_id)
        return True

    def begin(
        self, session_id: bytes, sequence: int, first_unacknowledged: int, appended_at: int
    ) -> Any:
        """Return :data:`NEW` if the command must be applied now, else its answer.

        The answer is the kept one for a retry, ``SessionExpired`` if the session has ended or the
        client has acknowledged that number, or ``Busy``. None of them changes the kept answers.
        """
        if appended_at != self._stamp:
            self._advance(appended_at)
        session = self._sessions.get(session_id)
        if session is None:
            return _expired(session_id, sequence)
        session.used = self._now
        if session_id != self._latest:
            # Move it to the end: the table is ordered by last use.
            self._sessions[session_id] = self._sessions.pop(session_id)
            self._latest = session_id
        if first_unacknowledged > session.first_unacknowledged:
            self._let_go(session, first_unacknowledged)
        if sequence in session.answers:
            return _outcome(session.answers[sequence])
        if sequence < session.first_unacknowledged:
            return _too_late(session_id, sequence, session.first_unacknowledged)
        if session.charge >= MAX_CHARGE:
            return _full(session_id, session)
        return NEW

    def finish(self, session_id: bytes, sequence: int, outcome: Any) -> None:
        """Keep the answer of the command for which :meth:`begin` just returned :data:`NEW`."""
        session = self._sessions.get(session_id)
        if session is None:
            return  # the command itself ended its session, by closing it or by opening one too many
        charge = SMALL
        kept_as_it_is = type(outcome) in _SCALARS
        if type(outcome) is int:  # a snapshot holds 64 bits
            kept_as_it_is = INT_MIN <= outcome <= INT_MAX
        if not kept_as_it_is:
            outcome = _keep(outcome)
            charge = _charge(outcome)
        session.answers[sequence] = outcome
        session.charge += charge
        self._total += charge
        while self._total > MAX_TOTAL:
            self._end(next(key for key, session in self._sessions.items() if session.charge))

    def _advance(self, stamp: int) -> None:
        if stamp <= 0:
            return  # a leader that is not braft's sends no timestamps
        step = stamp - self._stamp
        if step > 0 and self._stamp:
            self._now += step if step < MAX_STEP else MAX_STEP
        self._stamp = stamp
        if self._now >= self._next_end:
            self._end_idle()

    def _end_idle(self) -> None:
        while self._sessions:
            session_id, session = next(iter(self._sessions.items()))
            if session.used + IDLE > self._now:
                self._next_end = session.used + IDLE
                return
            self._end(session_id)
        self._next_end = self._now + IDLE

    def _end(self, session_id: bytes) -> None:
        self._total -= self._sessions.pop(session_id).charge

    def _let_go(self, session: _Session, first_unacknowledged: int) -> None:
        answers, sequence, charge = session.answers, session.first_unacknowledged, 0
        if first_unacknowledged - sequence > len(answers) + 1:
            for leap in [number for number in answers if number < first_unacknowledged]:
                charge += _charge(answers.pop(leap))
            sequence = first_unacknowledged
        while sequence < first_unacknowledged:
            kept = answers.pop(sequence, _MISSING)
            if type(kept) in _SCALARS:
                charge += SMALL
            elif kept is not _MISSING:
                charge += _charge(kept)
            sequence += 1
        session.first_unacknowledged = first_unacknowledged
        session.charge -= charge
        self._total -= charge

    # -- snapshots -------------------------------------------------------------------------------

    def snapshot(self) -> Iterator[bytes]:
        """Capture the table now; another thread may consume the iterator later."""
        return _encoded((self._now, self._stamp), self._rows())

    def digest_chunks(self) -> Iterator[bytes]:
        """See :meth:`braft_core.abc.Service.digest_chunks`.

        Of an error only the code counts, because its text may differ between Python versions.
        """
        return _encoded((self._now, self._stamp), self._rows(), show_error=_code)

    def _rows(self) -> list[tuple[Any, ...]]:
        return [
            (session_id, session.used, session.first_unacknowledged, tuple(session.answers.items()))
            for session_id, session in self._sessions.items()
        ]

    def restore(self, chunks: Iterator[bytes]) -> None:
        """Replace the table by what :meth:`snapshot` wrote; without chunks it becomes empty.

        :raises DecodeError: the chunks are not a session table.
        """
        self._reset()
        try:
            self._load(_decoded(chunks))
        except (TypeError, ValueError) as error:  # a row has another shape
            raise DecodeError(f"not a session table: {error}") from error

    def _load(self, rows: Iterator[Any]) -> None:
        head = next(rows, None)
        if head is None:
            return
        self._now, self._stamp = _numbers(head)
        for session_id, used, first_unacknowledged, answers in rows:
            key, (used, first_unacknowledged) = (
                _id(session_id),
                _numbers((used, first_unacknowledged)),
            )
            if key in self._sessions:
                raise ValueError(f"session {shown(key)} occurs twice")
            session = self._sessions[key] = _Session(used, first_unacknowledged)
            for sequence, kind, value in answers:
                kept = (value,) if kind else value
                session.answers[sequence] = kept
                session.charge += _charge(kept)
            self._total += session.charge


# --------------------------------------------------------------------------------------------
# Answers


def _keep(outcome: Any) -> _Kept:
    try:
        encoded = encode_outcome(outcome)
    except TypeError as error:  # nested to the limit, so too deep inside an outcome
        return (encode_outcome(Rejected(f"applied; its answer was not kept: {error}")),)
    if isinstance(outcome, BraftError):
        if len(encoded) > _ERROR_LIMIT:
            # Encoded from its parts: a service's own error class may have any constructor.
            encoded = encode_failure(outcome.code, outcome.message[:_ERROR_MESSAGE], {})
        return (encoded,)
    if len(encoded) <= MAX_CHARGE:
        return encoded
    size = len(encoded)
    return (encode_outcome(Rejected(f"applied; its answer of {size} bytes was not kept")),)


def _charge(kept: _Kept) -> int:
    if type(kept) is bytes:
        return SMALL + len(kept)
    return ERROR if type(kept) is tuple else SMALL


def _outcome(kept: _Kept) -> Any:
    if type(kept) is bytes:
        return decode_outcome(kept)
    return decode_outcome(kept[0]) if type(kept) is tuple else kept


def shown(session_id: bytes) -> str:
    """Return a session id as text."""
    return session_id.hex()


def _expired(session_id: bytes, sequence: int) -> SessionExpired:
    name = shown(session_id)
    return SessionExpired(
        f"session {name} does not exist or has expired; its command {sequence} was not applied",
        session=name,
        sequence=sequence,
    )


def _too_late(session_id: bytes, sequence: int, first_unacknowledged: int) -> SessionExpired:
    name = shown(session_id)
    return SessionExpired(
        f"command {sequence} of session {name} came too late: the client has acknowledged all "
        f"commands before {first_unacknowledged}",
        session=name,
        sequence=sequence,
    )


def _full(session_id: bytes, session: _Session) -> Busy:
    name = shown(session_id)
    return Busy(
        f"session {name} keeps {len(session.answers)} unacknowledged answers of {session.charge} "
        f"bytes; the limit is {MAX_CHARGE}",
        session=name,
        first_unacknowledged=session.first_unacknowledged,
    )


# --------------------------------------------------------------------------------------------
# Snapshot: msgpack values. First [now, stamp], then for each session
# [id, used, first_unacknowledged, [[sequence, kind, answer], ...]].


def _whole(encoded: bytes) -> bytes:
    return encoded


def _code(encoded: bytes) -> str:
    outcome = decode_outcome(encoded)
    return outcome.code if isinstance(outcome, BraftError) else ""


def _encoded(
    head: tuple[int, int],
    rows: list[tuple[Any, ...]],
    show_error: Callable[[bytes], Any] = _whole,
) -> Iterator[bytes]:
    pack = msgpack.Packer().pack
    yield pack(head)
    for session_id, used, first_unacknowledged, answers in rows:
        kept = [
            (sequence, 1, show_error(value[0])) if type(value) is tuple else (sequence, 0, value)
            for sequence, value in answers
        ]
        yield pack((session_id, used, first_unacknowledged, kept))


def _decoded(chunks: Iterator[bytes]) -> Iterator[Any]:
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    for chunk in chunks:
        unpacker.feed(chunk)
        yield from _complete(unpacker)
    # An incomplete value is still inside the unpacker and would swallow this one.
    unpacker.feed(b"\xc0")
    if list(_complete(unpacker)) != [None]:
        raise DecodeError("not a session table: it ends in the middle of a value")


def _complete(unpacker: msgpack.Unpacker) -> Iterator[Any]:
    try:
        yield from unpacker
    except Exception as error:  # msgpack documents that it may raise other errors than its own
        raise DecodeError(f"not a session table: {error}") from error


def _id(value: Any) -> bytes:
    if type(value) is not bytes or len(value) != SESSION_ID_BYTES:
        raise TypeError(f"{value!r:.80} is not the id of a session")
    return value


def _numbers(values: Any) -> Iterator[int]:
    for value in values:
        if type(value) is not int:
            raise TypeError(f"{value!r:.80} is not a number")
        yield value
