"""``node.transaction(function)``: a function that reads and writes the store as one step.

Software transactional memory, optimistic: the function reads one revision of the store and gathers
its writes. They are written in one transaction if nothing that it has read was changed since then;
otherwise the function is called again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from braft_core.errors import Compacted, Conflict, InvalidArgument, InvalidRequest, TooManyOps
from braft_core.recipes.arguments import count_of
from braft_core.recipes.interface import RecipeStore
from braft_core.store import Condition, Delete, Entry, Held, Key, Operation, Put
from braft_core.store.keys import Bytes, as_bytes
from braft_core.store.operations import HasId

__all__ = ["Transaction", "atransact", "transact"]

_T = TypeVar("_T")
#: Conditions and writes of a transaction of the store, less what a fence needs.
_MOST: Final = 127


class Transaction:
    """One call of the function. It belongs to the thread or task of that call.

    All reads show one revision of the store, and the writes of this transaction. A key whose value
    matters must be read here, and not elsewhere: only then a change of it is noticed.
    """

    def __init__(self, store: RecipeStore, revision: int, timeout: float | None) -> None:
        self._store, self._timeout = store, timeout
        self._ended = False
        self._read: dict[bytes, Entry | None] = {}
        self._writes: dict[bytes, Operation] = {}
        #: The revision of the store that all reads show.
        self.revision = revision

    def __repr__(self) -> str:
        reads, writes = len(self._read), len(self._writes)
        return f"<Transaction at {self.revision}: {reads} reads, {writes} writes>"

    def get(self, key: Bytes) -> bytes | None:
        """Return the value of a key, ``None`` if it does not exist.

        :raises InvalidArgument: the key is neither bytes nor text.
        """
        name = self._check(key)
        if name not in self._writes and name not in self._read:
            found = self._store.get(name, at=self.revision, timeout=self._timeout)
            self._note(name, found)
        return self._value(name)

    async def aget(self, key: Bytes) -> bytes | None:
        """Call :meth:`get` asynchronously."""
        name = self._check(key)
        if name not in self._writes and name not in self._read:
            found = await self._store.aget(name, at=self.revision, timeout=self._timeout)
            self._note(name, found)
        return self._value(name)

    def put(self, key: Bytes, value: Bytes, *, lease: HasId | int | None = None) -> None:
        """Write a key at the end of the transaction."""
        name = self._check(key)
        self._write(name, Put(name, as_bytes("value", value), lease))

    def delete(self, key: Bytes) -> None:
        """Delete a key at the end of the transaction."""
        name = self._check(key)
        self._write(name, Delete(name))

    # -- for the two functions below -----------------------------------------------------------

    def end(self) -> tuple[list[Condition], list[Operation]]:
        """Take no more; return what must hold, and what is to be done then."""
        self._ended = True
        unchanged = [
            Key(name).revision == (0 if entry is None else entry.revision)
            for name, entry in self._read.items()
        ]
        return unchanged, list(self._writes.values())

    def _check(self, key: Bytes) -> bytes:
        if self._ended:
            raise InvalidRequest(f"{self!r} has ended; use it in its function only")
        name = as_bytes("key", key)
        if not name:
            raise InvalidArgument("the key is empty; accepted: one byte or more", key="")
        return name

    def _note(self, name: bytes, found: Entry | None) -> None:
        if len(self._read) >= _MOST:
            raise _too_many("reads")
        self._read[name] = found

    def _write(self, name: bytes, operation: Operation) -> None:
        if name not in self._writes and len(self._writes) >= _MOST:
            raise _too_many("writes")
        self._writes[name] = operation

    def _value(self, name: bytes) -> bytes | None:
        if name in self._writes:
            written = self._writes[name]
            return as_bytes("value", written.value) if isinstance(written, Put) else None
        entry = self._read[name]
        return None if entry is None else entry.value


def transact(
    store: RecipeStore,
    function: Callable[[Transaction], _T],
    *,
    attempts: int,
    if_held: Held | None,
    timeout: float | None,
) -> _T:
    """Call a function until its transaction is written; see :meth:`Node.transaction`."""
    for _ in range(count_of("attempts", attempts)):
        try:
            transaction = Transaction(store, store.status(timeout=timeout).revision, timeout)
            result = function(transaction)
            when, then = transaction.end()
            if not then:
                return result  # one revision was read, and nothing is written
            if store.txn(when, then, if_held=if_held, timeout=timeout):
                return result
        except Compacted:
            continue  # the function took very long
    raise _conflict(attempts)


async def atransact(
    store: RecipeStore,
    function: Callable[[Transaction], Awaitable[_T]],
    *,
    attempts: int,
    if_held: Held | None,
    timeout: float | None,
) -> _T:
    """Call :func:`transact` asynchronously, with an asynchronous function."""
    for _ in range(count_of("attempts", attempts)):
        try:
            status = await store.astatus(timeout=timeout)
            transaction = Transaction(store, status.revision, timeout)
            result = await function(transaction)
            when, then = transaction.end()
            if not then:
                return result  # one revision was read, and nothing is written
            if await store.atxn(when, then, if_held=if_held, timeout=timeout):
                return result
        except Compacted:
            continue  # the function took very long
    raise _conflict(attempts)


def _too_many(what: str) -> TooManyOps:
    return TooManyOps(
        f"a transaction has more than {_MOST} {what}; accepted: {_MOST}",
        count=_MOST + 1,
        limit=_MOST,
    )


def _conflict(attempts: int) -> Conflict:
    return Conflict(
        f"the transaction was not written: in each of {attempts} attempts a key that it had read "
        "was changed meanwhile",
        attempts=attempts,
    )
