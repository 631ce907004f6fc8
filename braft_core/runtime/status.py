"""Facts about a running node for ``GET /raft``, ``braft status`` and ``/readyz``."""

from __future__ import annotations

import asyncio
import functools
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import psutil

from braft_core.addresses import parse_or_none
from braft_core.compat.go_braft.build_info import BuildInfo
from braft_core.compat.go_braft.details import (
    MemberFacts,
    NodeFacts,
    RaftIDFacts,
    cluster_view,
    node_details,
    raft_state,
    silent_node,
)
from braft_core.compat.go_braft.server_id import decode_server_id_or_none, short_id
from braft_core.errors import BraftError
from braft_core.peer import DetailsReply, DetailsRequest, PeerReply, PeerRequest
from braft_core.plugin.distributions import version_of
from braft_core.raft import Configuration, Role, Server
from braft_core.runtime import clock
from braft_core.runtime.components import Components, describe_discovery
from braft_core.runtime.peer_details import read_details

__all__ = ["LogThrottle", "Status"]

#: Most reasons that are remembered; the oldest is dropped first.
REMEMBERED = 64
#: The part of a reason that changes while the reason stays the same: how long it has lasted.
_DURATION = re.compile(r"\d+(\.\d+)? m?s\b")

_UNKNOWN_BUILD = BuildInfo()

Call = Callable[[str, PeerRequest, float], Awaitable[PeerReply]]


class Status:
    """Collects the facts of one node and, on request, of the other members."""

    def __init__(self, components: Components, build: BuildInfo = _UNKNOWN_BUILD) -> None:
        self.components = components
        self._build = build
        self._started_at = datetime.now().astimezone()
        self._started = clock.monotonic()
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only starts the measurement

    def details(
        self,
        *,
        role: Role,
        leader_address: str,
        configuration: Configuration,
        contacts: Sequence[str],
        addresses: Sequence[str],
        applied: int,
        error: str,
        extra: dict[str, Any],
    ) -> dict[str, Any]:
        """Return this node's entry of ``nodes``."""
        components = self.components
        rss, pcpu = self._usage()
        return node_details(
            NodeFacts(
                server_id=components.server_id,
                raft_id=_raft_id(components.server_id),
                address=components.advertised.address,
                raft_state=raft_state(role),
                leader=leader_address,
                app_version=self._build.app_version or _version(),
                started_at=self._started_at,
                uptime_ns=int((clock.monotonic() - self._started) * 1e9),
                build_time=self._build.build_time,
                git_commit=self._build.git_commit,
                discovery_nodes=tuple(contacts),
                addr=tuple(addresses),
                pid=os.getpid(),
                rss=rss,
                pcpu=pcpu,
                raft_port=components.ports.raft,
                discovery_port=components.ports.discovery,
                http_port=components.ports.http,
                node_ids=tuple(short_id(server_id) for server_id in configuration.ids),
                raft_log_sum=applied,
                error=error,
                extra={"braftVersion": _version()} | extra,
            )
        )

    def _usage(self) -> tuple[int, float]:
        """Return memory and processor use, or 0 if the system does not report them.

        That happens without a free file descriptor, when the other facts matter most.
        """
        try:
            return self._process.memory_info().rss, self._process.cpu_percent()
        except (OSError, psutil.Error):
            return 0, 0.0

    async def view(
        self,
        *,
        own: dict[str, Any],
        servers: Sequence[Server],
        leader: tuple[str, str],
        call: Call,
        timeout: float,
        extra: dict[str, Any],
    ) -> dict[str, Any]:
        """Ask every other member for its details; members that do not answer get ``error``."""
        me = self.components.server_id
        nodes = await asyncio.gather(
            *(self._ask(server, call, timeout) for server in servers if server.id != me)
        )
        leader_id, leader_address = leader
        leading = next((node for node in (own, *nodes) if node["serverID"] == leader_id), {})
        return cluster_view(
            current_leader=leader_id == me,
            discovery=describe_discovery(self.components.discovery),
            leader_addr=leader_address,
            leader_id=leader_id,
            members=[_member(node) for node in (own, *nodes)],
            nodes=[own, *nodes],
            servers=servers,
            extra=extra | {"autopilot": leading.get("autopilot", {})},
        )

    @staticmethod
    async def _ask(server: Server, call: Call, timeout: float) -> dict[str, Any]:
        asked = clock.wall_ns() / 1e9
        try:
            reply = await call(server.address, DetailsRequest(), timeout)
        except BraftError as error:
            return silent_node(server, error.message)
        except Exception as error:  # noqa: BLE001 - one member must not cost the view of the others
            return silent_node(server, f"asking it failed: {error!r}")
        if not isinstance(reply, DetailsReply):
            return silent_node(server, f"answered with a {type(reply).__name__}")
        found = read_details(server, reply.json)
        found.pop("clockSkew", None)
        if "wallClock" in found:
            # It was read about halfway between the question and the answer.
            found["clockSkew"] = round(found["wallClock"] - (asked + clock.wall_ns() / 1e9) / 2, 3)
        return found


def _member(node: dict[str, Any]) -> MemberFacts:
    place = parse_or_none(node["address"])
    name = f"{node['serverID']}:{node['raftPort']}"
    return MemberFacts(place.host if place else "", name, int(node["discoveryPort"]))


def _raft_id(server_id: str) -> RaftIDFacts:
    decoded = decode_server_id_or_none(server_id)
    return RaftIDFacts(id=server_id) if decoded is None else RaftIDFacts(**decoded.as_dict())


@functools.cache
def _version() -> str:
    return version_of("braft-core") or "0+unknown"


class LogThrottle:
    """Decides which reasons for not being ready are logged.

    Each is logged once per period in which the node is not ready, however long it lasts and however
    often it comes and goes. ``/readyz`` shows the current one at any time. Not thread-safe.

    :param patience: seconds that a reason may last before it is logged.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: float | None = None
        self._logged: dict[str, None] = {}

    def should_log(self, now: float, reason: str) -> bool:
        """Return whether to log ``reason`` now; "" means ready. To be called periodically.

        :param now: seconds, of any origin.
        """
        if not reason:
            self._since = None
            self._logged.clear()
            return False
        if self._since is None:
            self._since = now
        key = _DURATION.sub("", reason)
        if now - self._since < self._patience or key in self._logged:
            return False
        self._logged[key] = None
        if len(self._logged) > REMEMBERED:
            del self._logged[next(iter(self._logged))]
        return True
