"""``StoreStatus``: numbers of the whole store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["StoreStatus", "status_of"]


class StoreStatus(NamedTuple):
    """Numbers of the whole store."""

    revision: int
    #: The oldest revision that can be read; 0 if nothing was compacted.
    compacted: int
    keys: int
    #: What counts against the quota, bytes.
    size: int
    quota: int
    leases: int


def status_of(answer: Mapping[str, Any]) -> StoreStatus:
    """Return the status in an answer of the service ``store``."""
    return StoreStatus(**{name: answer[name] for name in StoreStatus._fields})
