"""Requests of operators to a server. A rejection is allowed; any other error is not."""

from __future__ import annotations

from braft_core.errors import Conflict, NotApplied, Rejected
from braft_core.raft.types import EntryType, Role
from braft_testing.simulation.core import Core
from braft_testing.simulation.server import Server

__all__ = ["administer", "fill"]


def fill(server: Server, count: int, kind: EntryType = EntryType.BARRIER) -> None:
    """Propose entries that no client waits for."""
    try:
        server.process.core.propose([b""] * count, type=kind)
    except NotApplied as refusal:
        server.world.trace.add(f"{server.id} {kind.name}: {type(refusal).__name__}")


def administer(server: Server, what: str, target: str) -> None:
    """Change the membership, or transfer leadership (``what`` is ``transfer``)."""
    core, trace = server.process.core, server.world.trace
    if (
        server.world.plan.bootstrap
        and what in ("promote", "add_voter")
        and not _known(core, target)
    ):
        trace.add(f"{server.id} {what} {target}: not caught up")
        return
    try:
        if what == "transfer":
            core.transfer_leadership(target)
        else:
            _check_capabilities(server, what, target)
            core.change_membership(what, target, target)
        trace.add(f"{server.id} {what} {target}: accepted")
    except (NotApplied, Rejected, Conflict) as refusal:
        trace.add(f"{server.id} {what} {target}: {type(refusal).__name__}")


def _check_capabilities(server: Server, what: str, target: str) -> None:
    """Check what a new server can execute.

    :raises Conflict: if it lacks something.
    """
    live, newcomer = server.process, server.world.servers[target]
    if live.negotiation is None or live.core.configuration.get(target) is not None:
        return
    if what in ("add_voter", "add_nonvoter") and live.core.role is Role.LEADER:
        live.negotiation.check_operator_addition(target, newcomer.declaration)


def _known(core: Core, target: str) -> bool:
    """Return whether the target is a voter, or a learner that has answered this leader.

    A node that does not know yet that it is a member must not become a voter (``runtime.admin``
    ensures that): it would look like a voter that lost its data.
    """
    matched = any(peer.server_id == target and peer.match_index for peer in core.peers())
    return matched or target in core.configuration.voters
