"""The keyword arguments of :class:`braft_core.Node`, for type checkers.

Each is a setting of :class:`braft_core.config.Settings`; a test holds the two equal.
``docs/settings.md`` explains them. ``None`` means that the setting is not given. The options of
plugins are typed by the plugins' own models::

    Node(discovery="mdns", plugins=[MDNSOptions(...)])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from braft_core.plugin.options import PluginOptions

__all__ = ["NodeOptions", "plain_options"]

#: Seconds, or text with a unit such as ``"1m30s"``.
Duration = float | str
#: A duration, or a range such as ``"10ms-15s"``.
DurationRange = float | str | tuple[float, float]
#: Seconds or a duration, and a number of revisions; as text ``"10m,100000"``.
History = str | tuple[float | str, int]
#: Names, or text with commas between them.
Names = str | list[str] | tuple[str, ...]

AutopilotMode = Literal["on", "dry-run", "off"]
HTTPServerName = Literal["uvicorn", "waitress"]
LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
TLSMode = Literal["off", "prefer", "require"]


class NodeOptions(TypedDict, total=False):
    """The settings of a node but ``services``, which :class:`braft_core.Node` names itself."""

    app_version: str | None
    autopilot: AutopilotMode | None
    build_time: str | None
    cluster_name: str | None
    data_dir: str | Path | None
    dead_after: Duration | None
    digest_interval: Duration | None
    discovery: str | None
    dport: int | None
    election_timeout: Duration | None
    expect: int | None
    gc_freeze: bool | None
    git_commit: str | None
    grpc_reflection: bool | None
    hashicorp_peers: bool | None
    heartbeat_interval: Duration | None
    host: str | None
    hport: int | None
    http: bool | None
    http_hosts: Names | None
    http_server: HTTPServerName | None
    http_tls: bool | None
    http_tls_cert: str | Path | None
    http_tls_key: str | Path | None
    insecure: bool | None
    interface: str | None
    ip: str | None
    k8s_labels: str | None
    k8s_namespace: str | None
    k8s_portname: str | None
    k8s_sleep: DurationRange | None
    leader_steady: Duration | None
    lease_reads: bool | None
    log: LogLevel | None
    log_format: LogFormat | None
    log_stdout: bool | None
    max_outstanding: int | None
    max_value_bytes: int | None
    mdns_service: str | None
    min_voters: int | None
    plugins: Mapping[str, Mapping[str, Any]] | Sequence[PluginOptions] | None
    plugins_disable: Names | None
    removal_window: Duration | None
    request_timeout: Duration | None
    restart_min: Duration | None
    rport: int | None
    serializer: str | None
    sleep: DurationRange | None
    snapshot_bytes: int | None
    snapshot_entries: int | None
    snapshot_max_bytes: int | None
    snapshot_trailing: int | None
    storage: str | None
    store_history: History | None
    store_max_bytes: int | None
    tls: TLSMode | None
    tls_ca: str | Path | None
    tls_cert: str | Path | None
    tls_key: str | Path | None
    tls_peer_names: Names | None
    tls_server_name: str | None
    token: str | None
    token_file: str | Path | None
    transport: str | None


def plain_options(options: NodeOptions) -> dict[str, Any]:
    """Return the options with those of plugins as tables, as ``Settings.load`` takes them."""
    plain: dict[str, Any] = dict(options)
    plugins = plain.get("plugins")
    if isinstance(plugins, (list, tuple)):
        plain["plugins"] = {each.section: each.model_dump(exclude_unset=True) for each in plugins}
    return plain
