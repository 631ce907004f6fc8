"""Writes files in the format of bbolt, etcd's database: trees of pages, filled in key order.

Each bucket is written leaf by leaf as its keys come, then the branches above, so that memory holds
one page and the first key of each. Nothing here knows etcd.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import BinaryIO, Final

__all__ = ["PAGE_SIZE", "Items", "write_database"]

PAGE_SIZE: Final = 4096
_MAGIC, _VERSION = 0xED0CDAED, 2
_BRANCH, _LEAF, _META, _FREE_LIST = 1, 2, 4, 16
#: A leaf's element that is a bucket.
_IS_BUCKET: Final = 1
#: Page: id, kind, number of elements, pages that follow it.
_PAGE: Final = struct.Struct("<QHHI")
#: Leaf: flags, offset from here to the key, sizes of key and value. Branch: offset, size, page.
_LEAF_ELEMENT: Final = struct.Struct("<IIII")
_BRANCH_ELEMENT: Final = struct.Struct("<IIQ")
#: A bucket: its root page and its sequence, which nobody uses.
_BUCKET: Final = struct.Struct("<QQ")
#: Magic, version, page size, flags; root bucket; free list, first unused page, transaction.
_META_BODY: Final = struct.Struct("<IIIIQQQQQ")
_FNV_BASIS, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
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
        roots.add(name, _BUCKET.pack(tree.finish(), 0), _IS_BUCKET)
    root = roots.finish()
    pages.write_at(_FREE_LIST_PAGE, _FREE_LIST, 0, b"")
    for number in (0, 1):
        meta = _META_BODY.pack(
            _MAGIC, _VERSION, PAGE_SIZE, 0, root, 0, _FREE_LIST_PAGE, pages.end, number
        )
        pages.write_at(number, _META, 0, meta + struct.pack("<Q", _fnv(meta)))
    return pages.end * PAGE_SIZE


def _fnv(data: bytes) -> int:
    found = _FNV_BASIS
    for byte in data:
        found = (found ^ byte) * _FNV_PRIME & 0xFFFF_FFFF_FFFF_FFFF
    return found


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
        used = -(-(_PAGE.size + len(body)) // PAGE_SIZE)
        self._file.seek(number * PAGE_SIZE)
        self._file.write(_PAGE.pack(number, kind, count, used - 1))
        self._file.write(body.ljust(used * PAGE_SIZE - _PAGE.size, b"\0"))
        return used


class _Tree:
    """One bucket, in the order of its keys."""

    def __init__(self, pages: _Pages) -> None:
        self._pages = pages
        #: Flags, key and value of the leaf that is being filled.
        self._items: list[tuple[int, bytes, bytes]] = []
        self._size = _PAGE.size
        #: First key and number of each leaf.
        self._leaves: list[tuple[bytes, int]] = []

    def add(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Add an item, whose key is greater than all before."""
        size = _LEAF_ELEMENT.size + len(key) + len(value)
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
        offset = _LEAF_ELEMENT.size * len(self._items)
        heads: list[bytes] = []
        data: list[bytes] = []
        for index, (flags, key, value) in enumerate(self._items):
            at = offset - index * _LEAF_ELEMENT.size
            heads.append(_LEAF_ELEMENT.pack(flags, at, len(key), len(value)))
            data += (key, value)
            offset += len(key) + len(value)
        first = self._items[0][1] if self._items else b""
        number = self._pages.append(_LEAF, len(self._items), b"".join(heads + data))
        self._leaves.append((first, number))
        self._items, self._size = [], _PAGE.size

    def _write_branches(self, children: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
        """Write the pages above some; return their first keys and numbers."""
        groups: list[list[tuple[bytes, int]]] = [[]]
        size = _PAGE.size
        for key, number in children:
            own = _BRANCH_ELEMENT.size + len(key)
            # Two children at least, or the tree would not get lower.
            if size + own > PAGE_SIZE and len(groups[-1]) > 1:
                groups.append([])
                size = _PAGE.size
            groups[-1].append((key, number))
            size += own
        return [(group[0][0], self._write_branch(group)) for group in groups]

    def _write_branch(self, children: list[tuple[bytes, int]]) -> int:
        offset = _BRANCH_ELEMENT.size * len(children)
        heads = []
        for index, (key, number) in enumerate(children):
            at = offset - index * _BRANCH_ELEMENT.size
            heads.append(_BRANCH_ELEMENT.pack(at, len(key), number))
            offset += len(key)
        body = b"".join([*heads, *(key for key, _ in children)])
        return self._pages.append(_BRANCH, len(children), body)
