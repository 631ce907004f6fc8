"""Planted bugs of clusters whose servers run several versions of the program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from braft_core.abc import CommandContext
from braft_core.cluster.capability_negotiation import CapabilityNegotiation
from braft_core.cluster.interface import RaftView
from braft_core.errors import UnknownCommand
from braft_core.raft.core import RaftCore
from braft_core.raft.types import Configuration
from braft_core.runtime.admission import CommandAdmission
from braft_core.serializers.unsupported import UnsupportedEncoding
from braft_core.services.capabilities import Capabilities, Need, common
from braft_core.services.cluster import ClusterService
from braft_core.services.snapshot_stream import read_sections, write_sections
from braft_core.services.state_machine import Outcome, StateMachine
from braft_testing.simulation.plan import Plan
from braft_testing.simulation.process import Process
from braft_testing.simulation.snapshots import Snapshotter
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]


def _mixed(plan: Plan) -> bool:
    return bool(plan.versions)


def _brings(plan: Plan, feature: str) -> bool:
    return any(feature in step for step in plan.versions)


def _grows(plan: Plan) -> bool:
    """Return whether members are added that may support less than the others."""
    return _mixed(plan) and plan.servers > plan.initial_voters >= 2 and "membership" in plan.faults


def _captures(plan: Plan) -> bool:
    return _mixed(plan) and 0 < plan.snapshot_every <= 5


def unknown_commands_are_answered(patch: Patch) -> dict[str, Any]:
    """Answer an unknown command with an error, as braft itself once did."""
    original = StateMachine._execute

    def _execute(self: StateMachine, data: bytes, context: CommandContext) -> Outcome:
        try:
            return original(self, data, context)
        except UnsupportedEncoding as error:
            return UnknownCommand(error.message)

    patch.setattr(StateMachine, "_execute", _execute)
    return {}


def unknown_commands_are_skipped(patch: Patch) -> dict[str, Any]:
    original = StateMachine._execute

    def _execute(self: StateMachine, data: bytes, context: CommandContext) -> Outcome:
        try:
            return original(self, data, context)
        except UnsupportedEncoding:
            return None

    patch.setattr(StateMachine, "_execute", _execute)
    return {}


def unknown_services_in_a_snapshot_are_skipped(patch: Patch) -> dict[str, Any]:
    original = StateMachine.restore

    def restore(self: StateMachine, chunks: Iterable[bytes]) -> None:
        known = [
            (name, [*section])
            for name, section in read_sections(chunks)
            if name in self.capabilities.services
        ]
        original(self, write_sections(known))

    patch.setattr(StateMachine, "restore", restore)
    return {}


def unused_services_are_in_snapshots(patch: Patch) -> dict[str, Any]:
    """Write unused services, as braft once did; a node without them cannot read the snapshot."""
    original = StateMachine.snapshot

    def snapshot(self: StateMachine) -> Iterator[bytes]:
        self._used.update(self.names)
        return original(self)

    patch.setattr(StateMachine, "snapshot", snapshot)
    return {}


def admission_accepts_everything(patch: Patch) -> dict[str, Any]:
    patch.setattr(CommandAdmission, "refusal", lambda self, data, need=None: None)
    return {}


def admission_ignores_declarations(patch: Patch) -> dict[str, Any]:
    def _lacking(self: CommandAdmission, need: Need) -> None:
        return None

    patch.setattr(CommandAdmission, "_lacking", _lacking)
    return {}


def agreements_ignore_learners(patch: Patch) -> dict[str, Any]:
    original = CapabilityNegotiation.proposal

    def proposal(self: CapabilityNegotiation, view: RaftView) -> Capabilities | None:
        configuration = view.configuration
        voters = tuple(s for s in configuration.servers if configuration.is_voter(s.id))
        return original(self, replace(view, configuration=Configuration(voters)))

    patch.setattr(CapabilityNegotiation, "proposal", proposal)
    return {}


def agreements_ignore_silent_members(patch: Patch) -> dict[str, Any]:
    patch.setattr(CapabilityNegotiation, "undeclared", lambda self, view: [])
    return {}


def the_feature_level_may_fall(patch: Patch) -> dict[str, Any]:
    def proposal(self: CapabilityNegotiation, view: RaftView) -> Capabilities | None:
        if self.undeclared(view):
            return None
        host = self._host
        declared = (
            host.member_capabilities.of(i) or host.capabilities for i in view.configuration.ids
        )
        shared = common([*declared])
        return None if shared == host.agreed else shared

    def agree(self: ClusterService, context: CommandContext, capabilities: bytes) -> int:
        agreed = Capabilities.decode(capabilities)
        self._check_level(agreed.level)
        self.agreed, self.agreed_index = agreed, context.index
        return context.index

    patch.setattr(CapabilityNegotiation, "proposal", proposal)
    patch.setattr(ClusterService, "agree", agree)
    return {}


def joining_ignores_capabilities(patch: Patch) -> dict[str, Any]:
    patch.setattr(CapabilityNegotiation, "lacking", lambda self, data: "")
    return {}


def capabilities_are_never_declared(patch: Patch) -> dict[str, Any]:
    async def _declare(self: CapabilityNegotiation) -> None:
        return

    patch.setattr(CapabilityNegotiation, "_declare", _declare)
    return {}


def snapshots_are_taken_while_applying_is_stopped(patch: Patch) -> dict[str, Any]:
    def is_stopped(self: Snapshotter, live: Process) -> bool:
        return False

    patch.setattr(Snapshotter, "is_stopped", is_stopped)
    return {}


def a_stopped_leader_does_not_step_down(patch: Patch) -> dict[str, Any]:
    patch.setattr(RaftCore, "step_down", lambda self, reason: None)
    return {}


_STOPS = ("a server stops applying at a command that it cannot execute",)
_PREFIX = ("a snapshot holds the state at its index",)
_AGREES = ("an agreement holds only what all members declared",)

MUTANTS = (
    Mutant(unknown_commands_are_answered, _STOPS, _mixed),
    Mutant(unknown_commands_are_skipped, _STOPS, _mixed),
    Mutant(
        unknown_services_in_a_snapshot_are_skipped,
        (*_PREFIX, "states converge"),
        lambda plan: _captures(plan) and _brings(plan, "service"),
        200,
    ),
    Mutant(
        unused_services_are_in_snapshots,
        _PREFIX,
        lambda plan: _captures(plan) and _brings(plan, "service"),
    ),
    Mutant(
        admission_accepts_everything,
        ("entries use only what no member lacks", "entries use only agreed capabilities"),
        _mixed,
    ),
    Mutant(admission_ignores_declarations, ("entries use only what no member lacks",), _mixed, 200),
    Mutant(agreements_ignore_learners, _AGREES, _grows),
    Mutant(agreements_ignore_silent_members, _AGREES, _mixed),
    Mutant(
        the_feature_level_may_fall,
        ("the feature level never falls",),
        lambda plan: _brings(plan, "level"),
    ),
    Mutant(
        joining_ignores_capabilities, ("a new server supports the agreed capabilities",), _grows
    ),
    Mutant(
        capabilities_are_never_declared,
        ("recovery",),
        lambda plan: _mixed(plan) and plan.servers > 1,
    ),
    Mutant(
        snapshots_are_taken_while_applying_is_stopped,
        ("no snapshot while applying is stopped",),
        _mixed,
    ),
    Mutant(
        a_stopped_leader_does_not_step_down,
        ("a server that stopped applying does not lead",),
        _mixed,
    ),
)
