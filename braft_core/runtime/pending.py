"""Proposals that are in the leader's log and wait to be committed and applied.

Kept in log order, a group for each batch that was appended at once. When entries are committed
their terms decide each proposal: the same term at its index means that it was committed, another
term means that it was replaced.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

from braft_core.raft import Entry
from braft_core.runtime.requests import Request

__all__ = ["PendingProposals", "Segment"]


class Segment(NamedTuple):
    """Requests whose entries stand at ``offset`` and following in a committed batch."""

    offset: int
    requests: list[Request]


class _Group:
    __slots__ = ("first", "requests", "term")

    def __init__(self, first: int, term: int, requests: list[Request]) -> None:
        self.first = first
        self.term = term
        self.requests = requests


class PendingProposals:
    """Owned by the driver."""

    def __init__(self) -> None:
        #: By first index. Groups of different terms may overlap: what a deposed leader appended is
        #: not lost before something else is committed in its place (Raft figure 8).
        self._groups: list[_Group] = []
        #: The term of the last committed entry.
        self._term = 0

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, first: int, term: int, requests: list[Request]) -> None:
        """Add requests whose entries were appended from ``first`` on, in ``term``."""
        group = _Group(first, term, requests)
        if self._groups and self._groups[-1].first > first:
            bisect.insort(self._groups, group, key=lambda g: g.first)
        else:
            self._groups.append(group)

    def take(self, entries: Sequence[Entry]) -> tuple[list[Segment], list[Request]]:
        """Remove the requests that ``entries`` decide; return the committed and the replaced."""
        segments: list[Segment] = []
        lost: list[Request] = []
        start, last = entries[0].index, entries[-1].index
        reached = bisect.bisect_right(self._groups, last, key=lambda g: g.first)
        rest: list[_Group] = []
        for group in self._groups[:reached]:
            count = min(len(group.requests), last - group.first + 1)
            if count < len(group.requests):
                rest.append(_Group(last + 1, group.term, group.requests[count:]))
            _decide(group, entries, group.first - start, count, segments, lost)
        self._groups[:reached] = rest
        if entries[-1].term > self._term:
            self._term = entries[-1].term
            lost += self._superseded()
        return segments, lost

    def _superseded(self) -> list[Request]:
        """Remove requests of earlier terms, which a committed entry of a later term rules out."""
        superseded = [group for group in self._groups if group.term < self._term]
        if superseded:
            self._groups = [group for group in self._groups if group.term >= self._term]
        return [request for group in superseded for request in group.requests]

    def covered_by_snapshot(self, index: int) -> list[Request]:
        """Remove and return the requests up to ``index``: a snapshot hides their outcome."""
        reached = bisect.bisect_right(self._groups, index, key=lambda g: g.first)
        gone: list[Request] = []
        rest: list[_Group] = []
        for group in self._groups[:reached]:
            count = min(len(group.requests), index - group.first + 1)
            gone += group.requests[:count]
            if count < len(group.requests):
                rest.append(_Group(index + 1, group.term, group.requests[count:]))
        self._groups[:reached] = rest
        return gone

    def undecided(self) -> list[Request]:
        """Return all requests in log order."""
        return [request for group in self._groups for request in group.requests]

    def expire(self, now: float) -> list[Request]:
        """Return the requests whose deadline has passed; they keep their place in the log."""
        return [
            request
            for request in self.undecided()
            if request.deadline <= now and not request.future.done()
        ]

    def drain(self) -> list[Request]:
        """Remove and return all requests."""
        requests = self.undecided()
        self._groups.clear()
        return requests


def _decide(
    group: _Group,
    entries: Sequence[Entry],
    offset: int,
    count: int,
    segments: list[Segment],
    lost: list[Request],
) -> None:
    term = group.term
    while count and entries[offset + count - 1].term != term:
        # By log matching a prefix of the group may have survived; what follows it was replaced.
        count -= 1
        lost.append(group.requests[count])
    if count:
        segments.append(Segment(offset, group.requests[:count]))
