"""Planted bugs of elections and replication on slow disks."""

from __future__ import annotations

from typing import Any

from braft_core.raft import durability, election
from braft_core.raft.messages import RequestVoteResponse
from braft_core.raft.progress import Progress
from braft_core.raft.state import RaftState
from braft_core.raft.types import Role
from braft_testing.simulation.plan import Plan
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]


def _slow(plan: Plan) -> bool:
    """Return whether every sync of the whole run takes longer than the timeouts."""
    timeout = plan.config.election_timeout + plan.config.election_jitter
    return plan.initial_voters >= 3 and plan.slow_syncs > timeout and not plan.uneven_syncs


def a_campaign_does_not_wait_for_the_disk(patch: Patch) -> dict[str, Any]:
    """Campaign again before the last vote is stored, as braft once did; no election succeeds."""

    def election_tick(state: RaftState) -> None:
        if state.now < max(state.election_deadline, state.vote_lease_until):
            return
        state.reset_election_timer()
        if state.may_campaign and state.campaign_enabled:
            election.pre_campaign(state, "election timeout")

    patch.setattr(election, "election_tick", election_tick)
    return {}


def late_votes_are_ignored(patch: Patch) -> dict[str, Any]:
    original = election.on_vote_response

    def on_vote_response(state: RaftState, message: RequestVoteResponse) -> None:
        if state.role is Role.CANDIDATE:
            original(state, message)

    patch.setattr(election, "on_vote_response", on_vote_response)
    patch.setattr(durability, "_wait_for_others", lambda state: None)
    return {}


def late_acknowledgements_are_ignored(patch: Patch) -> dict[str, Any]:
    """Ignore late acknowledgements, as braft once did; a slow follower never catches up."""
    original = Progress.probe

    def probe(self: Progress, next_index: int | None = None, *, pause: bool = False) -> None:
        original(self, next_index, pause=pause)
        self.late.clear()

    patch.setattr(Progress, "probe", probe)
    return {}


def a_leader_steps_down_on_any_slow_disk(patch: Patch) -> dict[str, Any]:
    """Step down although the others' disks are no faster, as braft itself once did."""

    def is_outpaced(state: RaftState) -> bool:
        unsynced = state.unsynced
        return bool(unsynced) and state.now - unsynced[0].emitted_at > state.config.disk_patience

    patch.setattr(durability, "is_outpaced", is_outpaced)
    return {}


MUTANTS = (
    Mutant(
        a_campaign_does_not_wait_for_the_disk,
        ("no campaign before the last vote is durable", "recovery"),
    ),
    Mutant(late_votes_are_ignored, ("recovery",), _slow),
    Mutant(
        late_acknowledgements_are_ignored,
        ("recovery",),
        lambda plan: _slow(plan) and plan.config.max_append_entries <= 4,
    ),
    Mutant(
        a_leader_steps_down_on_any_slow_disk,
        ("recovery",),
        lambda plan: _slow(plan) and plan.slow_syncs > 2 * plan.config.disk_patience,
    ),
)
