"""Leases of the store: they end in log time, equally on every node.

Owns the leases, the clock they run on, which keys are attached to which lease, and the order in
which leases expire. Must not know records, revisions, or who proposes the commands.

**Log time** advances only with the commands ``grant``, ``renew``, ``revoke`` and ``tick``, by the
difference of the leader's wall clock between two of them:

* In the first such command of a term it does not advance: the time without a leader costs no lease
  anything. Each lease then has at least :data:`GRACE` left, or its ttl if that is shorter, so
  clients can renew at the new leader.
* Within a term, a step back counts as zero and a step forward as :data:`MAX_STEP` at most. So a
  leader that pauses, or whose clock is set forward, takes at most a second from a lease, each time.
  A clock that is set back only makes leases longer. A clock that *runs* fast is not noticed.

So a lease that was renewed at the real time t lasts at least until t + ttl, less one second for
each pause or forward jump of a leader since then. A lease whose deadline has passed exists until a
``tick`` expires it, and can be renewed until then.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from braft_core.abc import CommandContext
from braft_core.errors import (
    BraftError,
    DecodeError,
    InvalidArgument,
    LeaseExists,
    LeaseNotFound,
)
from braft_core.services.store.limits import shown

__all__ = [
    "GRACE",
    "HORIZON",
    "MAX_EXPIRED",
    "MAX_EXPIRED_KEYS",
    "MAX_ID",
    "MAX_LEASES",
    "MAX_RENEWED",
    "MAX_STEP",
    "MAX_TTL",
    "MIN_TTL",
    "NO_LEASE",
    "Expired",
    "LeaseInfo",
    "Leases",
    "LogClock",
    "check_id",
]

_SECOND: Final = 1_000_000_000
#: The most that one command can add to the log time, nanoseconds.
MAX_STEP: Final = _SECOND
#: What a lease has left at least when the leader has changed, nanoseconds.
GRACE: Final = 3 * _SECOND
#: A shorter ttl is raised to this, seconds: clients must be able to renew across an election.
MIN_TTL: Final = 2
#: The longest ttl, seconds (285 years, as in etcd). With it, deadlines fit into 64 bits.
MAX_TTL: Final = 9_000_000_000
#: The id that means "no lease" in a record.
NO_LEASE: Final = 0
MAX_ID: Final = (1 << 63) - 1
#: The most leases at one time, about 300 bytes each.
MAX_LEASES: Final = 1_000_000
#: The most ids in one ``renew``.
MAX_RENEWED: Final = 10_000
#: The most leases that one tick expires.
MAX_EXPIRED: Final = 1_000
#: A tick expires no further lease if the keys of all would be more; one lease always.
MAX_EXPIRED_KEYS: Final = 10_000
#: For how long ahead :attr:`Leases.due_at` is right, nanoseconds: the leader ticks as often.
HORIZON: Final = _SECOND // 2
#: Fewer stale entries than this are left in the queue of deadlines.
_SLACK: Final = 64


class Expired(NamedTuple):
    """A lease that a tick has removed, with the keys that were attached to it."""

    lease: int
    #: In ascending order.
    keys: list[bytes]


class LeaseInfo(NamedTuple):
    """A lease at the log time of the last command."""

    lease: int
    #: The granted ttl, seconds.
    ttl: int | float
    #: The log time left, seconds; not negative.
    remaining: int | float
    #: How many keys are attached.
    keys: int


class LogClock:
    """The log time, nanoseconds from 0. It never goes back."""

    __slots__ = ("now", "resumed", "stamp", "term")

    def __init__(self, now: int = 0, stamp: int = 0, term: int = 0, resumed: int = 0) -> None:
        self.now = now
        #: The leader's wall clock at the last command of :attr:`term`; 0 if unknown.
        self.stamp = stamp
        self.term = term
        #: The log time at which :attr:`term` began.
        self.resumed = resumed

    def advance(self, term: int, appended_at: int) -> None:
        """Take over a command's term and wall clock (nanoseconds; 0 if the leader sends none)."""
        if term != self.term:
            self.term, self.stamp, self.resumed = term, max(appended_at, 0), self.now
        elif appended_at > 0:
            if self.stamp:
                self.now += min(max(appended_at - self.stamp, 0), MAX_STEP)
            self.stamp = appended_at


class _Lease:
    __slots__ = ("deadline", "keys", "queued", "ttl")

    def __init__(self, ttl: int, deadline: int) -> None:
        #: Nanoseconds.
        self.ttl = ttl
        #: Log time; see :meth:`Leases._deadline` for what a change of the leader adds.
        self.deadline = deadline
        #: The key under which the lease is in the queue: at most its deadline.
        self.queued = deadline
        self.keys: set[bytes] | None = None


class Leases:
    """All leases. Owned by the applier thread; any thread may read :attr:`due_at`.

    A method that raises has changed nothing. ``context`` is that of the command that is applied.
    """

    def __init__(self) -> None:
        self.clock = LogClock()
        self._leases: dict[int, _Lease] = {}
        #: A heap of (log time, id) with one entry of each lease, and stale entries that
        #: :meth:`_first` drops. It follows from the leases and is not part of the state.
        self._queue: list[tuple[int, int]] = []
        #: When the first lease is due on the leader's wall clock, nanoseconds since the epoch;
        #: ``None`` without leases. More than :data:`HORIZON` after the last command it may be
        #: earlier than that. Only the leader of the term of the last command may rely on it.
        self.due_at: int | None = None

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, lease: int) -> bool:
        return lease in self._leases

    def __iter__(self) -> Iterator[int]:
        """Iterate over the ids in the order of their grants. No command may run meanwhile."""
        return iter(self._leases)

    # -- commands --------------------------------------------------------------------------------

    def grant(self, context: CommandContext, lease: Any, ttl: Any) -> int | float:
        """Make a lease; return its ttl, seconds: what was asked for, or :data:`MIN_TTL` if less.

        :param lease: an id of 1 to :data:`MAX_ID`, drawn by the proposer.
        :param ttl: seconds, an int or a float above 0, :data:`MAX_TTL` at most.

        :raises InvalidArgument: one of them is something else, or there are too many leases.
        :raises LeaseExists: the id is in use.
        """
        check_id(lease)
        duration = max(_duration(ttl), MIN_TTL * _SECOND)
        if lease in self._leases:
            raise LeaseExists(f"the lease {lease} exists already; draw another id", lease=lease)
        if len(self._leases) >= MAX_LEASES:
            raise InvalidArgument(
                f"there are {len(self._leases):,} leases, the most that the store keeps; "
                "revoke some, or attach several keys to one lease",
                leases=len(self._leases),
            )
        self._advance(context)
        self._add(lease, _Lease(duration, self.clock.now + duration))
        self._publish()
        return _seconds(duration)

    def renew(self, context: CommandContext, leases: Any) -> list[int | float]:
        """Give each lease its whole ttl again; return the ttls, 0 for a lease that does not exist.

        :param leases: a list of ids, :data:`MAX_RENEWED` at most.

        :raises InvalidArgument: it is something else.
        """
        if not isinstance(leases, list) or len(leases) > MAX_RENEWED:
            given = f"{len(leases):,}" if isinstance(leases, list) else shown(leases)
            raise InvalidArgument(f"renew takes a list of up to {MAX_RENEWED:,} ids, not {given}")
        for lease in leases:
            check_id(lease)
        self._advance(context)
        answers: list[int | float] = []
        for lease in leases:
            found = self._leases.get(lease)
            if found is not None:
                found.deadline = self.clock.now + found.ttl
            answers.append(0 if found is None else _seconds(found.ttl))
        self._publish()
        return answers

    def revoke(self, context: CommandContext, lease: Any) -> list[bytes]:
        """Remove a lease; return its keys in ascending order, which the caller deletes.

        :raises InvalidArgument: it is not an id.
        :raises LeaseNotFound: there is no such lease.
        """
        self.check(lease)
        self._advance(context)
        keys = self._remove(lease)
        self._publish()
        return keys

    def tick(self, context: CommandContext, term: Any) -> list[Expired]:
        """Advance the log time and remove the leases that are due, in the order of their deadlines.

        The caller deletes the keys of each. At most :data:`MAX_EXPIRED` leases go at once.

        :param term: the term in which the proposer leads. If the command was appended in another
            term, nothing changes: its proposer did not lead any more.

        :raises InvalidArgument: it is not an int.
        """
        if type(term) is not int:
            raise InvalidArgument(f"tick takes a term, not {shown(term)}")
        if term != context.term:
            return []
        self._advance(context)
        expired: list[Expired] = []
        count = 0
        while len(expired) < MAX_EXPIRED:
            first = self._first(self.clock.now)
            if first is None or first[0] > self.clock.now:
                break
            count += len(self._leases[first[1]].keys or ())
            if expired and count > MAX_EXPIRED_KEYS:
                break
            expired.append(Expired(first[1], self._remove(first[1])))
        self._publish()
        return expired

    # -- keys ------------------------------------------------------------------------------------

    def check(self, lease: Any) -> None:
        """Raise unless a key can be attached to the lease.

        :raises InvalidArgument: it is not an id.
        :raises LeaseNotFound: there is no such lease.
        """
        check_id(lease)
        if lease not in self._leases:
            raise LeaseNotFound(
                f"there is no lease {lease}; it has expired, was revoked or never granted",
                lease=lease,
            )

    def attach(self, lease: int, key: bytes) -> None:
        """Attach a key, which goes when the lease ends. Again does nothing.

        A key has one lease: detach it from the one before.

        :raises LeaseNotFound: there is no such lease.
        """
        found = self._leases.get(lease)
        if found is None:
            self.check(lease)
            return
        if found.keys is None:
            found.keys = {key}
        else:
            found.keys.add(key)

    def detach(self, lease: int, key: bytes) -> None:
        """Detach a key that was deleted or has another lease now.

        Does nothing if the key is not attached or the lease is gone (or :data:`NO_LEASE`).
        """
        found = self._leases.get(lease)
        if found is not None and found.keys is not None:
            found.keys.discard(key)

    # -- queries ---------------------------------------------------------------------------------

    def info(self, lease: Any) -> LeaseInfo | None:
        """Return what is known of a lease; ``None`` if it does not exist.

        :raises InvalidArgument: it is not an id.
        """
        check_id(lease)
        found = self._leases.get(lease)
        if found is None:
            return None
        left = max(self._deadline(found) - self.clock.now, 0)
        return LeaseInfo(lease, _seconds(found.ttl), _seconds(left), len(found.keys or ()))

    def keys(self, lease: int) -> list[bytes]:
        """Return the keys of a lease in ascending order; none if it does not exist."""
        found = self._leases.get(lease)
        return [] if found is None else sorted(found.keys or ())

    def ids(self, after: int = 0, limit: int = 10_000) -> list[int]:
        """Return the ids above ``after`` in ascending order, ``limit`` at most."""
        return heapq.nsmallest(limit, (lease for lease in self._leases if lease > after))

    # -- snapshots -------------------------------------------------------------------------------

    def head(self) -> list[int]:
        """Return the log time as plain values, for :meth:`restore`."""
        clock = self.clock
        return [clock.now, clock.stamp, clock.term, clock.resumed]

    def rows(self) -> list[tuple[int, int, int]]:
        """Capture all leases now for :meth:`restore`: id, ttl and deadline.

        They are in the order of their grants, which a restore keeps. Keys are not in it: the
        records name their lease. The list is the caller's, so another thread may encode it.
        """
        return [(key, each.ttl, each.deadline) for key, each in self._leases.items()]

    def restore(self, head: Any, rows: Iterable[Any]) -> None:
        """Replace all by what :meth:`head` and :meth:`rows` returned; no lease has keys then.

        The caller attaches the keys of its records.

        :raises DecodeError: they are something else. The leases are then empty.
        """
        Leases.__init__(self)
        try:
            clock, leases = _clock(head), _table(rows)
        except (TypeError, ValueError, BraftError) as error:
            raise DecodeError(f"not the leases of a store: {error}") from error
        self.clock = clock
        for lease, found in leases.items():
            self._add(lease, found)
        self._publish()

    # -- the queue of deadlines ------------------------------------------------------------------

    def _advance(self, context: CommandContext) -> None:
        self.clock.advance(context.term, context.appended_at)

    def _deadline(self, lease: _Lease) -> int:
        # Computed and not stored, so that a change of the leader costs the same with any number.
        # A lease that was renewed since has more left than that anyway.
        return max(lease.deadline, self.clock.resumed + min(lease.ttl, GRACE))

    def _add(self, lease: int, found: _Lease) -> None:
        self._leases[lease] = found
        heapq.heappush(self._queue, (found.queued, lease))

    def _remove(self, lease: int) -> list[bytes]:
        keys = sorted(self._leases.pop(lease).keys or ())
        if len(self._queue) > 2 * len(self._leases) + _SLACK:
            self._queue = [(each.queued, key) for key, each in self._leases.items()]
            heapq.heapify(self._queue)
        return keys

    def _first(self, horizon: int) -> tuple[int, int] | None:
        """Return deadline and id of the lease that is due first; ``None`` without leases.

        If that is after ``horizon``, return any log time between the two.

        An entry of the queue has a log time that is not above the lease's deadline, since deadlines
        only grow. So an entry that comes out first and is right is the first of all. The answer up
        to the horizon depends on the leases alone, not on how stale the queue is.
        """
        while self._queue:
            queued, lease = self._queue[0]
            found = self._leases.get(lease)
            if found is None or found.queued != queued:
                heapq.heappop(self._queue)  # of a lease that was removed; perhaps granted again
                continue
            deadline = self._deadline(found)
            if deadline == queued or queued > horizon:
                return queued, lease
            found.queued = deadline
            heapq.heapreplace(self._queue, (deadline, lease))
        return None

    def _publish(self) -> None:
        # A change of the leader moves many deadlines. Their entries are put right bit by bit.
        first = self._first(self.clock.now + HORIZON)
        if first is None:
            self.due_at = None
        else:
            self.due_at = self.clock.stamp + max(first[0] - self.clock.now, 0)


def check_id(lease: Any) -> None:
    """Check that a value is the id of a lease. :raises InvalidArgument: it is not."""
    if type(lease) is not int or not NO_LEASE < lease <= MAX_ID:
        raise InvalidArgument(f"the id of a lease is an int of 1 to {MAX_ID}, not {shown(lease)}")


def _duration(ttl: Any) -> int:
    """Return a ttl in nanoseconds. :raises InvalidArgument: it is not one."""
    if type(ttl) in (int, float) and 0 < ttl <= MAX_TTL:  # NaN is not above 0
        duration: int = math.ceil(ttl * _SECOND)
        return duration
    raise InvalidArgument(
        f"the ttl of a lease is a number of seconds above 0 and up to {MAX_TTL:,}, not {shown(ttl)}"
    )


def _seconds(duration: int) -> int | float:
    return duration / _SECOND if duration % _SECOND else duration // _SECOND


def _clock(head: Any) -> LogClock:
    now, stamp, term, resumed = map(_natural, head)
    if resumed > now:
        raise ValueError(f"the term began at {resumed}, after {now}")
    return LogClock(now, stamp, term, resumed)


def _table(rows: Iterable[Any]) -> dict[int, _Lease]:
    leases: dict[int, _Lease] = {}
    for lease, found in map(_row, rows):
        if lease in leases:
            raise ValueError(f"the lease {lease} occurs twice")
        leases[lease] = found
    return leases


def _row(row: Sequence[Any]) -> tuple[int, _Lease]:
    lease, ttl, deadline = row
    check_id(lease)
    if not MIN_TTL * _SECOND <= _natural(ttl) <= MAX_TTL * _SECOND:
        raise ValueError(f"the ttl of lease {lease} is {ttl} ns")
    return lease, _Lease(ttl, _natural(deadline))


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.80} is not a number of nanoseconds or a term")
    return value
