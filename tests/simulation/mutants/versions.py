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


def what_is_unknown_is_answered(patch: Patch) -> dict[str, Any]:
    """Answer an unknown command with an error, as braft itself once did."""
    original = StateMachine._execute

    def _execute(self: StateMachine, data: bytes, context: CommandContext) -> Outcome:
        try:
            return original(self, data, context)
        except UnsupportedEncoding as error:
            return UnknownCommand(error.message)

    patch.setattr(StateMachine, "_execute", _execute)
    return {}


def what_is_unknown_is_skipped(patch: Patch) -> dict[str, Any]:
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


def services_nobody_used_are_in_snapshots(patch: Patch) -> dict[str, Any]:
    """Write unused services, as braft once did; a node without them cannot read the snapshot."""
    original = StateMachine.snapshot

    def snapshot(self: StateMachine) -> Iterator[bytes]:
        self._used.update(self.names)
        return original(self)

    patch.setattr(StateMachine, "snapshot", snapshot)
    return {}


def the_gate_lets_everything_pass(patch: Patch) -> dict[str, Any]:
    patch.setattr(CommandAdmission, "refusal", lambda self, data: None)
    return {}


def the_gate_ignores_declarations(patch: Patch) -> dict[str, Any]:
    def _lacking(self: CommandAdmission, need: Need) -> None:
        return None

    patch.setattr(CommandAdmission, "_lacking", _lacking)
    return {}


def learners_have_no_say_in_an_agreement(patch: Patch) -> dict[str, Any]:
    original = CapabilityNegotiation.proposal

    def proposal(self: CapabilityNegotiation, view: RaftView) -> Capabilities | None:
        configuration = view.configuration
        voters = tuple(s for s in configuration.servers if configuration.is_voter(s.id))
        return original(self, replace(view, configuration=Configuration(voters)))

    patch.setattr(CapabilityNegotiation, "proposal", proposal)
    return {}


def the_silent_agree(patch: Patch) -> dict[str, Any]:
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


def who_knows_less_may_join(patch: Patch) -> dict[str, Any]:
    patch.setattr(CapabilityNegotiation, "lacking", lambda self, data: "")
    return {}


def nobody_declares_anything(patch: Patch) -> dict[str, Any]:
    async def _declare(self: CapabilityNegotiation) -> None:
        return

    patch.setattr(CapabilityNegotiation, "_declare", _declare)
    return {}


def a_snapshot_is_taken_while_nothing_is_applied(patch: Patch) -> dict[str, Any]:
    def is_stopped(self: Snapshotter, live: Process) -> bool:
        return False

    patch.setattr(Snapshotter, "is_stopped", is_stopped)
    return {}


def who_applies_nothing_keeps_leading(patch: Patch) -> dict[str, Any]:
    patch.setattr(RaftCore, "step_down", lambda self, reason: None)
    return {}


_STOPS = ("what a server cannot execute stops its applying",)
_PREFIX = ("a snapshot is the state of its prefix",)
_AGREES = ("an agreement is what all members declared",)

MUTANTS = (
    Mutant(what_is_unknown_is_answered, _STOPS, _mixed),
    Mutant(what_is_unknown_is_skipped, _STOPS, _mixed),
    Mutant(
        unknown_services_in_a_snapshot_are_skipped,
        (*_PREFIX, "states converge"),
        lambda plan: _captures(plan) and _brings(plan, "service"),
        200,
    ),
    Mutant(
        services_nobody_used_are_in_snapshots,
        _PREFIX,
        lambda plan: _captures(plan) and _brings(plan, "service"),
    ),
    Mutant(
        the_gate_lets_everything_pass,
        ("nothing is appended that a member lacks", "only what was agreed on is appended"),
        _mixed,
    ),
    Mutant(
        the_gate_ignores_declarations, ("nothing is appended that a member lacks",), _mixed, 200
    ),
    Mutant(learners_have_no_say_in_an_agreement, _AGREES, _grows),
    Mutant(the_silent_agree, _AGREES, _mixed),
    Mutant(
        the_feature_level_may_fall,
        ("the feature level never falls",),
        lambda plan: _brings(plan, "level"),
    ),
    Mutant(who_knows_less_may_join, ("a newcomer that knows less is not added",), _grows),
    Mutant(nobody_declares_anything, ("recovery",), lambda plan: _mixed(plan) and plan.servers > 1),
    Mutant(
        a_snapshot_is_taken_while_nothing_is_applied,
        ("no snapshot while applying is stopped",),
        _mixed,
    ),
    Mutant(
        who_applies_nothing_keeps_leading,
        ("a server that stopped applying does not lead",),
        _mixed,
    ),
)
