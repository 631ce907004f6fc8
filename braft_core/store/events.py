"""What a watch is made of: events, and watchers that take them from a node's history.

A :class:`Watcher` is a place in the history of the store, not a queue. Its owner takes events when
it wants some. So a million events cost an owner that does not read nothing. ``node.store.watch`` is
built on it, and so can be other front ends, with or without an event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

__all__ = ["TAKE_BYTES", "Event", "Piece", "Place", "Record", "Watcher", "Watchers"]

#: Key, value (``None``: the key was deleted), create revision, mod revision, sub-revision, version,
#: lease: a record of the service ``store``.
Record: TypeAlias = tuple[bytes, bytes | None, int, int, int, int, int]

#: A place between two events: the revision of the next one, and its number in that revision.
Place: TypeAlias = tuple[int, int]

#: Bytes of the events that :meth:`Watcher.take` returns by default.
TAKE_BYTES: Final = 64 << 10

_VALUE: Final = 1
_MOD: Final = 3
_SUB: Final = 4


class Event:
    """One change of one key. It never changes, and all watchers share it."""

    __slots__ = ("_encoded", "previous", "record")

    def __init__(self, record: Record, previous: Record | None) -> None:
        #: The new version of the key.
        self.record = record
        #: The version that it replaced; ``None`` if there was none, or if it was compacted.
        self.previous = previous
        self._encoded: dict[Any, Any] | None = None

    def __repr__(self) -> str:
        kind = "put" if self.record[_VALUE] is not None else "delete"
        return f"<Event {kind} {self.record[0]!r:.80} at {self.revision}>"

    @property
    def revision(self) -> int:
        """The revision of the store that it made, together with the others of that revision."""
        return self.record[_MOD]

    @property
    def place(self) -> Place:
        """The place before it."""
        return self.record[_MOD], self.record[_SUB]

    def encoded_by(self, encode: Callable[[Event], bytes]) -> bytes:
        """Return ``encode(event)``. It is called once for all watchers of a node.

        :param encode: a function of a module: for another object it is called again.
        """
        known = self._encoded
        if known is None:
            known = self._encoded = {}
        data: bytes | None = known.get(encode)
        if data is None:
            data = known[encode] = encode(self)
        return data


class Piece(NamedTuple):
    """Events that a watcher has taken, in their order."""

    events: list[Event]
    #: Every event up to this revision was taken, now or earlier.
    revision: int

    @property
    def is_split(self) -> bool:
        """Whether the last revision is not complete: more of its events may follow.

        A revision is split only if it is larger than what was to be taken.
        """
        return bool(self.events) and self.events[-1].revision > self.revision


class Watcher(Protocol):
    """A place in the history, and the keys that are wanted from there on.

    One thread takes at a time. :meth:`close` may be called by any thread.
    """

    @property
    def revision(self) -> int:
        """Every wanted event up to this revision was taken. It rises without events too."""

    @property
    def is_current(self) -> bool:
        """Whether all events that this node has handed out so far were taken."""

    def take(self, size: int = TAKE_BYTES) -> Piece | None:
        """Return the next events, or ``None`` if ``wake`` will be called when there may be some.

        Returns at once. A piece may be empty: the watcher has come past events of other keys, and
        there is more to take.

        :param size: bytes after which the piece ends, with the revision if that is possible.
        :raises Compacted: the history from this place on is gone. The watcher has ended, as it has
            with the other errors.
        :raises NotReady: this node cannot show the cluster's state.
        :raises Stopped: the node was stopped, or the watcher closed.
        """

    def close(self) -> None:
        """End it. Idempotent."""


class Watchers(Protocol):
    """The watchers of a node. Thread-safe."""

    @property
    def revision(self) -> int:
        """The revision up to which events were handed out to watchers that are current."""

    @property
    def applied_revision(self) -> int:
        """The revision of the store as of this node's last applied entries."""

    def watch(
        self, key: bytes, end: bytes = b"", begin: int = 0, *, wake: Callable[[], None]
    ) -> Watcher:
        """Return a watcher of a key or a range.

        :param end: empty for the key alone, ``\\0`` for all keys from it on, else the first key
            behind the range.
        :param begin: the first revision that is wanted. It may be in the future. 0: what comes
            after the entries that this node has applied.
        :param wake: called when there may be something to take, once after each time that
            :meth:`Watcher.take` returned ``None``, and at the end of the watcher. Any thread may
            call it. It must not block; it may be late, so the watcher may be closed already.
        :raises InvalidArgument: the range or the revision is not accepted.
        :raises Busy: the node has too many watchers.
        :raises NotReady: this node cannot show the cluster's state.
        :raises Stopped: the node was stopped.
        :raises UnknownService: the node has no service ``store``.
        """
