"""``Entry``: a key of the store with its value and revisions."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Entry", "entry_of"]


class Entry(NamedTuple):
    """A key with its value, at one revision of the store."""

    key: bytes
    value: bytes
    #: The revision that wrote it.
    revision: int
    #: The revision that made the key.
    created: int
    #: How often it was written since then, from 1.
    version: int
    #: The lease with which it goes, 0 for none.
    lease: int


def entry_of(record: Any) -> Entry:
    """Return the entry of a record of the service ``store``."""
    key, value, created, revision, _, version, lease = record
    return Entry(key, value, revision, created, version, lease)
