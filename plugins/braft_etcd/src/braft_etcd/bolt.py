"""Writes files in the format of bbolt, etcd's database: trees of pages, filled in key order.

Each bucket is written leaf by leaf as its keys come, then the branches above, so that memory holds
one page and the first key of each. Nothing here knows etcd.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import BinaryIO, Final

from braft_etcd.bolt_format import (
    BRANCH,
    BRANCH_ELEMENT,
    BUCKET,
    FREE_LIST,
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

__all__ = ["PAGE_SIZE", "Items", "write_database"]

PAGE_SIZE: Final = 4096
_FREE_LIST_PAGE: Final = 2

Items = Iterable[tuple[bytes, bytes]]


def write_database(file: BinaryIO, buckets: Iterable[tuple[bytes, Items]]) -> int:
    """Write a database; return its size, a multiple of the size of a page.

    :param file: empty, and can be positioned.
    :param buckets: their names and items, both in ascending order of their keys.
    """
    pages = _Pages(file)
    roots = _Tree(pages)
    for name, items in buckets:
        tree = _Tree(pages)
        for key, value in items:
            tree.add(key, value)
        roots.add(name, BUCKET.pack(tree.finish(), 0), IS_BUCKET)
    root = roots.finish()
    pages.write_at(_FREE_LIST_PAGE, FREE_LIST, 0, b"")
    for number in (0, 1):
        meta = META_BODY.pack(
            MAGIC, VERSION, PAGE_SIZE, 0, root, 0, _FREE_LIST_PAGE, pages.end, number
        )
        pages.write_at(number, META, 0, meta + struct.pack("<Q", checksum(meta)))
    return pages.end * PAGE_SIZE


class _Pages:
    """The pages of a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        #: The first page that is not used.
        self.end = _FREE_LIST_PAGE + 1

    def append(self, kind: int, count: int, body: bytes) -> int:
        """Write a page, with those that follow it if the body is larger; return its number."""
        number = self.end
        self.end += self.write_at(number, kind, count, body)
        return number

    def write_at(self, number: int, kind: int, count: int, body: bytes) -> int:
        """Write a page at a place; return how many pages it takes."""
        used = -(-(PAGE.size + len(body)) // PAGE_SIZE)
        self._file.seek(number * PAGE_SIZE)
        self._file.write(PAGE.pack(number, kind, count, used - 1))
        self._file.write(body.ljust(used * PAGE_SIZE - PAGE.size, b"\0"))
        return used


class _Tree:
    """One bucket, in the order of its keys."""

    def __init__(self, pages: _Pages) -> None:
        self._pages = pages
        #: Flags, key and value of the leaf that is being filled.
        self._items: list[tuple[int, bytes, bytes]] = []
        self._size = PAGE.size
        #: First key and number of each leaf.
        self._leaves: list[tuple[bytes, int]] = []

    def add(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Add an item, whose key is greater than all before."""
        size = LEAF_ELEMENT.size + len(key) + len(value)
        if self._items and self._size + size > PAGE_SIZE:
            self._write_leaf()
        self._items.append((flags, key, value))
        self._size += size

    def finish(self) -> int:
        """Write what is left; return the root page."""
        if self._items or not self._leaves:
            self._write_leaf()
        level = self._leaves
        while len(level) > 1:
            level = self._write_branches(level)
        return level[0][1]

    def _write_leaf(self) -> None:
        offset = LEAF_ELEMENT.size * len(self._items)
        heads: list[bytes] = []
        data: list[bytes] = []
        for index, (flags, key, value) in enumerate(self._items):
            at = offset - index * LEAF_ELEMENT.size
            heads.append(LEAF_ELEMENT.pack(flags, at, len(key), len(value)))
            data += (key, value)
            offset += len(key) + len(value)
        first = self._items[0][1] if self._items else b""
        number = self._pages.append(LEAF, len(self._items), b"".join(heads + data))
        self._leaves.append((first, number))
        self._items, self._size = [], PAGE.size

    def _write_branches(self, children: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
        """Write the pages above some; return their first keys and numbers."""
        groups: list[list[tuple[bytes, int]]] = [[]]
        size = PAGE.size
        for key, number in children:
            own = BRANCH_ELEMENT.size + len(key)
            # Two children at least, or the tree would not get lower.
            if size + own > PAGE_SIZE and len(groups[-1]) > 1:
                groups.append([])
                size = PAGE.size
            groups[-1].append((key, number))
            size += own
        return [(group[0][0], self._write_branch(group)) for group in groups]

    def _write_branch(self, children: list[tuple[bytes, int]]) -> int:
        offset = BRANCH_ELEMENT.size * len(children)
        heads = []
        for index, (key, number) in enumerate(children):
            at = offset - index * BRANCH_ELEMENT.size
            heads.append(BRANCH_ELEMENT.pack(at, len(key), number))
            offset += len(key)
        body = b"".join([*heads, *(key for key, _ in children)])
        return self._pages.append(BRANCH, len(children), body)
