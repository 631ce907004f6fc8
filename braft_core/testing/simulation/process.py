"""What a server has only while its process lives, and what it owes to others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from braft_core.raft.messages import Message
from braft_core.raft.ready import ConfigurationChanged, Event, LeaderChanged, RoleChanged
from braft_core.raft.types import Configuration, Role
from braft_core.testing.simulation.core import Core
from braft_core.testing.simulation.frontend import Frontend
from braft_core.testing.simulation.invariants import Seen

__all__ = ["Process", "Ticket", "Told"]


@dataclass(slots=True)
class Ticket:
    """The ``context`` of a request: where its response belongs, and since when it is awaited."""

    requester: str
    life: int
    request: Message
    since: float


@dataclass(slots=True)
class Told:
    """What an observer believes who knows a core by its events alone."""

    role: Role
    term: int
    leader: str
    configuration: Configuration

    @classmethod
    def of(cls, core: Core) -> Told:
        """What is true of a core now."""
        return cls(core.role, core.current_term, core.leader, core.configuration)

    def hear(self, event: Event) -> None:
        """Believe an event."""
        match event:
            case RoleChanged():
                self.role, self.term = event.role, event.term
            case LeaderChanged():
                self.leader = event.leader
            case ConfigurationChanged():
                self.configuration = event.configuration


@dataclass(slots=True)
class Process:
    """What a server has only while its process lives."""

    core: Core
    frontend: Frontend
    seen: Seen
    told: Told
    inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = field(default_factory=list)
    #: A wake-up, or a run of the applier, is scheduled.
    awake: bool = False
    applying: bool = False
    timer_at: float = inf
    #: Batches handed out and not yet confirmed to the core.
    unconfirmed: int = 0
    unanswered: dict[int, Ticket] = field(default_factory=dict)
