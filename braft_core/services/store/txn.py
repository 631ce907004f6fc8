"""Transactions: compare, then or else, nested; all errors first, then the writes.

Owns the arguments of ``put``, ``delete`` and ``txn``, what makes them wrong, and the two passes:
the first reads and finds every error, the second writes and cannot fail. So a refused command
changes nothing.
"""

from __future__ import annotations

import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from braft_core.errors import (
    AnswerTooLarge,
    DuplicateKey,
    InvalidArgument,
    KeyNotFound,
    NoSpace,
    TooManyOps,
)
from braft_core.services.store.keyspace import Keyspace
from braft_core.services.store.limits import (
    ALL,
    COUNT_ONLY,
    IGNORE_LEASE,
    IGNORE_VALUE,
    MAX_ANSWER_RECORDS,
    MAX_OPS,
    PREVIOUS,
    check_key,
    check_number,
    check_range,
    check_value,
    shown,
)
from braft_core.services.store.ranges import RangeOp, read_range
from braft_core.services.store.records import (
    CREATE,
    LEASE,
    MOD,
    OVERHEAD,
    VALUE,
    VERSION,
)

__all__ = ["DeleteOp", "Outcome", "Plan", "PutOp", "TxnOp"]

_RANGE, _PUT, _DELETE, _TXN = range(4)
#: Compare targets and results, as etcd numbers them.
_TARGETS: Final = (VERSION, CREATE, MOD, VALUE, LEASE)
_RESULTS: Final[tuple[Callable[[Any, Any], bool], ...]] = (
    operator.eq,
    operator.gt,
    operator.lt,
    operator.ne,
)


class PutOp(NamedTuple):
    """Arguments of ``put``."""

    key: bytes
    value: bytes
    lease: int = 0
    flags: int = 0

    @staticmethod
    def read(args: Any) -> PutOp:
        """Check arguments from outside. :raises InvalidArgument: one is not accepted."""
        try:
            given = PutOp(*args)
        except TypeError as error:
            raise InvalidArgument(
                f"a put has a key, value, lease and flags, not {shown(args)}"
            ) from error
        key, value, lease, flags = given
        check_key(key)
        check_value(key, value)
        check_number("the lease of a put", lease)
        check_number("the flags of a put", flags, PREVIOUS | IGNORE_VALUE | IGNORE_LEASE)
        if flags & IGNORE_VALUE and value:
            raise InvalidArgument(
                f"the put of key {shown(key)} keeps the value and has one; accepted: b''"
            )
        if flags & IGNORE_LEASE and lease:
            raise InvalidArgument(
                f"the put of key {shown(key)} keeps the lease and has one; accepted: 0"
            )
        return given


class DeleteOp(NamedTuple):
    """Arguments of ``delete``."""

    key: bytes
    end: bytes = b""
    flags: int = 0

    @staticmethod
    def read(args: Any) -> DeleteOp:
        """Check arguments from outside. :raises InvalidArgument: one is not accepted."""
        try:
            given = DeleteOp(*args)
        except TypeError as error:
            raise InvalidArgument(
                f"a delete has a key, end and flags, not {shown(args)}"
            ) from error
        check_range(given.key, given.end)
        check_number("the flags of a delete", given.flags, PREVIOUS)
        return given


class _Compare(NamedTuple):
    target: int
    result: int
    key: bytes
    end: bytes
    value: Any

    @staticmethod
    def read(args: Any) -> _Compare:
        match args:
            case [int(target), int(result), key, end, value] if 0 <= target < len(
                _TARGETS
            ) and 0 <= result < len(_RESULTS):
                check_range(key, end)
                if _TARGETS[target] == VALUE:
                    check_value(key, value)
                elif type(value) is not int:
                    raise InvalidArgument(
                        f"the operand of a compare of key {shown(key)} is {shown(value)}; "
                        "accepted: a number"
                    )
                return _Compare(_TARGETS[target], result, key, end, value)
        raise InvalidArgument(
            f"a compare is {shown(args)}; accepted: a target of 0 (version), 1 (create), 2 (mod), "
            "3 (value), 4 (lease), a result of 0 (equal), 1 (greater), 2 (less), 3 (not equal), "
            "a key, an end and a value"
        )

    def holds(self, keyspace: Keyspace) -> bool:
        """Return whether it holds for every key of its range.

        Without keys it holds as for one whose numbers are all 0 and whose value equals nothing.
        """
        compare, wanted, target = _RESULTS[self.result], self.value, self.target
        if not self.end:
            found = keyspace.index.newest(self.key)
            if found is not None:
                return compare(found[target], wanted)
            return target != VALUE and compare(0, wanted)
        empty = True
        for record in keyspace.records(self.key, self.end, 0):
            if not compare(record[target], wanted):
                return False
            empty = False
        return not empty or (target != VALUE and compare(0, wanted))


class TxnOp(NamedTuple):
    """Arguments of ``txn``."""

    compares: tuple[_Compare, ...]
    then: tuple[Op, ...]
    otherwise: tuple[Op, ...]

    @staticmethod
    def read(args: Any) -> TxnOp:
        """Check arguments from outside, those of both branches.

        :raises InvalidArgument: one is not accepted.
        :raises TooManyOps: a branch has more than :data:`MAX_OPS` operations.
        :raises DuplicateKey: a branch writes a key twice.
        """
        txn = _read_txn(args)
        for count in (len(txn.compares), _count(txn.then), _count(txn.otherwise)):
            if count > MAX_OPS:
                raise TooManyOps(
                    f"a transaction has {count} compares or operations in one branch, nested ones "
                    f"included; accepted: {MAX_OPS}",
                    count=count,
                    limit=MAX_OPS,
                )
        for ops in (txn.then, txn.otherwise):
            if len(ops) > 1 or (ops and isinstance(ops[0], TxnOp)):
                _check_written(ops)
        return txn


Op: TypeAlias = RangeOp | PutOp | DeleteOp | TxnOp


def _read_txn(args: Any) -> TxnOp:
    match args:
        case [list(compares), list(then), list(otherwise)]:
            return TxnOp(
                tuple(map(_Compare.read, compares)),
                tuple(map(_read_op, then)),
                tuple(map(_read_op, otherwise)),
            )
    raise InvalidArgument(
        f"a transaction is {shown(args)}; accepted: a list of compares, a list of operations if "
        "they hold, and one if not"
    )


def _read_op(op: Any) -> Op:
    match op:
        case [0, *args]:
            return RangeOp.read(args)
        case [1, *args]:
            return PutOp.read(args)
        case [2, *args]:
            return DeleteOp.read(args)
        case [3, args]:
            return _read_txn(args)
    raise InvalidArgument(
        f"an operation is {shown(op)}; accepted: [0, ...] range, [1, ...] put, [2, ...] delete, "
        "[3, transaction]"
    )


def _count(ops: Iterable[Op]) -> int:
    return sum(
        1 + len(op.compares) + _count(op.then) + _count(op.otherwise)
        if isinstance(op, TxnOp)
        else 1
        for op in ops
    )


# -- keys that are written twice ---------------------------------------------------------------


class _Written(NamedTuple):
    """What operations write: keys that are put, and ranges that are deleted."""

    puts: frozenset[bytes]
    ranges: tuple[tuple[bytes, bytes], ...]


def _check_written(ops: Sequence[Op]) -> _Written:
    """Return what a branch writes. :raises DuplicateKey: it puts a key twice, or also deletes it.

    Ranges that are deleted may overlap, and the two branches of a nested transaction exclude each
    other.
    """
    parts = [part for part in map(_written, ops) if part.puts or part.ranges]
    seen: set[bytes] = set()
    for part in parts:
        for key in sorted(part.puts & seen):
            raise _duplicate(key, "put twice")
        seen |= part.puts
    for number, part in enumerate(parts):
        others = [each for at, other in enumerate(parts) if at != number for each in other.ranges]
        for key in _within(sorted(part.puts), others):
            raise _duplicate(key, "put and deleted")
    return _Written(frozenset(seen), tuple(each for part in parts for each in part.ranges))


def _written(op: Op) -> _Written:
    if isinstance(op, PutOp):
        return _Written(frozenset((op.key,)), ())
    if isinstance(op, DeleteOp):
        return _Written(frozenset(), ((op.key, op.end),))
    if isinstance(op, TxnOp):
        then, otherwise = _check_written(op.then), _check_written(op.otherwise)
        return _Written(then.puts | otherwise.puts, then.ranges + otherwise.ranges)
    return _Written(frozenset(), ())


def _within(keys: Sequence[bytes], ranges: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Return the first of the keys, which are sorted, that is in one of the ranges, or none."""
    for begin, end in ranges:
        low = bisect_left(keys, begin)
        if not end:
            high = bisect_right(keys, begin)
        else:
            high = len(keys) if end == ALL else bisect_left(keys, end)
        if low < high:
            return [keys[low]]
    return []


def _duplicate(key: bytes, how: str) -> DuplicateKey:
    return DuplicateKey(
        f"key {shown(key)} is {how} in one transaction; accepted: each key once", key=shown(key)
    )


# -- the two passes ----------------------------------------------------------------------------


class Plan:
    """The first pass: finds every error of operations, and which branches they take.

    :raises Rejected: as it is made. Nothing was changed then, and otherwise nothing can fail.
    """

    def __init__(self, keyspace: Keyspace, ops: Sequence[Op], is_full: bool = False) -> None:
        """Check operations against the state.

        :param is_full: whether nothing more may be stored, whatever the quota.
        """
        self._keyspace = keyspace
        self._is_full = is_full
        #: The branch of each transaction, in the order in which they are reached.
        self.branches: list[bool] = []
        self._added = 0
        self._puts = False
        self._answered = 0
        self._plan(ops)
        if self._puts:
            self._check_space()
        if self._answered > MAX_ANSWER_RECORDS:
            raise AnswerTooLarge(
                f"the answer would have {self._answered:,} records; accepted in one command: "
                f"{MAX_ANSWER_RECORDS:,}. Read with range, or use a limit",
                count=self._answered,
                limit=MAX_ANSWER_RECORDS,
            )

    def _plan(self, ops: Iterable[Op]) -> None:
        for op in ops:
            if isinstance(op, PutOp):
                self._plan_put(op)
            elif isinstance(op, RangeOp):
                self._plan_range(op)
            elif isinstance(op, DeleteOp):
                if op.flags & PREVIOUS:
                    self._answered += self._keyspace.count(op.key, op.end, 0)
            else:
                # All compares see the state before the whole transaction.
                taken = all(compare.holds(self._keyspace) for compare in op.compares)
                self.branches.append(taken)
                self._plan(op.then if taken else op.otherwise)

    def _plan_put(self, op: PutOp) -> None:
        keyspace = self._keyspace
        if op.lease:
            keyspace.leases.check(op.lease)
        size = len(op.value)
        if op.flags & (IGNORE_VALUE | IGNORE_LEASE):
            old = keyspace.index.newest(op.key)
            if old is None:
                raise KeyNotFound(
                    f"there is no key {shown(op.key)}, whose value or lease the put would keep",
                    key=shown(op.key),
                )
            if op.flags & IGNORE_VALUE:
                size = len(old[VALUE] or b"")
        self._puts = True
        self._added += OVERHEAD + len(op.key) + size

    def _plan_range(self, op: RangeOp) -> None:
        self._keyspace.check_revision(op.revision)
        if not op.flags & COUNT_ONLY:
            count = self._keyspace.count(op.key, op.end, op.revision)
            self._answered += min(count, op.limit) if op.limit else count

    def _check_space(self) -> None:
        keyspace = self._keyspace
        if self._is_full:
            raise NoSpace(
                "the alarm NOSPACE is raised: keys can be deleted and the history compacted, and "
                "nothing written until the alarm is taken back",
                size=keyspace.size,
                limit=keyspace.quota,
            )
        if keyspace.size + self._added > keyspace.quota:
            raise NoSpace(
                f"the store has {keyspace.size:,} bytes, and {self._added:,} more exceed its "
                f"quota of {keyspace.quota:,}: delete keys, compact the history, or raise "
                "BRAFT_STORE_MAX_BYTES",
                size=keyspace.size,
                added=self._added,
                limit=keyspace.quota,
            )


class Outcome:
    """The second pass: does what was planned, in one revision, and has the answers."""

    def __init__(self, keyspace: Keyspace, ops: Sequence[Op], plan: Plan) -> None:
        self._keyspace = keyspace
        self._branches = iter(plan.branches)
        self._mod = keyspace.revision + 1
        self._records = 0
        self.answers = self._run(ops)
        keyspace.tidy(self._records)

    def _run(self, ops: Iterable[Op]) -> list[Any]:
        return [self._do(op) for op in ops]

    def _do(self, op: Op) -> list[Any]:
        """Return the answer to one operation; it names the new revision after the first write."""
        keyspace = self._keyspace
        if isinstance(op, PutOp):
            key, value, lease, flags = op
            previous = keyspace.put(
                key,
                None if flags & IGNORE_VALUE else value,
                None if flags & IGNORE_LEASE else lease,
                self._mod,
                self._records,
            )
            self._records += 1
            return [self._mod, previous if flags & PREVIOUS else None]
        if isinstance(op, RangeOp):
            return [keyspace.revision, *read_range(keyspace, op)]
        if isinstance(op, DeleteOp):
            deleted = keyspace.delete(op.key, op.end, self._mod, self._records)
            self._records += len(deleted)
            return [keyspace.revision, len(deleted), deleted if op.flags & PREVIOUS else []]
        taken = next(self._branches)
        answers = self._run(op.then if taken else op.otherwise)
        return [keyspace.revision, taken, answers]
