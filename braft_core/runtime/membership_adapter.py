"""The host of membership: gives it time, store, Raft and transport of this node."""

from __future__ import annotations

import asyncio
from typing import Protocol

from braft_core.abc import Identity
from braft_core.cluster.interface import (
    AutopilotRules,
    MembershipSettings,
    PeerView,
    RaftView,
    Removal,
)
from braft_core.cluster.member_capabilities import MemberCapabilities
from braft_core.cluster.state_comparison import StateComparison
from braft_core.errors import InvariantViolation
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft import (
    Configuration,
    EntryType,
    RaftCore,
    Role,
    Server,
)
from braft_core.runtime import clock
from braft_core.runtime.admin import Admin
from braft_core.runtime.components import (
    Components,
    default_discovery,
    expect_is_a_guess,
    expect_is_listed,
    expect_is_unclear,
)
from braft_core.runtime.digests import StateDigests
from braft_core.runtime.meta_keys import BOOTSTRAP_RECORD, CLUSTER_ID
from braft_core.runtime.peer_addresses import PeerAddresses
from braft_core.runtime.replica import Replica
from braft_core.runtime.requests import Command, Query
from braft_core.services.capabilities import Capabilities
from braft_core.services.cluster import agreement_command, is_internal
from braft_core.services.envelope import encode_command
from braft_core.services.members import MEMBERS

__all__ = ["CommandScan", "MembershipAdapter"]


class _Server(Protocol):
    """What the adapter needs of the server."""

    @property
    def components(self) -> Components:
        """The components of the node."""

    @property
    def identity(self) -> Identity:
        """Who this node is."""

    @property
    def replica(self) -> Replica | None:
        """The member part, if the node is a member."""

    @property
    def addresses(self) -> PeerAddresses:
        """Where the other servers are."""

    @property
    def admin(self) -> Admin:
        """Changes of membership and leadership."""

    @property
    def digests(self) -> StateDigests:
        """The digests of the members' states."""

    @property
    def member_capabilities(self) -> MemberCapabilities:
        """What the other members have declared."""

    @property
    def leader(self) -> tuple[str, str]:
        """Id and address of the known leader."""

    def running(self) -> Replica:
        """Return the replica. :raises NotReady: this node is in no cluster."""

    def start_replica(self, cluster_id: str) -> None:
        """Become a member of a cluster."""

    def submit(self, request: Command | Query) -> None:
        """Take a request."""

    def set_campaign_enabled(self, enabled: bool) -> None:
        """Allow or forbid campaigns."""


class MembershipAdapter:
    """See :class:`braft_core.cluster.interface.MembershipHost`.

    Before Raft runs the store is used here, on the loop: these are a few small writes in the life
    of a node, and the writer thread, which alone may touch the store later, does not exist yet.
    """

    def __init__(self, server: _Server) -> None:
        self._server = server
        settings, timing = server.components.settings, server.components.timing
        guess = expect_is_a_guess(settings, server.components.discovery)
        self.settings = MembershipSettings(
            cluster_name=settings.cluster_name,
            expect=server.components.expect,
            expect_is_listed=expect_is_listed(settings, server.components.discovery),
            expect_is_unclear=expect_is_unclear(settings, server.components.discovery),
            sleep=_between(*settings.sleep, server.components.platform.random()),
            salt=server.components.platform.random_bytes(16).hex(),
            restart_min=settings.restart_min,
            margin=timing.discovery_margin,
            listen=timing.discovery_listen if guess else 0.0,
            timing=timing.cluster,
            default_discovery=default_discovery(settings, server.components.discovery),
            autopilot=AutopilotRules(
                mode=settings.autopilot,
                stabilization_time=settings.leader_steady,
                dead_after=settings.dead_after,
                min_quorum=settings.min_voters,
                window=settings.removal_window,
            ),
        )
        self._command_scan = CommandScan()

    @property
    def identity(self) -> Identity:
        """Who this node is."""
        return self._server.identity

    def now(self) -> float:
        """Monotonic seconds."""
        return clock.monotonic()

    async def load_bootstrap_record(self) -> bytes | None:
        """Return the bootstrap record that was stored last."""
        return self._server.components.storage.get_meta(BOOTSTRAP_RECORD)

    async def store_bootstrap_record(self, record: bytes) -> None:
        """Store the bootstrap record durably."""
        self._server.components.storage.set_meta({BOOTSTRAP_RECORD: record})

    async def start_raft(self, cluster_id: str, configuration: Configuration | None) -> None:
        """Become a member, durably: first the log, then the cluster id; a crash repeats both."""
        server, components = self._server, self._server.components
        if server.replica is not None:
            if server.identity.cluster_id != cluster_id:
                raise InvariantViolation(
                    f"a member of cluster {server.identity.cluster_id} was told to start "
                    f"{cluster_id}"
                )
            return
        if configuration is not None:
            components.initial.bootstrap(configuration)
        components.storage.set_meta({CLUSTER_ID: cluster_id.encode()})
        server.start_replica(cluster_id)

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """Call another node."""
        return await self._server.components.transport.call(address, request, timeout)

    def raft_view(self) -> RaftView:
        """Raft's state now."""
        server = self._server
        if server.replica is None:
            return RaftView()
        core = server.replica.core
        leads = core.role is Role.LEADER
        leader_id, leader_address = server.leader
        return RaftView(
            configuration=core.configuration,
            leader_id=leader_id,
            leader_address=leader_address,
            is_leader=leads,
            term=core.current_term,
            has_quorum=leads and core.log.term_at(core.commit_index) == core.current_term,
            change_pending=core.log.configuration_index > core.commit_index,
            last_index=core.last_index,
            # A snapshot outlasts the log; the state of the next cluster would be built on it.
            empty=core.snapshot is None and not self._command_scan.has_command(core),
            peers=_peers(core),
        )

    async def change_membership(self, kind: str, server_id: str, address: str) -> None:
        """Commit one change, as the leader."""
        timeout = self._server.components.settings.request_timeout
        await self._server.admin.carry_out(kind, server_id, address, timeout)

    def removals(self) -> list[Removal]:
        """Return the removals of dead voters that are recorded."""
        return [Removal(*record) for record in self._server.components.members.removed]

    async def record_removal(self, server: Server, voters: int, reason: str) -> None:
        """Have the cluster remember a removal; it is applied here on return."""
        components = self._server.components
        args = [server.id, server.address, voters, reason]
        data = encode_command(components.serializer, MEMBERS, "record_removal", args)
        timeout = components.settings.request_timeout
        command = Command(data, timeout, asyncio.get_running_loop())
        self._server.submit(command)
        await command.awaitable

    @property
    def capabilities(self) -> Capabilities:
        """What this node can execute."""
        return self._server.components.machine.capabilities

    @property
    def agreed(self) -> Capabilities:
        """What the cluster has agreed on."""
        return self._server.components.cluster.agreed

    @property
    def member_capabilities(self) -> MemberCapabilities:
        """What the other members have declared."""
        return self._server.member_capabilities

    @property
    def state_comparison(self) -> StateComparison:
        """The digests of all members' states."""
        return self._server.digests.comparison

    def compare_states(self) -> None:
        """Compare them, and do what follows."""
        self._server.digests.compare()

    async def agree(self, capabilities: Capabilities) -> None:
        """Commit an agreement."""
        timeout = self._server.components.settings.request_timeout
        data = agreement_command(capabilities)
        command = Command(data, timeout, asyncio.get_running_loop())
        self._server.submit(command)
        await command.awaitable
        self._server.running().driver.call(lambda: None)  # commands may have waited for it

    def set_campaign_enabled(self, enabled: bool) -> None:
        """Allow or forbid elections started by this node."""
        self._server.set_campaign_enabled(enabled)

    def set_address(self, server_id: str, address: str) -> None:
        """Use another address for a server."""
        self._server.addresses.set(server_id, address)


class CommandScan:
    """Finds out whether a log holds, or ever held, a command: such a cluster is not abandoned.

    Commands that braft appends itself (:func:`is_internal`) do not count.

    Committed entries are read once. Later entries may be replaced, and another core begins a new
    log. *Any thread*; the answer is exact only on the thread of the core.
    """

    def __init__(self) -> None:
        #: One tuple, so that no thread sees half of a change.
        self._seen: tuple[RaftCore | None, int, bool] = (None, 0, False)

    def has_command(self, core: RaftCore) -> bool:
        """Return whether the log has, or had, a command of a caller."""
        whose, looked_at, written = self._seen
        if core is not whose:
            looked_at, written = 0, False
        if not written:
            committed, log = core.commit_index, core.log  # read first: the core may go on meanwhile
            fresh = log.slice(max(looked_at + 1, log.first_index), log.last_index + 1)
            written = log.compacted_index > 0 or any(
                e.type == EntryType.COMMAND and not is_internal(e.data) for e in fresh
            )
            self._seen = (core, committed, written)
        return written


def _between(least: float, most: float, share: float) -> float:
    return least + (most - least) * share


def _peers(core: RaftCore) -> dict[str, PeerView]:
    if core.role is Role.LEADER:
        return {p.server_id: PeerView(p.silent_for, p.match_index) for p in core.peers()}
    if core.leader:
        return {core.leader: PeerView(core.leader_silent_for)}
    return {}
