"""What a transaction does: ``Put``, ``Get``, ``Delete``, and a ``Txn`` within one."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from braft_core.store.conditions import Condition
from braft_core.store.entries import Entry, entry_of
from braft_core.store.keys import Bytes, as_bytes, as_span

__all__ = [
    "Answer",
    "Delete",
    "Get",
    "HasId",
    "Operation",
    "Put",
    "Txn",
    "TxnResult",
    "lease_id",
    "read_result",
]


class HasId(Protocol):
    """A lease, or anything else that has the id of one."""

    @property
    def id(self) -> int:
        """The id of the lease."""


def lease_id(lease: HasId | int | None) -> int:
    """Return the id of a lease, 0 for none."""
    if lease is None:
        return 0
    return lease if isinstance(lease, int) else lease.id


class Operation(abc.ABC):
    """One operation of a transaction. Immutable."""

    __slots__ = ()

    @abc.abstractmethod
    def encode(self) -> list[Any]:
        """Return the operation as the service takes it."""

    @abc.abstractmethod
    def read(self, answer: Any) -> Answer:
        """Return the service's answer as callers see it."""


@dataclass(frozen=True, slots=True)
class TxnResult:
    """What a transaction did. It is true if all its conditions held."""

    succeeded: bool
    #: The revision of the store after it.
    revision: int
    #: An answer for each operation that was done: of ``Put`` the new revision, of ``Delete`` the
    #: number of keys, of ``Get`` an :class:`Entry` or ``None``, or a list of entries for a range,
    #: of ``Txn`` a :class:`TxnResult`.
    answers: list[Answer]

    def __bool__(self) -> bool:
        return self.succeeded


Answer: TypeAlias = int | Entry | list[Entry] | TxnResult | None


@dataclass(frozen=True, slots=True)
class Put(Operation):
    """Write a key."""

    key: Bytes
    value: Bytes
    lease: HasId | int | None = None

    def encode(self) -> list[Any]:
        """Return the operation as the service takes it."""
        key, value = as_bytes("key", self.key), as_bytes("value", self.value)
        return [1, key, value, lease_id(self.lease), 0]

    def read(self, answer: Any) -> int:
        """Return the answer as callers see it: the new revision."""
        revision: int = answer[0]
        return revision


@dataclass(frozen=True, slots=True)
class Get(Operation):
    """Read a key, or the keys of a range in their order.

    :param limit: the most keys of a range; 0 for no limit.
    """

    key: Bytes | None = None
    prefix: Bytes | None = None
    start: Bytes | None = None
    end: Bytes | None = None
    limit: int = 0

    def encode(self) -> list[Any]:
        """Return the operation as the service takes it."""
        return [0, *as_span(self.key, self.prefix, self.start, self.end), self.limit]

    def read(self, answer: Any) -> Entry | list[Entry] | None:
        """Return the answer as callers see it: an entry or ``None``, a list for a range."""
        entries = [entry_of(record) for record in answer[3]]
        if self.key is None:
            return entries
        return entries[0] if entries else None


@dataclass(frozen=True, slots=True)
class Delete(Operation):
    """Delete a key, or the keys of a range."""

    key: Bytes | None = None
    prefix: Bytes | None = None
    start: Bytes | None = None
    end: Bytes | None = None

    def encode(self) -> list[Any]:
        """Return the operation as the service takes it."""
        return [2, *as_span(self.key, self.prefix, self.start, self.end), 0]

    def read(self, answer: Any) -> int:
        """Return the answer as callers see it: the number of deleted keys."""
        count: int = answer[1]
        return count


@dataclass(frozen=True, slots=True)
class Txn(Operation):
    """A transaction within a transaction. Its conditions see the state before the whole one."""

    when: Sequence[Condition] = ()
    then: Sequence[Operation] = ()
    otherwise: Sequence[Operation] = ()

    def encode(self) -> list[Any]:
        """Return the operation as the service takes it."""
        return [3, self.arguments()]

    def arguments(self) -> list[list[Any]]:
        """Return the arguments of the command ``txn``."""
        return [
            [condition.encode() for condition in self.when],
            [operation.encode() for operation in self.then],
            [operation.encode() for operation in self.otherwise],
        ]

    def read(self, answer: Any) -> TxnResult:
        """Return the answer as callers see it."""
        return read_result(self, answer)


def read_result(txn: Txn, answer: Any) -> TxnResult:
    """Return the answer to a transaction."""
    revision, succeeded, answers = answer
    done = txn.then if succeeded else txn.otherwise
    read = [op.read(each) for op, each in zip(done, answers, strict=True)]
    return TxnResult(succeeded, revision, read)
