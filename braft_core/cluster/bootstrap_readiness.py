"""Whether this node may propose a cluster now, and if not, the reason.

Owns the conditions on the discovery view: complete, free of contradictions, unchanged for a while,
confirmed by a last round of probes. Pure: time in seconds is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from braft_core.cluster.bootstrap_expect import BootstrapExpect
from braft_core.cluster.bootstrap_facts import BootstrapFacts
from braft_core.cluster.discovery_view import DiscoveryView, contradictions
from braft_core.cluster.messages import too_few_nodes_message
from braft_core.peer import ProbeReply

__all__ = ["Readiness"]


class Readiness:
    """Checks the conditions of a proposal. Remembers when the confirming probes were requested."""

    def __init__(self, view: DiscoveryView) -> None:
        self._view = view
        self._confirm_from = inf

    def reset(self) -> None:
        """Require new confirming probes before the next proposal."""
        self._confirm_from = inf

    def obstacle(
        self,
        now: float,
        facts: BootstrapFacts,
        count: BootstrapExpect,
        replies: Sequence[ProbeReply],
        unresolved: Sequence[str],
    ) -> str:
        """Return why this node does not propose now, "" if it may.

        :param replies: the current replies of other nodes of our cluster name.
        :param unresolved: entries of the discovery's list that lead to no contact now.
        """
        obstacle = self._view_obstacle(facts, count, replies, unresolved)
        obstacle = obstacle or self._stability_obstacle(now, facts, count)
        if obstacle:
            self.reset()
            return obstacle
        smallest = min(replies, key=lambda r: r.server_id, default=None)
        if smallest is not None and smallest.server_id < facts.server_id:
            self.reset()
            return f"waiting for {smallest.address}, which has the smallest id, to propose"
        return self._confirmation_obstacle(now, count, replies)

    def _view_obstacle(
        self,
        facts: BootstrapFacts,
        count: BootstrapExpect,
        replies: Sequence[ProbeReply],
        unresolved: Sequence[str],
    ) -> str:
        view = self._view
        if view.listing_failure:
            return f"discovery failed: {view.listing_failure}"
        if not view.ever_listed:
            return "waiting for discovery"
        if facts.unclear:
            return count.obstacle
        counted = replace(facts, expect=count.expect)
        if reasons := contradictions(counted, replies):
            return "; ".join(reasons)
        if not view.settled:
            return "waiting for the first answers"
        if count.obstacle:
            return count.obstacle
        if len(replies) + 1 < count.expect:
            return too_few_nodes_message(counted, replies, view.silent(), unresolved)
        return ""

    def _stability_obstacle(self, now: float, facts: BootstrapFacts, count: BootstrapExpect) -> str:
        margin = facts.margin + facts.sleep if facts.has_discovery else 0.0
        listened = now - self._view.first_listed
        if now - self._view.unchanged_since < margin or listened < facts.listen:
            return f"all {count.expect} nodes found; waiting until nothing changes"
        return ""

    def _confirmation_obstacle(
        self, now: float, count: BootstrapExpect, replies: Sequence[ProbeReply]
    ) -> str:
        """Require one more answer of every future member, right before the proposal."""
        chosen = sorted(r.server_id for r in replies)[: count.expect - 1]
        if self._confirm_from == inf:
            self._confirm_from = now
            self._view.probe_now(chosen)
        late = [c for c in chosen if self._view.answered_at(c) < self._confirm_from]
        return f"probing {len(late)} nodes once more" if late else ""
