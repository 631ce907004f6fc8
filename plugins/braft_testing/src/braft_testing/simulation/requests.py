"""Messages between clients and servers of the simulation, besides Raft's."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from braft_core.raft.messages import InstallSnapshot, Message
from braft_testing.simulation.history import Operation

__all__ = [
    "ClientRequest",
    "ClientResponse",
    "ReadIndexReply",
    "ReadIndexRequest",
    "Transfer",
    "duplicate",
]

_M = TypeVar("_M", bound=Message)


class ClientRequest(NamedTuple):
    """A client's request to a server: a command of the log, or a read without one."""

    operation: Operation
    client: str
    command: bytes = b""
    #: A read for which the leader's lease is sufficient.
    lease: bool = False


class ClientResponse(NamedTuple):
    """A server's answer. Not ``ok``: certainly not applied. ``hint`` is the leader it knows."""

    operation: Operation
    ok: bool
    outcome: Any
    hint: str


class ReadIndexRequest(NamedTuple):
    """A follower's request for a read index from the leader."""

    request: ClientRequest


class ReadIndexReply(NamedTuple):
    """The leader's read index, -1 if it could not confirm its leadership."""

    request: ClientRequest
    read_index: int


class Transfer(NamedTuple):
    """A snapshot in transit: the message, and the contents sent with it."""

    message: InstallSnapshot
    contents: bytes


def duplicate(message: _M) -> _M:
    """Return a copy, as a network delivers it; ``copy.copy`` takes ten times as long."""
    kind = type(message)
    twin = object.__new__(kind)
    for name in kind.__slots__:
        setattr(twin, name, getattr(message, name))
    return twin
