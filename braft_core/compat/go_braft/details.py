"""The JSON of ``GET /raft``: its keys, their order and their spelling.

It has the shape of the Go original, which users' scripts read; ``goVersion`` became
``pythonVersion``. Pure: callers pass the facts in. ``extra`` adds keys and overrides none.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from braft_core.addresses import parse_or_none
from braft_core.raft.types import Role, Server

__all__ = [
    "MemberFacts",
    "NodeFacts",
    "RaftIDFacts",
    "cluster_view",
    "format_duration",
    "node_details",
    "python_version",
    "raft_state",
    "silent_node",
]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RaftIDFacts:
    """The parts of a server id."""

    id: str = ""
    hostname: str = ""
    ip: str = ""
    sqid: str = ""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The facts about one node for :func:`node_details`."""

    server_id: str
    raft_id: RaftIDFacts
    #: Advertised ``host:port`` of the Raft port.
    address: str
    #: See :func:`raft_state`.
    raft_state: str
    #: Address of the leader this node knows, "" if none.
    leader: str
    app_version: str
    #: With a time zone.
    started_at: datetime
    #: Nanoseconds since the start, from a monotonic clock.
    uptime_ns: int
    build_time: str
    git_commit: str
    #: The contacts of the discovery now.
    discovery_nodes: tuple[str, ...]
    #: Addresses of this node.
    addr: tuple[str, ...]
    pid: int
    #: Resident memory in bytes.
    rss: int
    #: Percent of one CPU.
    pcpu: float
    raft_port: int
    discovery_port: int
    http_port: int
    #: Short ids (``raftID.id``) of the cluster's members, in configuration order.
    node_ids: tuple[str, ...] = ()
    #: Number of commands applied, as the original counts them.
    raft_log_sum: int = 0
    #: Data that the application publishes; omitted if ``None``.
    biz_data: Any = None
    #: Why this node is not ready; omitted if empty.
    error: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """One member in ``memberList``; ``name`` is ``<server id>:<raft port>``."""

    addr: str
    name: str
    #: Its discovery port.
    port: int


def node_details(facts: NodeFacts) -> dict[str, Any]:
    """Return one entry of ``nodes``."""
    shape: dict[str, Any] = {
        "serverID": facts.server_id,
        "buildTime": facts.build_time,
        "duration": format_duration(facts.uptime_ns),
        "address": facts.address,
        "raftState": facts.raft_state,
        "leader": facts.leader,
        "appVersion": facts.app_version,
        "startTime": facts.started_at.isoformat(),
        "pythonVersion": python_version(),
        "gitCommit": facts.git_commit,
        "discoveryNodes": list(facts.discovery_nodes),
        "addr": list(facts.addr),
        "raftID": {
            "id": facts.raft_id.id,
            "hostname": facts.raft_id.hostname,
            "ip": facts.raft_id.ip,
            "sqid": facts.raft_id.sqid,
        },
        "raftLogSum": facts.raft_log_sum,
        "pid": facts.pid,
        "rss": facts.rss,
        "pcpu": facts.pcpu,
        "raftPort": facts.raft_port,
        "discoveryPort": facts.discovery_port,
        "httpPort": facts.http_port,
        "nodeIds": list(facts.node_ids),
    }
    if facts.biz_data is not None:
        shape["bizData"] = facts.biz_data
    if facts.error:
        shape["error"] = facts.error
    return _extended(shape, facts.extra)


def silent_node(server: Server, error: str) -> dict[str, Any]:
    """Return the entry of a member that did not answer: all keys, empty values, ``error``."""
    place = parse_or_none(server.address)
    return {
        "serverID": server.id,
        "buildTime": "",
        "duration": "",
        "address": server.address,
        "raftState": "",
        "leader": "",
        "appVersion": "",
        "startTime": "",
        "error": error,
        "pythonVersion": "",
        "gitCommit": "",
        "discoveryNodes": [],
        "addr": [],
        "raftID": {"id": "", "hostname": "", "ip": place.host if place else "", "sqid": ""},
        "raftLogSum": 0,
        "pid": 0,
        "rss": 0,
        "pcpu": 0.0,
        "raftPort": place.port if place else 0,
        "discoveryPort": 0,
        "httpPort": 0,
        "nodeIds": [],
    }


def cluster_view(
    *,
    current_leader: bool,
    discovery: str,
    leader_addr: str,
    leader_id: str,
    members: Sequence[MemberFacts],
    nodes: Sequence[Mapping[str, Any]],
    servers: Sequence[Server],
    extra: Mapping[str, Any] = _NOTHING,
) -> dict[str, Any]:
    """Return the JSON of ``GET /raft``.

    :param current_leader: whether the answering node leads.
    :param nodes: :func:`node_details` or :func:`silent_node` of every member.
    :param servers: the Raft configuration.
    """
    shape: dict[str, Any] = {
        "currentLeader": current_leader,
        "discovery": discovery,
        "leaderAddr": leader_addr,
        "leaderID": leader_id,
        "memberList": [{"addr": m.addr, "name": m.name, "port": m.port} for m in members],
        "nodeNum": len(nodes),
        "nodes": [dict(node) for node in nodes],
        "raftServers": [
            {"suffrage": int(s.suffrage), "id": s.id, "address": s.address} for s in servers
        ],
    }
    return _extended(shape, extra)


def raft_state(role: Role) -> str:
    """Return the original's word for a role; a pre-candidate counts as a candidate."""
    return {Role.LEADER: "Leader", Role.FOLLOWER: "Follower"}.get(role, "Candidate")


def python_version() -> str:
    """Return the interpreter's version in the form ``python3.12.4_linux/x86_64``."""
    return f"python{platform.python_version()}_{sys.platform}/{platform.machine()}"


def format_duration(nanoseconds: int) -> str:
    """Return a duration as Go prints it: ``59.048655379s``, ``34m56.05s``, ``1h0m3s``."""
    if nanoseconds < 0:
        return "-" + format_duration(-nanoseconds)
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if nanoseconds < size * 1000:
            return _decimal(nanoseconds, size) + unit
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    prefix = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{prefix}{_decimal(rest, 10**9)}s"


def _decimal(amount: int, unit: int) -> str:
    """Return ``amount / unit`` exactly, without trailing zeros. ``unit`` is a power of ten."""
    whole, fraction = divmod(amount, unit)
    if not fraction:
        return str(whole)
    return f"{whole}.{fraction:0{len(str(unit)) - 1}d}".rstrip("0")


def _extended(shape: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    return shape | {key: value for key, value in extra.items() if key not in shape}
