"""What a server has only while its process lives, and what it owes to others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from braft_core.raft.messages import Message
from braft_core.testing.simulation.core import Core
from braft_core.testing.simulation.frontend import Frontend
from braft_core.testing.simulation.invariants import Seen

__all__ = ["Process", "Ticket"]


@dataclass(slots=True)
class Ticket:
    """The ``context`` of a request: where its response belongs, and since when it is awaited."""

    requester: str
    life: int
    request: Message
    since: float


@dataclass(slots=True)
class Process:
    """What a server has only while its process lives."""

    core: Core
    frontend: Frontend
    seen: Seen
    inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = field(default_factory=list)
    #: A wake-up, or a run of the applier, is scheduled.
    awake: bool = False
    applying: bool = False
    timer_at: float = inf
    #: Batches handed out and not yet confirmed to the core.
    unconfirmed: int = 0
    unanswered: dict[int, Ticket] = field(default_factory=dict)
