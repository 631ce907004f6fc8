"""What a watch of a client has received: changes to be returned, and where it goes on. Pure.

It is fed with the bodies of answers, one after the other. An answer may break off anywhere, and the
next one begins where the last complete event of it ended. An event that comes again is dropped.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from braft_core.client.event_stream import EventStreamParser, ServerEvent
from braft_core.errors import BraftError, InvalidArgument, from_wire
from braft_core.escaping import printable, printable_values
from braft_core.store import Change
from braft_core.store.entries import entry_of
from braft_core.store.json_form import read_change
from braft_core.store.positions import Position

__all__ = ["WatchFeed"]


class WatchFeed:
    """The changes of one watch. For one thread or task; :attr:`revision` is for any thread."""

    def __init__(self, since: int) -> None:
        #: What was received. An answer that goes on there misses nothing.
        self.position = Position(since)
        #: Every change up to this revision was returned.
        self.revision = since
        #: How many events the present answer has brought, without the reason for its end.
        self.received = 0
        #: Why the answer ended, if the node said so.
        self.problem: BraftError | None = None
        self._parser = EventStreamParser()
        self._changes: deque[Change] = deque()

    def begin(self) -> None:
        """Begin another answer."""
        self._parser = EventStreamParser()
        self.received = 0
        self.problem = None

    def feed(self, data: bytes) -> None:
        """Take a part of an answer.

        :raises ValueError: it is not what a node sends.
        :raises TypeError: the same.
        """
        try:
            for event in self._parser.feed(data):
                self._take(event)
                self.received += event.type != "problem"
        except InvalidArgument as error:
            raise ValueError(error.message) from error
        finally:
            self._settle()

    def pop(self) -> Change | None:
        """Return the next change, ``None`` if it must be waited for."""
        if not self._changes:
            return None
        change = self._changes.popleft()
        self._settle()
        return change

    def pop_revision(self) -> list[Change] | None:
        """Return all changes of the next revision, ``None`` if some must be waited for."""
        changes = self._changes
        if not changes or self.position.complete < changes[0].revision:
            return None
        revision = changes[0].revision
        found = []
        while changes and changes[0].revision == revision:
            found.append(changes.popleft())
        self._settle()
        return found

    def _settle(self) -> None:
        changes = self._changes
        self.revision = changes[0].revision - 1 if changes else self.position.complete

    def _take(self, event: ServerEvent) -> None:
        if event.type == "problem":
            self.problem = _problem_of(event.data)
        elif event.type == "progress":
            self.position = max(self.position, Position.of("the id of an event", event.id))
        elif event.type == "":
            self._take_change(event)

    def _take_change(self, event: ServerEvent) -> None:
        kind, record, before = read_change(json.loads(event.data))
        position = Position.of("the id of an event", event.id)
        entry = entry_of(record)
        if entry.revision != position.revision:
            raise ValueError(f"an event of revision {entry.revision} has the id {event.id}")
        if position <= self.position:
            return
        self.position = position
        previous = None if before is None else entry_of(before)
        # ``kind`` was checked.
        made: Any = kind
        self._changes.append(Change(made, entry, previous, entry.revision))


def _problem_of(text: str) -> BraftError:
    problem = json.loads(text)
    if not isinstance(problem, dict):
        raise TypeError("not a problem")
    data = problem.get("data")
    facts = printable_values(data) if isinstance(data, dict) else {}
    detail = printable(str(problem.get("detail", "")))
    return from_wire(str(problem.get("code", "")), detail, facts)
