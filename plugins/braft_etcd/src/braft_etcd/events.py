"""Events of the store as etcd's ``Event``, encoded once for all watches of a node."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from braft_core.store import Event
from braft_etcd.operations import key_value
from braft_etcd.wire import Values, encode
from braft_etcd.wire.messages import message

__all__ = ["encode_event", "encode_event_with_previous", "is_wanted"]

_EVENT: Final = message("Event")
_VALUE: Final = 1
_PUT, _DELETE = 0, 1
_NO_PUT, _NO_DELETE = 0, 1


def is_wanted(event: Event, filters: Set[int]) -> bool:
    """Return whether the filters of a watch let an event through."""
    return (_NO_DELETE if event.record[_VALUE] is None else _NO_PUT) not in filters


def encode_event(event: Event) -> bytes:
    """Return an event without what it replaced."""
    return encode(_EVENT, _shown(event))


def encode_event_with_previous(event: Event) -> bytes:
    """Return an event with what it replaced."""
    previous = event.previous
    shown = _shown(event)
    if previous is not None:
        shown["prev_kv"] = key_value(previous)
    return encode(_EVENT, shown)


def _shown(event: Event) -> Values:
    kind = _DELETE if event.record[_VALUE] is None else _PUT
    return {"type": kind, "kv": key_value(event.record)}
