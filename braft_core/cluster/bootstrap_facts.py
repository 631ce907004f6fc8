"""Identity and configuration of a node that is not a member of a cluster yet."""

from __future__ import annotations

from dataclasses import dataclass

from braft_core.cluster.timing import DEFAULT_TIMING, ClusterTiming
from braft_core.peer import PROTOCOL_MAX, PROTOCOL_MIN

__all__ = ["BootstrapFacts"]


@dataclass(frozen=True, slots=True)
class BootstrapFacts:
    """What the bootstrap rules know of their own node. Durations in seconds."""

    server_id: str
    address: str
    cluster_name: str
    #: How many nodes bootstrap a cluster together.
    expect: int
    #: Whether ``expect`` is only the length of a list that names every bootstrapping node.
    listed: bool = False
    #: Why the number of bootstrapping nodes is unknown, "" if ``expect`` is it.
    unclear: str = ""
    #: Whether a discovery is configured.
    has_discovery: bool = True
    #: How long the view must be unchanged before a proposal.
    margin: float = 0.3
    #: No proposal sooner than this after discovery first answered: without a configured number of
    #: nodes, the others need time to appear.
    listen: float = 0.0
    #: Added to ``margin``: a random value from the setting ``sleep``.
    sleep: float = 0.0
    #: A secret of this process; see :class:`.probe_slots.ProbeSlots`.
    salt: str = ""
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX
    timing: ClusterTiming = DEFAULT_TIMING
