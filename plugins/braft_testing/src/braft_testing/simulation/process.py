"""The volatile state of a server, and the checks of its contacts and events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from braft_core.raft.messages import Message
from braft_core.raft.ready import ConfigurationChanged, Event, LeaderChanged, RoleChanged
from braft_core.raft.types import Configuration, Role
from braft_testing.simulation.core import Core
from braft_testing.simulation.disk import LogImage
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.frontend import Frontend
from braft_testing.simulation.invariants import CoreObservation
from braft_testing.simulation.snapshots import Snapshotter
from braft_testing.simulation.staleness_invariants import ReportedBound

if TYPE_CHECKING:
    from braft_testing.simulation.autopilot_adapter import AutopilotAdapter
    from braft_testing.simulation.capability_adapter import CapabilityAdapter

__all__ = ["FORGED", "Contact", "ObservedRole", "PendingRequest", "Process"]

#: The life of a forged sender, which no server ever has.
FORGED = -1


@dataclass(slots=True)
class PendingRequest:
    """The ``context`` of a request: where its response belongs, and since when it is awaited."""

    requester: str
    life: int
    request: Message
    since: float
    #: Whether this server had just heard from a live leader when the request arrived.
    heard_leader: bool = False


@dataclass(slots=True)
class ObservedRole:
    """The state of a core according to its events alone."""

    role: Role
    term: int
    leader: str
    configuration: Configuration

    @classmethod
    def of(cls, core: Core) -> ObservedRole:
        """Return the present state of a core."""
        return cls(core.role, core.current_term, core.leader, core.configuration)

    def hear(self, event: Event) -> None:
        """Update from an event."""
        match event:
            case RoleChanged():
                self.role, self.term = event.role, event.term
            case LeaderChanged():
                self.leader = event.leader
            case ConfigurationChanged():
                self.configuration = event.configuration


@dataclass(slots=True)
class Contact:
    """When each peer answered a leader, by the leader's own clock, as observed from outside."""

    term: int = 0
    configuration: Configuration | None = None
    heard: dict[str, float] = field(default_factory=dict)

    def check(self, core: Core, now: float, patience: float) -> None:
        """Check a core right after a tick of its clock.

        :raises InvariantBroken: if it leads without contact to a majority for ``patience``.
        """
        if core.role is not Role.LEADER:
            self.term = 0
            return
        if self.term != core.current_term or self.configuration != core.configuration:
            self.term, self.configuration = core.current_term, core.configuration
            self.heard.clear()
        voters = core.configuration.voters
        near = 0
        for voter in voters:
            silent = now - self.heard.setdefault(voter, now)
            near += voter == core.server_id or silent <= patience
        if 2 * near <= len(voters):
            raise InvariantBroken(
                "a leader without contact to a majority steps down",
                f"{core.server_id} leads term {self.term}, hears {near} of {voters}",
            )


@dataclass(slots=True)
class Process:
    """The state of a server that is lost with its process."""

    core: Core
    frontend: Frontend
    observed: CoreObservation
    observed_role: ObservedRole
    snapshots: Snapshotter
    staleness: ReportedBound
    inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = field(default_factory=list)
    #: How many of the inputs have waited since a pause.
    backlog: int = 0
    #: Whether a wake-up, or a run of the applier, is scheduled.
    awake: bool = False
    applying: bool = False
    timer_at: float = inf
    #: Batches handed out and not yet confirmed to the core.
    unconfirmed: int = 0
    unanswered: dict[int, PendingRequest] = field(default_factory=dict)
    contact: Contact = field(default_factory=Contact)
    #: When the leader it follows was last heard, by its own clock.
    leader_heard: float = -inf
    #: Whether the membership rules let it stand for election.
    campaign_enabled: bool = True
    #: Declares what it can execute and agrees on it, if the servers run several versions.
    negotiation: CapabilityAdapter | None = None
    #: Removes dead voters, if the plan has that.
    autopilot: AutopilotAdapter | None = None

    def check_view(self, server: str, image: LogImage) -> None:
        """Compare the core with the disk, and with its events.

        :raises InvariantBroken: if they differ.
        """
        core, last = self.core, image.last_index
        same = core.last_index == last and core.log.compacted_index == image.base
        if not same or core.log.term_at(last) != image.term_at(last):
            raise InvariantBroken(
                "the core's log matches the disk", f"{server}: {core.last_index} versus {last}"
            )
        if image.hard_state.term != core.current_term:
            raise InvariantBroken(
                "the core's log matches the disk",
                f"{server}: term {core.current_term} versus {image.hard_state}",
            )
        if self.observed_role != ObservedRole.of(core):
            raise InvariantBroken(
                "events match the core's state",
                f"{server} is {ObservedRole.of(core)}, its events say {self.observed_role}",
            )
