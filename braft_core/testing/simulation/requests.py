"""What clients and servers of the simulation say to each other beside Raft's messages."""

from __future__ import annotations

from typing import NamedTuple

from braft_core.testing.simulation.history import Operation

__all__ = ["Answer", "Ask", "ReadIndexAnswer", "ReadIndexAsk"]


class Ask(NamedTuple):
    """A client's request to a server."""

    operation: Operation
    client: str


class Answer(NamedTuple):
    """A server's answer. Not ``ok``: surely without effect. ``hint`` is the leader it knows."""

    operation: Operation
    ok: bool
    seen: int
    hint: str


class ReadIndexAsk(NamedTuple):
    """A follower asks the leader for a read index."""

    ask: Ask


class ReadIndexAnswer(NamedTuple):
    """The leader's read index, -1 if it could not confirm that it leads."""

    ask: Ask
    read_index: int
