"""``node.store``: the service ``store`` as Python calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from braft_core.cluster_types import Consistency
from braft_core.errors import InvalidArgument
from braft_core.store.caller import StoreCaller
from braft_core.store.conditions import Condition
from braft_core.store.entries import Entry, entry_of
from braft_core.store.fencing import Held
from braft_core.store.keys import Bytes, as_bytes, as_range
from braft_core.store.leases import Leases
from braft_core.store.operations import Delete, HasId, Operation, Put, Txn, TxnResult
from braft_core.store.scan import Scan
from braft_core.store.status import StoreStatus, status_of

__all__ = ["Store"]

#: Entries of a page of ``scan`` by default.
_PAGE = 500
#: Sort by the revision of creation: ascending, descending.
_OLDEST, _NEWEST = [2, 1], [2, 2]


class Store:
    """Keys and values of bytes with revisions. Thread-safe; text is encoded as UTF-8.

    Each change of the store makes one revision of the whole store. Reads may ask for an older one
    until the history is compacted.
    """

    def __init__(self, caller: StoreCaller, service: str = "store") -> None:
        self._caller = caller
        self._service = service
        #: Leases by their ids, which nothing renews.
        self.leases = Leases(caller, service)

    def put(
        self,
        key: Bytes,
        value: Bytes,
        *,
        lease: HasId | int | None = None,
        if_held: Held | None = None,
        timeout: float | None = None,
    ) -> int:
        """Write a key; return the new revision.

        :param lease: the lease with which the key goes; without one it stays, also if it had one.
        :param if_held: write only while this lock, seat or leadership is held, as the store sees
            it at that moment. Otherwise nothing is written, and the error of the loss is raised.
        :raises InvalidArgument: the key is empty, or an argument is neither bytes nor text.
        :raises LeaseNotFound: there is no such lease.
        :raises NoSpace: the store's quota would be exceeded.
        """
        put = Put(key, value, lease)
        if if_held is not None:
            return self.txn((), (put,), if_held=if_held, timeout=timeout).revision
        return put.read(self._execute("put", put.encode()[1:], timeout))

    async def aput(
        self,
        key: Bytes,
        value: Bytes,
        *,
        lease: HasId | int | None = None,
        if_held: Held | None = None,
        timeout: float | None = None,
    ) -> int:
        """Call :meth:`put` asynchronously."""
        put = Put(key, value, lease)
        if if_held is not None:
            return (await self.atxn((), (put,), if_held=if_held, timeout=timeout)).revision
        return put.read(await self._aexecute("put", put.encode()[1:], timeout))

    def get(
        self,
        key: Bytes,
        *,
        at: int | None = None,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Entry | None:
        """Return a key's entry, ``None`` if it does not exist.

        :param at: a revision, the newest by default.
        :raises Compacted: that revision cannot be read any more.
        :raises FutureRevision: there is no such revision yet.
        """
        answer = self._caller.query(
            self._service, "range", *_one(key, at), consistency=consistency, timeout=timeout
        )
        return _first(answer)

    async def aget(
        self,
        key: Bytes,
        *,
        at: int | None = None,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Entry | None:
        """Call :meth:`get` asynchronously."""
        answer = await self._caller.aquery(
            self._service, "range", *_one(key, at), consistency=consistency, timeout=timeout
        )
        return _first(answer)

    def scan(
        self,
        prefix: Bytes | None = None,
        *,
        start: Bytes | None = None,
        end: Bytes | None = None,
        at: int | None = None,
        page: int = _PAGE,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Scan:
        """Iterate over entries in the order of keys, with ``for`` or ``async for``.

        They are those of a prefix, or from ``start`` to before ``end``; all by default. All pages
        show one revision.

        :param at: a revision, the newest by default.
        :param page: the most entries that are read at once; large values make a page smaller.
        :param timeout: seconds for each page.
        :raises Compacted: while iterating: the revision cannot be read any more.
        :raises FutureRevision: while iterating: there is no such revision yet.
        """
        if type(page) is not int or page < 1:
            raise InvalidArgument(f"page is {page!r:.80}; accepted: a number of entries from 1")
        span = as_range(prefix, start, end)
        return Scan(self._caller, self._service, span, at or 0, page, consistency, timeout)

    def count(
        self,
        prefix: Bytes | None = None,
        *,
        start: Bytes | None = None,
        end: Bytes | None = None,
        at: int | None = None,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> int:
        """Return how many keys there are, chosen as in :meth:`scan`. It takes the same for any."""
        answer = self._caller.query(
            self._service,
            "count",
            *as_range(prefix, start, end),
            at or 0,
            consistency=consistency,
            timeout=timeout,
        )
        count: int = answer[1]
        return count

    async def acount(
        self,
        prefix: Bytes | None = None,
        *,
        start: Bytes | None = None,
        end: Bytes | None = None,
        at: int | None = None,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> int:
        """Call :meth:`count` asynchronously."""
        answer = await self._caller.aquery(
            self._service,
            "count",
            *as_range(prefix, start, end),
            at or 0,
            consistency=consistency,
            timeout=timeout,
        )
        count: int = answer[1]
        return count

    def oldest(
        self, prefix: Bytes, limit: int = 1, *, timeout: float | None = None
    ) -> tuple[int, list[Entry]]:
        """Return the revision of the store, and the keys of a prefix that were made first.

        The one that was made first comes first.

        :raises UnknownCommand: there is no route for it: HTTP does not have it yet.
        """
        return _found(
            self._caller.query(*self._by_creation(prefix, _OLDEST, limit), timeout=timeout)
        )

    async def aoldest(
        self, prefix: Bytes, limit: int = 1, *, timeout: float | None = None
    ) -> tuple[int, list[Entry]]:
        """Call :meth:`oldest` asynchronously."""
        query = self._by_creation(prefix, _OLDEST, limit)
        return _found(await self._caller.aquery(*query, timeout=timeout))

    def newest(
        self, prefix: Bytes, limit: int = 1, *, until: int = 0, timeout: float | None = None
    ) -> tuple[int, list[Entry]]:
        """Return the revision of the store, and the keys of a prefix that were made last.

        The one that was made last comes first.

        :param until: leave out keys that were made after this revision.
        :raises UnknownCommand: there is no route for it: HTTP does not have it yet.
        """
        query = self._by_creation(prefix, _NEWEST, limit, until)
        return _found(self._caller.query(*query, timeout=timeout))

    async def anewest(
        self, prefix: Bytes, limit: int = 1, *, until: int = 0, timeout: float | None = None
    ) -> tuple[int, list[Entry]]:
        """Call :meth:`newest` asynchronously."""
        query = self._by_creation(prefix, _NEWEST, limit, until)
        return _found(await self._caller.aquery(*query, timeout=timeout))

    def _by_creation(
        self, prefix: Bytes, order: list[int], limit: int, until: int = 0
    ) -> tuple[Any, ...]:
        begin, end = as_range(prefix, None, None)
        return self._service, "range", begin, end, limit, 0, order, [0, 0, 0, until]

    def delete(
        self,
        key: Bytes | None = None,
        *,
        prefix: Bytes | None = None,
        start: Bytes | None = None,
        end: Bytes | None = None,
        if_held: Held | None = None,
        timeout: float | None = None,
    ) -> int:
        """Delete a key, or the keys of a range in one revision; return how many there were.

        :param if_held: as for :meth:`put`.
        :raises InvalidArgument: neither a key nor a range is given, or both.
        """
        delete = Delete(key, prefix, start, end)
        if if_held is not None:
            return _deleted(self.txn((), (delete,), if_held=if_held, timeout=timeout))
        return delete.read(self._execute("delete", delete.encode()[1:], timeout))

    async def adelete(
        self,
        key: Bytes | None = None,
        *,
        prefix: Bytes | None = None,
        start: Bytes | None = None,
        end: Bytes | None = None,
        if_held: Held | None = None,
        timeout: float | None = None,
    ) -> int:
        """Call :meth:`delete` asynchronously."""
        delete = Delete(key, prefix, start, end)
        if if_held is not None:
            return _deleted(await self.atxn((), (delete,), if_held=if_held, timeout=timeout))
        return delete.read(await self._aexecute("delete", delete.encode()[1:], timeout))

    def txn(
        self,
        when: Sequence[Condition] = (),
        then: Sequence[Operation] = (),
        otherwise: Sequence[Operation] = (),
        *,
        if_held: Held | None = None,
        timeout: float | None = None,
    ) -> TxnResult:
        """Do ``then`` if all conditions hold, else ``otherwise``, in one revision.

        An operation sees what those before it have done.

        :param if_held: as for :meth:`put`: if it is not held, neither branch is done. It is one
            operation more.
        :raises TooManyOps: a branch has more than 128 operations.
        :raises DuplicateKey: a branch writes a key twice.
        :raises LeaseNotFound, NoSpace: as :meth:`put`; nothing was done then.
        """
        txn = _fenced(Txn(when, then, otherwise), if_held)
        return _held(txn.read(self._execute("txn", txn.arguments(), timeout)), if_held)

    async def atxn(
        self,
        when: Sequence[Condition] = (),
        then: Sequence[Operation] = (),
        otherwise: Sequence[Operation] = (),
        *,
        if_held: Held | None = None,
        timeout: float | None = None,
    ) -> TxnResult:
        """Call :meth:`txn` asynchronously."""
        txn = _fenced(Txn(when, then, otherwise), if_held)
        return _held(txn.read(await self._aexecute("txn", txn.arguments(), timeout)), if_held)

    def compact(self, revision: int, *, timeout: float | None = None) -> int:
        """Forget what only revisions before this one show; return the revision.

        :raises Compacted: the store is compacted up to there already.
        :raises FutureRevision: there is no such revision yet.
        """
        compacted: int = self._execute("compact", [revision], timeout)
        return compacted

    async def acompact(self, revision: int, *, timeout: float | None = None) -> int:
        """Call :meth:`compact` asynchronously."""
        compacted: int = await self._aexecute("compact", [revision], timeout)
        return compacted

    def status(
        self, *, consistency: Consistency = "linearizable", timeout: float | None = None
    ) -> StoreStatus:
        """Return numbers of the whole store."""
        return status_of(
            self._caller.query(self._service, "status", consistency=consistency, timeout=timeout)
        )

    async def astatus(
        self, *, consistency: Consistency = "linearizable", timeout: float | None = None
    ) -> StoreStatus:
        """Call :meth:`status` asynchronously."""
        return status_of(
            await self._caller.aquery(
                self._service, "status", consistency=consistency, timeout=timeout
            )
        )

    def _execute(self, command: str, arguments: Sequence[Any], timeout: float | None) -> Any:
        return self._caller.execute(self._service, command, *arguments, timeout=timeout)

    async def _aexecute(self, command: str, arguments: Sequence[Any], timeout: float | None) -> Any:
        return await self._caller.aexecute(self._service, command, *arguments, timeout=timeout)


def _fenced(txn: Txn, held: Held | None) -> Txn:
    return txn if held is None else Txn((held.fence(),), (txn,))


def _held(result: TxnResult, held: Held | None) -> TxnResult:
    """Return the answer to a transaction. :raises BraftError: it was fenced off."""
    if held is None:
        return result
    if not result.succeeded:
        raise held.refused()
    return cast(TxnResult, result.answers[0])


def _deleted(result: TxnResult) -> int:
    return cast(int, result.answers[0])


def _one(key: Bytes, at: int | None) -> tuple[bytes, bytes, int, int]:
    return as_bytes("key", key), b"", 0, at or 0


def _found(answer: Any) -> tuple[int, list[Entry]]:
    return answer[0], [entry_of(record) for record in answer[3]]


def _first(answer: Any) -> Entry | None:
    records = answer[3]
    return entry_of(records[0]) if records else None
