"""The format of bbolt, etcd's database: numbers that its writer and its reader share.

All numbers are little-endian. A file is a row of pages; the first two describe the rest.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = [
    "BRANCH",
    "BRANCH_ELEMENT",
    "BUCKET",
    "FREE_LIST",
    "IS_BUCKET",
    "LEAF",
    "LEAF_ELEMENT",
    "MAGIC",
    "META",
    "META_BODY",
    "PAGE",
    "VERSION",
    "checksum",
]

MAGIC: Final = 0xED0CDAED
VERSION: Final = 2
BRANCH, LEAF, META, FREE_LIST = 1, 2, 4, 16
#: A leaf's element that is a bucket.
IS_BUCKET: Final = 1
#: Page: id, kind, number of elements, pages that follow it.
PAGE: Final = struct.Struct("<QHHI")
#: Leaf: flags, offset from here to the key, sizes of key and value. Branch: offset, size, page.
LEAF_ELEMENT: Final = struct.Struct("<IIII")
BRANCH_ELEMENT: Final = struct.Struct("<IIQ")
#: A bucket: its root page and its sequence, which nobody uses.
BUCKET: Final = struct.Struct("<QQ")
#: Magic, version, page size, flags; root bucket; free list, first unused page, transaction. The
#: checksum of these bytes follows.
META_BODY: Final = struct.Struct("<IIIIQQQQQ")
_FNV_BASIS, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


def checksum(data: bytes) -> int:
    """Return the checksum of a page that describes the rest: FNV-1a of 64 bits."""
    found = _FNV_BASIS
    for byte in data:
        found = (found ^ byte) * _FNV_PRIME & 0xFFFF_FFFF_FFFF_FFFF
    return found
