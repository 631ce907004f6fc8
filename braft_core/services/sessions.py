"""The session table: what the state machine remembers so that a retried command is applied once.

Raft thesis §6.3. A session is opened by a command of the log, and named by 128 bits that its client
drew at random: nobody who cannot read the log can use it, or use up its numbers. Its commands carry
the session, a sequence number, and the first sequence number whose answer the client still waits
for (the *floor*). Answers from the floor on are kept; a command whose answer is kept is a
repetition and gets that answer. Everything here is a function of the log alone, equal on every
node.

**Log time.** Sessions end after an hour without use, counted by the clock of the log, never by
one of this machine: the sum of what the leaders' stamps advance from one command of a session to
the next, where a step back counts as nothing and a step forward as :data:`MAX_STEP` at most. So it
never goes back, a leader whose clock is wrong by any amount shifts it by one step when it takes
over, and from then on only its clock's rate counts.

**Bounds.** A session keeps up to :data:`MAX_CHARGE` bytes of answers and refuses more (``Busy``,
not applied) until the client raises its floor. There are up to :data:`MAX_SESSIONS` sessions with
:data:`MAX_TOTAL` bytes of answers together; the least recently used ones go first (of those that
keep answers, where it is for the bytes).

Knows nothing of services, clients or how a command is encoded.
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
    "indexed",
    "shown",
]

_SECOND: Final = 1_000_000_000
#: A session ends after this much log time without a command, nanoseconds.
IDLE: Final = 3600 * _SECOND
#: What one command can add to the log time at most, nanoseconds.
MAX_STEP: Final = 60 * _SECOND
#: Most sessions at one time.
MAX_SESSIONS: Final = 10_000
#: Bytes of answers that one session keeps, and all of them together.
MAX_CHARGE: Final = 1 << 20
MAX_TOTAL: Final = 64 << 20
#: What a small answer and an error count for, bytes. Constants, since the text of an error that a
#: service did not mean to raise may differ between Python versions and must decide nothing.
SMALL: Final = 64
ERROR: Final = 1024
#: An encoded error above this size is kept without its data and with the head of its message.
_ERROR_LIMIT: Final = 4096
_ERROR_MESSAGE: Final = 256

#: What :meth:`SessionTable.begin` returns for a command that is to be applied.
NEW: Final = object()
_MISSING: Final = object()
_INDEXED_BYTES: Final = 8
_SCALARS: Final = frozenset({type(None), bool, int, float})

#: A kept answer: a scalar as it is (an int of 64 bits), ``bytes`` for any other value encoded,
#: ``(bytes,)`` for an encoded error. Encoded, because callers may change the lists and dicts that
#: they were given.
_Kept = Any


class _Session:
    __slots__ = ("answers", "charge", "floor", "used")

    def __init__(self, used: int, floor: int = 1) -> None:
        #: Log time of its last command.
        self.used = used
        #: The lowest sequence number whose answer is still wanted.
        self.floor = floor
        self.answers: dict[int, _Kept] = {}
        self.charge = 0


class SessionTable:
    """Owned by the state machine; not thread-safe."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        #: By id, the least recently used first.
        self._sessions: dict[bytes, _Session] = {}
        self._total = 0
        self._now = 0
        self._stamp = 0
        #: No session ends before this log time. Derived: not part of the state.
        self._next_end = 0
        #: The session that is the last of the table, if that is known. Derived.
        self._latest = b""

    def __len__(self) -> int:
        return len(self._sessions)

    def __bool__(self) -> bool:
        """Whether there is anything that a snapshot must hold."""
        return self._stamp != 0 or bool(self._sessions)

    # -- commands --------------------------------------------------------------------------------

    def open(self, session_id: bytes, appended_at: int) -> bytes:
        """Open a session and return its id. One that is open stays as it is, with its answers."""
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
        """End a session; whether it was there."""
        self._advance(appended_at)
        if session_id not in self._sessions:
            return False
        self._end(session_id)
        return True

    def begin(self, session_id: bytes, sequence: int, floor: int, appended_at: int) -> Any:
        """:data:`NEW` if the command is to be applied now, else the answer it gets instead.

        That is the kept answer of a repetition, ``SessionExpired`` if the session is gone or the
        answer was let go, or ``Busy``; none of them changes what is kept.
        """
        if appended_at != self._stamp:
            self._advance(appended_at)
        session = self._sessions.get(session_id)
        if session is None:
            return _expired(session_id, sequence)
        session.used = self._now
        if session_id != self._latest:
            # Taken out and put back at the end: the order is that of the last use.
            self._sessions[session_id] = self._sessions.pop(session_id)
            self._latest = session_id
        if floor > session.floor:
            self._let_go(session, floor)
        if sequence in session.answers:
            return _outcome(session.answers[sequence])
        if sequence < session.floor:
            return _too_late(session_id, sequence, session.floor)
        if session.charge >= MAX_CHARGE:
            return _full(session_id, session)
        return NEW

    def finish(self, session_id: bytes, sequence: int, outcome: Any) -> None:
        """Keep the answer of a command that :meth:`begin` let through just now."""
        session = self._sessions.get(session_id)
        if session is None:
            return  # the command ended its own session, by closing it or by opening one too many
        charge = SMALL
        if type(outcome) not in _SCALARS or _is_wide(outcome):
            outcome = _keep(outcome)
            charge = _charge(outcome)
        session.answers[sequence] = outcome
        session.charge += charge
        self._total += charge
        while self._total > MAX_TOTAL:
            self._end(next(key for key, session in self._sessions.items() if session.charge))

    def _advance(self, stamp: int) -> None:
        if stamp <= 0:
            return  # a leader of another make, which stamps nothing
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

    def _let_go(self, session: _Session, floor: int) -> None:
        answers, sequence, charge = session.answers, session.floor, 0
        if floor - sequence > len(answers) + 1:
            for leap in [number for number in answers if number < floor]:
                charge += _charge(answers.pop(leap))
            sequence = floor
        while sequence < floor:
            kept = answers.pop(sequence, _MISSING)
            if type(kept) in _SCALARS:
                charge += SMALL
            elif kept is not _MISSING:
                charge += _charge(kept)
            sequence += 1
        session.floor = floor
        session.charge -= charge
        self._total -= charge

    # -- snapshots -------------------------------------------------------------------------------

    def snapshot(self) -> Iterator[bytes]:
        """Capture the table now; the iterator may be consumed on another thread, later."""
        return _encoded((self._now, self._stamp), self._rows())

    def digest_chunks(self) -> Iterator[bytes]:
        """See :meth:`braft_core.abc.Service.digest_chunks`.

        Of an error only its code counts: its text may differ between Python versions.
        """
        return _encoded((self._now, self._stamp), self._rows(), show_error=_code)

    def _rows(self) -> list[tuple[Any, ...]]:
        return [
            (session_id, session.used, session.floor, tuple(session.answers.items()))
            for session_id, session in self._sessions.items()
        ]

    def restore(self, chunks: Iterator[bytes]) -> None:
        """Replace the table by what :meth:`snapshot` wrote; no chunks make it empty.

        :raises DecodeError: they are something else.
        """
        self._reset()
        try:
            self._load(_decoded(chunks))
        except (TypeError, ValueError) as error:  # a row of another shape
            raise DecodeError(f"not a session table: {error}") from error

    def _load(self, rows: Iterator[Any]) -> None:
        head = next(rows, None)
        if head is None:
            return
        self._now, self._stamp = _numbers(head)
        for session_id, used, floor, answers in rows:
            key, (used, floor) = _id(session_id), _numbers((used, floor))
            if key in self._sessions:
                raise ValueError(f"session {shown(key)} is there twice")
            session = self._sessions[key] = _Session(used, floor)
            for sequence, kind, value in answers:
                kept = (value,) if kind else value
                session.answers[sequence] = kept
                session.charge += _charge(kept)
            self._total += session.charge


# --------------------------------------------------------------------------------------------
# Answers


def _is_wide(scalar: Any) -> bool:
    """Whether it is an int that a snapshot could not hold as it is."""
    return type(scalar) is int and not INT_MIN <= scalar <= INT_MAX


def _keep(outcome: Any) -> _Kept:
    try:
        encoded = encode_outcome(outcome)
    except TypeError as error:  # as deep as a value may be, and so too deep within an outcome
        return (encode_outcome(Rejected(f"applied; its answer was not kept: {error}")),)
    if isinstance(outcome, BraftError):
        if len(encoded) > _ERROR_LIMIT:
            # By its parts: the constructor of a service's own error may take anything.
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


def indexed(index: int) -> bytes:
    """Return the id of a session that is named by the log index at which it was opened."""
    return index.to_bytes(_INDEXED_BYTES, "big")


def shown(session_id: bytes) -> str:
    """Return a session's id as people see it, "" for none."""
    return session_id.hex()


def _expired(session_id: bytes, sequence: int) -> SessionExpired:
    name = shown(session_id)
    return SessionExpired(
        f"there is no session {name} (any more); its command {sequence} was not applied now",
        session=name,
        sequence=sequence,
    )


def _too_late(session_id: bytes, sequence: int, floor: int) -> SessionExpired:
    name = shown(session_id)
    return SessionExpired(
        f"command {sequence} of session {name} comes too late: its client waits for "
        f"{floor} and later only",
        session=name,
        sequence=sequence,
    )


def _full(session_id: bytes, session: _Session) -> Busy:
    name = shown(session_id)
    return Busy(
        f"session {name} has {len(session.answers)} answers that its client still waits "
        f"for, of {session.charge} bytes; the limit is {MAX_CHARGE}",
        session=name,
        floor=session.floor,
    )


# --------------------------------------------------------------------------------------------
# Snapshot: msgpack values, [now, stamp] and then [id, used, floor, [[sequence, kind, answer], ...]]


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
    for session_id, used, floor, answers in rows:
        kept = [
            (sequence, 1, show_error(value[0])) if type(value) is tuple else (sequence, 0, value)
            for sequence, value in answers
        ]
        yield pack((session_id, used, floor, kept))


def _decoded(chunks: Iterator[bytes]) -> Iterator[Any]:
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    for chunk in chunks:
        unpacker.feed(chunk)
        yield from _complete(unpacker)
    # What is left of an incomplete value is inside the unpacker; it would swallow this one.
    unpacker.feed(b"\xc0")
    if list(_complete(unpacker)) != [None]:
        raise DecodeError("not a session table: it ends in the middle of a value")


def _complete(unpacker: msgpack.Unpacker) -> Iterator[Any]:
    try:
        yield from unpacker
    except Exception as error:  # the library documents that others than its own may come
        raise DecodeError(f"not a session table: {error}") from error


def _id(value: Any) -> bytes:
    if type(value) is int:  # of a time when sessions were named by a log index
        if not 0 < value <= INT_MAX:
            raise ValueError(f"{value} is not the log index of a session")
        return indexed(value)
    if type(value) is not bytes or len(value) not in (SESSION_ID_BYTES, _INDEXED_BYTES):
        raise TypeError(f"{value!r:.80} is not the id of a session")
    return value


def _numbers(values: Any) -> Iterator[int]:
    for value in values:
        if type(value) is not int:
            raise TypeError(f"{value!r:.80} is not a number")
        yield value
