"""What membership is given of the runtime: the implementation of its ports."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from braft_core.abc import Identity, WriteBatch
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
    Entry,
    EntryType,
    HardState,
    RaftCore,
    Role,
    Server,
    encode_configuration,
)
from braft_core.runtime import clock
from braft_core.runtime.components import (
    default_discovery,
    expect_is_a_guess,
    expect_is_listed,
    expect_is_unclear,
)
from braft_core.runtime.meta_keys import BOOTSTRAP_RECORD, CLUSTER_ID
from braft_core.runtime.requests import Command
from braft_core.services.capabilities import Capabilities
from braft_core.services.cluster import agreement_command, is_internal
from braft_core.services.envelope import encode_command
from braft_core.services.members import MEMBERS

if TYPE_CHECKING:
    from braft_core.runtime.engine import Engine

__all__ = ["CommandScan", "MembershipAdapter"]

#: Where nobody said how many there are, seconds before a node founds: announcing and browsing take
#: that long.
_LISTEN = 1.5
#: How long the view must be still.
_MARGIN = 0.3


class MembershipAdapter:
    """See :class:`braft_core.cluster.interface.MembershipHost`.

    Before Raft runs the store is used here, on the loop: these are a few small writes in the life
    of a node, and the writer thread, which alone may touch the store later, does not exist yet.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        settings = engine.components.settings
        guess = expect_is_a_guess(settings, engine.components.discovery)
        self.settings = MembershipSettings(
            cluster_name=settings.cluster_name,
            expect=engine.components.expect,
            expect_is_listed=expect_is_listed(settings, engine.components.discovery),
            expect_is_unclear=expect_is_unclear(settings, engine.components.discovery),
            sleep=random.SystemRandom().uniform(*settings.sleep),
            restart_min=settings.restart_min,
            margin=_MARGIN,
            listen=_LISTEN if guess else 0.0,
            default_discovery=default_discovery(settings, engine.components.discovery),
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
        return self._engine.identity

    def now(self) -> float:
        """Monotonic seconds."""
        return clock.monotonic()

    async def load_bootstrap_record(self) -> bytes | None:
        """The founding record as it was stored last."""
        return self._engine.components.storage.get_meta(BOOTSTRAP_RECORD)

    async def store_bootstrap_record(self, record: bytes) -> None:
        """Store the founding record durably."""
        self._engine.components.storage.set_meta({BOOTSTRAP_RECORD: record})

    async def start_raft(self, cluster_id: str, configuration: Configuration | None) -> None:
        """Become a member, durably: the log first, then the fact, so that a crash repeats it."""
        engine, storage, stored = (
            self._engine,
            self._engine.components.storage,
            self._engine.components.stored,
        )
        if engine.driver is not None:
            if engine.identity.cluster_id != cluster_id:
                raise InvariantViolation(
                    f"a member of cluster {engine.identity.cluster_id} was told to start "
                    f"{cluster_id}"
                )
            return
        if configuration is not None and not stored.entries:
            data = encode_configuration(configuration)
            first = Entry(1, 1, EntryType.CONFIGURATION, data)
            storage.write([WriteBatch(HardState(1, ""), entries=[first])])
            stored.hard_state, stored.entries = HardState(1, ""), [first]
        storage.set_meta({CLUSTER_ID: cluster_id.encode()})
        engine.run_core(cluster_id)

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """Call another node."""
        return await self._engine.call(address, request, timeout)

    def raft_view(self) -> RaftView:
        """Raft's state now."""
        engine = self._engine
        driver = engine.driver
        if driver is None:
            return RaftView()
        core = driver.core
        leads = core.role is Role.LEADER
        leader_id, leader_address = engine.leader
        return RaftView(
            configuration=core.configuration,
            leader_id=leader_id,
            leader_address=leader_address,
            is_leader=leads,
            term=core.current_term,
            has_quorum=leads and core.log.term_at(core.commit_index) == core.current_term,
            change_pending=core.log.configuration_index > core.commit_index,
            last_index=core.last_index,
            # A snapshot outlasts the log: the next cluster's would be read on top of it.
            empty=core.snapshot is None and not self._command_scan.has_command(core),
            peers=_peers(core),
        )

    async def change_membership(self, kind: str, server_id: str, address: str) -> None:
        """Commit one change, as the leader."""
        timeout = self._engine.components.settings.request_timeout
        await self._engine.admin.carry_out(kind, server_id, address, timeout)

    def removals(self) -> list[Removal]:
        """The removals of dead voters that are remembered."""
        return [Removal(*record) for record in self._engine.components.members.removed]

    async def record_removal(self, server: Server, voters: int, reason: str) -> None:
        """Have the cluster remember a removal; it is applied here on return."""
        engine = self._engine
        args = [server.id, server.address, voters, reason]
        data = encode_command(engine.components.serializer, MEMBERS, "record_removal", args)
        timeout = engine.components.settings.request_timeout
        command = Command(data, timeout, asyncio.get_running_loop())
        engine.submit(command)
        await command.awaitable

    @property
    def capabilities(self) -> Capabilities:
        """What this node can execute."""
        return self._engine.components.machine.capabilities

    @property
    def agreed(self) -> Capabilities:
        """What the cluster has agreed on."""
        return self._engine.components.cluster.agreed

    @property
    def member_capabilities(self) -> MemberCapabilities:
        """What the other members have declared."""
        return self._engine.member_capabilities

    @property
    def state_comparison(self) -> StateComparison:
        """The digests of all members' states."""
        return self._engine.digests.comparison

    def compare_states(self) -> None:
        """Compare them, and do what follows."""
        self._engine.digests.compare()

    async def agree(self, capabilities: Capabilities) -> None:
        """Commit an agreement."""
        timeout = self._engine.components.settings.request_timeout
        data = agreement_command(capabilities)
        command = Command(data, timeout, asyncio.get_running_loop())
        self._engine.submit(command)
        await command.awaitable
        self._engine.running().call(lambda: None)  # commands may have waited for it

    def set_campaign_enabled(self, enabled: bool) -> None:
        """Whether this node stands for election."""
        self._engine.set_campaign_enabled(enabled)

    def set_address(self, server_id: str, address: str) -> None:
        """That server is there now."""
        self._engine.set_address(server_id, address)


class CommandScan:
    """Whether a command stands, or once stood, in a log: a cluster with one is not given up.

    What braft appends by itself (:func:`is_internal`) does not count: nobody wrote it.

    Committed entries are looked at once. Those behind them may give way to others of the same
    index, and another core may begin its log anew. Any thread may ask; only the core's own can
    rely on the answer at a moment when entries come.
    """

    def __init__(self) -> None:
        #: One tuple, so that nobody sees half of a change.
        self._seen: tuple[RaftCore | None, int, bool] = (None, 0, False)

    def has_command(self, core: RaftCore) -> bool:
        """Look at what is new."""
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


def _peers(core: RaftCore) -> dict[str, PeerView]:
    if core.role is Role.LEADER:
        return {p.server_id: PeerView(p.silent_for, p.match_index) for p in core.peers()}
    if core.leader:
        return {core.leader: PeerView(core.leader_silent_for)}
    return {}
