"""What clients and servers of the simulation say to each other beside Raft's messages."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from braft_core.raft.messages import InstallSnapshot, Message
from braft_testing.simulation.history import Operation

__all__ = ["Answer", "Ask", "ReadIndexAnswer", "ReadIndexAsk", "Transfer", "duplicate"]

_M = TypeVar("_M", bound=Message)


class Ask(NamedTuple):
    """A client's request to a server: a command of the log, or a read without one."""

    operation: Operation
    client: str
    command: bytes = b""
    #: A read that is content with the leader's lease.
    lease: bool = False


class Answer(NamedTuple):
    """A server's answer. Not ``ok``: surely not applied. ``hint`` is the leader it knows."""

    operation: Operation
    ok: bool
    outcome: Any
    hint: str


class ReadIndexAsk(NamedTuple):
    """A follower asks the leader for a read index."""

    ask: Ask


class ReadIndexAnswer(NamedTuple):
    """The leader's read index, -1 if it could not confirm that it leads."""

    ask: Ask
    read_index: int


class Transfer(NamedTuple):
    """A snapshot on its way: the message and the contents that travel beside it."""

    message: InstallSnapshot
    contents: bytes


def duplicate(message: _M) -> _M:
    """A copy: what a network delivers, maybe twice. (``copy.copy`` takes ten times as long.)"""
    kind = type(message)
    twin = object.__new__(kind)
    for name in kind.__slots__:
        setattr(twin, name, getattr(message, name))
    return twin
