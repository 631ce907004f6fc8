"""A record: one version of a key, or the mark that a delete leaves.

A record is a plain tuple and never changes. The garbage collector stops following exact tuples of
bytes and numbers after its first visit, so a million keys do not make its pauses longer; a subclass
such as a ``NamedTuple`` it would follow.
"""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = [
    "CREATE",
    "KEY",
    "LEASE",
    "MOD",
    "OVERHEAD",
    "SUB",
    "VALUE",
    "VERSION",
    "Record",
    "Stored",
    "record_bytes",
    "stored",
    "tombstone",
    "whole",
]

#: Key, value, create revision, mod revision, sub-revision, version, lease.
#:
#: The value of a tombstone is ``None``; its create revision, version and lease are 0. The
#: sub-revision is the record's place among those of its revision, from 0. Lease 0 is none.
Record: TypeAlias = tuple[bytes, bytes | None, int, int, int, int, int]

#: As the index and the history hold it. The first version of a key is shorter, which saves 16
#: bytes: key, value, lease, mod revision, sub-revision. What both have is at the same places, but
#: for the lease.
Stored: TypeAlias = Record | tuple[bytes, bytes | None, int, int, int]

KEY: Final = 0
VALUE: Final = 1
CREATE: Final = 2
MOD: Final = 3
SUB: Final = 4
VERSION: Final = 5
LEASE: Final = 6

#: What a record counts for the quota beside the bytes of its key and value. It is about what it
#: takes in memory, and part of the replicated rules: every node must count alike.
OVERHEAD: Final = 256


def tombstone(key: bytes, mod: int, sub: int) -> Record:
    """Return the record of a deleted key."""
    return (key, None, 0, mod, sub, 0, 0)


def stored(record: Record) -> Stored:
    """Return a record as it is held."""
    key, value, _, mod, sub, version, lease = record
    return (key, value, lease, mod, sub) if version == 1 else record


def whole(held: Stored) -> Record:
    """Return a record that is held."""
    if len(held) == 7:
        return held
    key, value, lease, mod, sub = held
    return (key, value, mod, mod, sub, 1, lease)


def record_bytes(record: Stored) -> int:
    """Return what the record counts for the quota, bytes."""
    return OVERHEAD + len(record[KEY]) + len(record[VALUE] or b"")
