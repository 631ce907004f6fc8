"""``store.scan``: the entries of a range, read in pages of one revision."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from braft_core.cluster_types import Consistency
from braft_core.pagination import MAX_PAGE_BYTES
from braft_core.store.caller import StoreCaller
from braft_core.store.entries import Entry, entry_of

__all__ = ["Scan"]


class _Page(NamedTuple):
    entries: list[Entry]
    #: Where the next page begins; ``None`` behind the last one.
    following: bytes | None


class Scan:
    """Entries in the order of their keys, for ``for`` and for ``async for``. Reads when iterated.

    All pages show the revision of the first one. Each iteration begins anew.

    :raises Compacted: while iterating: the history was compacted past that revision.
    """

    def __init__(
        self,
        caller: StoreCaller,
        service: str,
        span: tuple[bytes, bytes],
        revision: int,
        page: int,
        consistency: Consistency,
        timeout: float | None,
    ) -> None:
        self._caller, self._service = caller, service
        self._span, self._revision, self._page = span, revision, page
        self._options: dict[str, Any] = {"consistency": consistency, "timeout": timeout}

    def __iter__(self) -> Iterator[Entry]:
        revision, begin = self._revision, self._span[0]
        while True:
            answer = self._caller.query(
                self._service, "range", *self._arguments(begin, revision), **self._options
            )
            revision = revision or answer[0]
            page = _read(answer)
            yield from page.entries
            if page.following is None:
                return
            begin = page.following

    async def __aiter__(self) -> AsyncIterator[Entry]:
        revision, begin = self._revision, self._span[0]
        while True:
            answer = await self._caller.aquery(
                self._service, "range", *self._arguments(begin, revision), **self._options
            )
            revision = revision or answer[0]
            page = _read(answer)
            for entry in page.entries:
                yield entry
            if page.following is None:
                return
            begin = page.following

    def _arguments(self, begin: bytes, revision: int) -> tuple[Any, ...]:
        return begin, self._span[1], self._page, revision, None, None, 0, MAX_PAGE_BYTES


def _read(answer: Any) -> _Page:
    _, _, more, records = answer
    entries = [entry_of(record) for record in records]
    return _Page(entries, entries[-1].key + b"\0" if more else None)
