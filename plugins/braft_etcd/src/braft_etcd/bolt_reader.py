"""Reads files in the format of bbolt, etcd's database, and trusts nothing in them.

Everything that the reader uses is checked first: places, sizes, the order of keys. Each page may
be reached once and the items of a page must not overlap, so a file cannot make the reader return
more bytes than it has, or go in circles. Memory holds the page that is read, those whose turn comes
later, and a byte for each page of the file. Nothing here knows etcd.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from braft_core.errors import DecodeError
from braft_etcd.bolt_format import (
    BRANCH,
    BRANCH_ELEMENT,
    BUCKET,
    IS_BUCKET,
    LEAF,
    LEAF_ELEMENT,
    MAGIC,
    META,
    META_BODY,
    PAGE,
    VERSION,
    checksum,
)

__all__ = ["MAX_PAGE", "Database"]

#: Pages have the size of the pages of memory where the file was written.
_SIZES: Final = tuple(1 << power for power in range(9, 17))
_META_SIZE: Final = PAGE.size + META_BODY.size + 8
#: The largest page with those that follow it, bytes: it is read at once. etcd accepts requests of
#: 1.5 MiB by default.
MAX_PAGE: Final = 256 << 20
#: Pages whose turn comes later, at most. A tree of etcd has some hundreds on each of few levels.
MAX_PENDING: Final = 1 << 18


class _Meta(NamedTuple):
    """A page that describes the rest."""

    page_size: int
    root: int
    #: The first page that is not used.
    end: int
    transaction: int


class _Item(NamedTuple):
    """An element of a leaf."""

    flags: int
    key: bytes
    value: bytes


class _Pending(NamedTuple):
    """A page whose turn comes later, and which keys may be in it."""

    number: int
    low: bytes
    #: The first key that may not; ``None``: there is none.
    high: bytes | None


class Database:
    """The buckets of a file. Not thread-safe.

    :param file: open for reading, and can be positioned.
    :param size: bytes of the file that are the database; ``None``: all.
    :raises DecodeError: it is not a database. The methods raise it too.
    """

    def __init__(self, file: BinaryIO, size: int | None = None) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END) if size is None else size
        meta = self._newest_meta()
        self._page_size, self._end = meta.page_size, meta.end
        if not 2 <= meta.root < meta.end:
            raise _wrong(f"its root is page {meta.root} of {meta.end}")
        if meta.end * meta.page_size > self._size:
            raise _wrong(
                f"it is cut off: it has {self._size} bytes, and its {meta.end} pages need "
                f"{meta.end * meta.page_size}"
            )
        #: Which pages were reached.
        self._reached = bytearray(meta.end)
        self._buckets = {item.key: item.value for item in self._walk(meta.root) if _named(item)}

    @property
    def names(self) -> list[bytes]:
        """The names of the buckets, in ascending order."""
        return list(self._buckets)

    def items(self, name: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the keys and values of a bucket, in ascending order. Once for each bucket.

        :raises KeyError: there is no such bucket.
        """
        value = self._buckets[name]
        root, _ = BUCKET.unpack_from(value)
        found = self._walk(root) if root else _inline(value[BUCKET.size :])
        for item in found:
            if item.flags:
                raise _wrong(f"the bucket {name!r:.80} has a bucket {item.key!r:.80} in it")
            yield item.key, item.value

    # -- the pages that describe the rest --------------------------------------------------------

    def _newest_meta(self) -> _Meta:
        """Return the newer of the two that are whole: one is being replaced at a time."""
        found: list[_Meta] = []
        first = self._meta(0)
        if isinstance(first, _Meta):
            found.append(first)
        for size in (first.page_size,) if isinstance(first, _Meta) else _SIZES:
            second = self._meta(size)
            if isinstance(second, _Meta) and second.page_size == size:
                found.append(second)
        if not found:
            raise _wrong(str(first))
        return max(found, key=lambda meta: meta.transaction)

    def _meta(self, at: int) -> _Meta | str:
        """Return the one at a place, or why there is none."""
        if self._size < at + _META_SIZE:
            return "it is too short"
        data = self._read(at, _META_SIZE)
        _, kind, _, _ = PAGE.unpack_from(data)
        body = data[PAGE.size : PAGE.size + META_BODY.size]
        magic, version, page_size, _, root, _, _, end, transaction = META_BODY.unpack(body)
        if kind != META or magic != MAGIC:
            return "its first page does not describe one"
        if version != VERSION:
            return f"its format has the version {version}; accepted: {VERSION}"
        if data[PAGE.size + META_BODY.size :] != checksum(body).to_bytes(8, "little"):
            return "the checksum of its first page is wrong"
        if page_size not in _SIZES:
            return f"its pages have {page_size} bytes; accepted: {', '.join(map(str, _SIZES))}"
        return _Meta(page_size, root, end, transaction)

    # -- trees -----------------------------------------------------------------------------------

    def _walk(self, root: int) -> Iterator[_Item]:
        """Iterate over the elements of the leaves of a tree, in the order of their keys."""
        pending = [_Pending(root, b"", None)]
        while pending:
            page = pending.pop()
            kind, count, body = self._page(page.number)
            if kind == LEAF:
                yield from _leaf(body, count, page)
            elif kind == BRANCH:
                pending += reversed(_branch(body, count, page))
                if len(pending) > MAX_PENDING:
                    raise _wrong(f"page {page.number} is below too many others")
            else:
                raise _wrong(f"page {page.number} has the kind {kind}; accepted: branch and leaf")

    def _page(self, number: int) -> tuple[int, int, bytes]:
        """Return kind, number of elements and body of a page, which was not reached before."""
        if not 2 <= number < self._end:
            raise _wrong(f"a page {number} is named, and there are {self._end}")
        at = number * self._page_size
        own, kind, count, following = PAGE.unpack(self._read(at, PAGE.size))
        if own != number:
            raise _wrong(f"page {number} says that it is page {own}")
        end = number + 1 + following
        if end > self._end:
            raise _wrong(f"page {number} reaches to page {end}, and there are {self._end}")
        size = (1 + following) * self._page_size
        if size > MAX_PAGE:
            raise _wrong(f"page {number} has {size} bytes; accepted: {MAX_PAGE}")
        if any(self._reached[number:end]):
            raise _wrong(f"page {number} belongs to two places")
        self._reached[number:end] = b"\1" * (end - number)
        return kind, count, self._read(at + PAGE.size, size - PAGE.size)

    def _read(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        data = self._file.read(size)
        if len(data) != size:
            raise _wrong("it ends early")
        return data


def _inline(data: bytes) -> Iterator[_Item]:
    """Return the elements of a small bucket, whose only page is in its value."""
    if len(data) < PAGE.size:
        raise _wrong("a small bucket is cut off")
    _, kind, count, following = PAGE.unpack_from(data)
    if kind != LEAF or following:
        raise _wrong("a small bucket is no leaf")
    return _leaf(data[PAGE.size :], count, _Pending(0, b"", None))


def _leaf(body: bytes, count: int, page: _Pending) -> Iterator[_Item]:
    end = count * LEAF_ELEMENT.size
    if end > len(body):
        raise _wrong(f"page {page.number} has room for fewer than {count} elements")
    before = b""
    for at in range(0, end, LEAF_ELEMENT.size):
        flags, offset, key_size, value_size = LEAF_ELEMENT.unpack_from(body, at)
        start = at + offset
        middle = start + key_size
        if start < end or middle + value_size > len(body):
            raise _wrong(f"an element of page {page.number} is out of its place")
        end = middle + value_size
        key = body[start:middle]
        _check_key(key, before, page)
        if flags not in (0, IS_BUCKET):
            raise _wrong(f"an element of page {page.number} has the flags {flags}")
        yield _Item(flags, key, body[middle:end])
        before = key


def _branch(body: bytes, count: int, page: _Pending) -> list[_Pending]:
    end = count * BRANCH_ELEMENT.size
    if not count or end > len(body):
        raise _wrong(f"page {page.number} has {count} elements, and not room for as many")
    found: list[tuple[bytes, int]] = []
    before = b""
    for at in range(0, end, BRANCH_ELEMENT.size):
        offset, key_size, number = BRANCH_ELEMENT.unpack_from(body, at)
        start = at + offset
        if start < end or start + key_size > len(body):
            raise _wrong(f"an element of page {page.number} is out of its place")
        end = start + key_size
        key = body[start:end]
        _check_key(key, before, page)
        found.append((key, number))
        before = key
    highs = [*(key for key, _ in found[1:]), page.high]
    return [_Pending(number, key, high) for (key, number), high in zip(found, highs, strict=True)]


def _check_key(key: bytes, before: bytes, page: _Pending) -> None:
    """Check the place of a key. ``before`` is the one before it in its page, b"" for none."""
    if key <= before or key < page.low or (page.high is not None and key >= page.high):
        raise _wrong(f"the key {key!r:.80} of page {page.number} is not in its place")


def _named(item: _Item) -> bool:
    if item.flags != IS_BUCKET:
        raise _wrong(f"the key {item.key!r:.80} is in no bucket")
    if len(item.value) < BUCKET.size:
        raise _wrong(f"the bucket {item.key!r:.80} is cut off")
    return True


def _wrong(why: str) -> DecodeError:
    return DecodeError(f"not a database of bbolt, etcd's format: {why}")
