"""``range``: which records of a range are shown, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from braft_core.errors import InvalidArgument
from braft_core.services.store.limits import (
    COUNT_ONLY,
    KEYS_ONLY,
    MAX_NUMBER,
    check_number,
    check_range,
    shown,
)
from braft_core.services.store.records import (
    CREATE,
    KEY,
    LEASE,
    MOD,
    SUB,
    VALUE,
    VERSION,
    Record,
    record_bytes,
)

if TYPE_CHECKING:
    from braft_core.services.store.keyspace import Keyspace

__all__ = ["RangeOp", "read_range"]

#: Sort targets, as etcd numbers them.
_TARGETS: Final = (KEY, VERSION, CREATE, MOD, VALUE)
#: Sort orders: none, ascending, descending.
_NONE, _DESCENDING = 0, 2
_ORDERS: Final = 3


class RangeOp(NamedTuple):
    """Arguments of ``range``, as the log and queries have them."""

    key: bytes
    #: See :func:`~braft_core.services.store.limits.check_range`.
    end: bytes = b""
    #: The most records; 0 for no limit.
    limit: int = 0
    #: 0 for the newest.
    revision: int = 0
    #: ``[target, order]``: target 0 key, 1 version, 2 create, 3 mod, 4 value; order 0 none (which
    #: is ascending for every target but the key), 1 ascending, 2 descending.
    sort: tuple[int, int] | None = None
    #: ``[min mod, max mod, min create, max create]`` revisions, both included; 0 for no bound.
    filters: tuple[int, int, int, int] | None = None
    flags: int = 0
    #: Bytes of records after which the answer ends early; 0 for no limit. Not with ``sort``.
    size: int = 0

    @staticmethod
    def read(args: Any) -> RangeOp:
        """Check arguments from outside. :raises InvalidArgument: one is not accepted."""
        try:
            given = RangeOp(*args)
        except TypeError as error:
            raise InvalidArgument(
                f"a range has a key, end, limit, revision, sort, filters, flags and size, not "
                f"{shown(args)}"
            ) from error
        check_range(given.key, given.end)
        check_number("the limit of a range", given.limit)
        check_number("the revision of a range", given.revision)
        check_number("the flags of a range", given.flags, KEYS_ONLY | COUNT_ONLY)
        check_number("the size of a range", given.size)
        if given.sort is None and given.filters is None:
            return given
        return given._replace(sort=_sort(given.sort), filters=_filters(given.filters))


def _sort(sort: Any) -> tuple[int, int] | None:
    match sort:
        case None:
            return None
        case [int(target), int(order)] if 0 <= target < len(_TARGETS) and 0 <= order < _ORDERS:
            column = _TARGETS[target]
            if column == KEY and order != _DESCENDING:
                return None
            return column, order
    raise InvalidArgument(
        f"the sort of a range is {shown(sort)}; accepted: none, or a target of 0 (key), "
        "1 (version), 2 (create), 3 (mod), 4 (value) and an order of 0 (none), 1 (ascending), "
        "2 (descending)"
    )


def _filters(filters: Any) -> tuple[int, int, int, int] | None:
    if filters is None:
        return None
    if not isinstance(filters, list | tuple) or len(filters) != 4:
        raise InvalidArgument(
            f"the filters of a range are {shown(filters)}; accepted: none, or the least and most "
            "mod revision and the least and most create revision, 0 for no bound"
        )
    for number in filters:
        check_number("a filter of a range", number)
    least_mod, most_mod, least_create, most_create = filters
    if not any(filters):
        return None
    return least_mod, most_mod or MAX_NUMBER, least_create, most_create or MAX_NUMBER


def read_range(keyspace: Keyspace, given: RangeOp) -> tuple[int, bool, list[Record]]:
    """Return the number of keys in the range, whether there are more records, and records.

    The number counts all keys of the range at the revision, whatever the limit and the filters.

    :param given: with a revision that can be read.
    """
    count = keyspace.count(given.key, given.end, given.revision)
    if given.flags & COUNT_ONLY or not count:
        return count, False, []
    found = keyspace.records(given.key, given.end, given.revision)
    if given.filters is not None:
        found = _filtered(found, given.filters)
    if given.sort is not None:
        column, order = given.sort
        found = iter(sorted(found, key=itemgetter(column), reverse=order == _DESCENDING))
    records, more = _limited(found, given.limit, given.size)
    if given.flags & KEYS_ONLY:
        records = [_without_value(record) for record in records]
    return count, more, records


def _filtered(records: Iterator[Record], filters: tuple[int, int, int, int]) -> Iterator[Record]:
    least_mod, most_mod, least_create, most_create = filters
    return (
        record
        for record in records
        if least_mod <= record[MOD] <= most_mod and least_create <= record[CREATE] <= most_create
    )


def _limited(found: Iterator[Record], limit: int, size: int) -> tuple[list[Record], bool]:
    if not size:
        records = list(islice(found, limit) if limit else found)
    else:
        records, room = [], size
        for record in islice(found, limit) if limit else found:
            records.append(record)
            room -= record_bytes(record)
            if room <= 0:
                break
    return records, next(found, None) is not None


def _without_value(record: Record) -> Record:
    return (
        record[KEY], b"", record[CREATE], record[MOD], record[SUB], record[VERSION], record[LEASE]
    )  # fmt: skip
