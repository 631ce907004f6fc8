"""Bootstrap proposals that other nodes have accepted and that may yet start.

Owns which nodes hold which proposal and when each was seen last. Pure: time in seconds is passed
in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from braft_core.peer import ProbeReply

__all__ = ["OtherProposals"]


@dataclass(slots=True)
class _Seen:
    last_seen: float
    #: Server ids of the nodes that accepted it.
    holders: set[str] = field(default_factory=set)
    #: Whether a holder has shown its content.
    shown: bool = False


class OtherProposals:
    """Proposals seen in probe replies, by cluster id."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def __bool__(self) -> bool:
        return bool(self._seen)

    @property
    def cluster_ids(self) -> list[str]:
        """The cluster ids of all, sorted."""
        return sorted(self._seen)

    def forget_replaced(self, reply: ProbeReply) -> None:
        """Drop proposals that a holder no longer holds.

        A node abandons a proposal only after a rejection, so that proposal can never start.
        """
        for cluster_id, seen in list(self._seen.items()):
            if reply.server_id in seen.holders and reply.cluster_id != cluster_id:
                del self._seen[cluster_id]

    def add(self, now: float, cluster_id: str, holder: str) -> None:
        """Note that a node holds the proposal for that cluster."""
        seen = self._seen.setdefault(cluster_id, _Seen(now))
        seen.last_seen = now
        seen.holders.add(holder)

    def is_hidden(self, cluster_id: str) -> bool:
        """Return whether the proposal is known and its content is not."""
        seen = self._seen.get(cluster_id)
        return seen is not None and not seen.shown

    def mark_shown(self, cluster_id: str) -> None:
        """Note that a holder has shown the content."""
        if cluster_id in self._seen:
            self._seen[cluster_id].shown = True

    def __contains__(self, cluster_id: str) -> bool:
        return cluster_id in self._seen

    def take_lost(self, now: float, patience: float) -> list[str]:
        """Remove the proposals not seen for ``patience`` seconds; return their cluster ids."""
        lost = [i for i, seen in self._seen.items() if now - seen.last_seen > patience]
        for cluster_id in lost:
            del self._seen[cluster_id]
        return lost

    def clear(self) -> None:
        """Forget all."""
        self._seen.clear()
