"""``braft run``: run one node with the settings of this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braft_core.cli.output import echo, reports_errors

if TYPE_CHECKING:
    from braft_core.config import Settings
    from braft_core.node import Node

__all__ = ["run"]


def _setting(name: str, meaning: str) -> Any:
    return typer.Option(name, help=meaning, show_default=False)


@reports_errors
def run(
    discovery: Annotated[
        str | None, _setting("--discovery", "How to find other nodes: mdns, static:a,b,c, k8s, …")
    ] = None,
    expect: Annotated[
        str | None, _setting("--expect", "How many nodes bootstrap a new cluster together.")
    ] = None,
    ip: Annotated[str | None, _setting("--ip", "Address to advertise.")] = None,
    interface: Annotated[
        str | None, _setting("--interface", "Interface to take the address from.")
    ] = None,
    host: Annotated[str | None, _setting("--host", "Address to listen on.")] = None,
    rport: Annotated[str | None, _setting("--rport", "Raft port.")] = None,
    dport: Annotated[str | None, _setting("--dport", "Discovery port.")] = None,
    hport: Annotated[str | None, _setting("--hport", "HTTP port.")] = None,
    data_dir: Annotated[
        str | None, _setting("--data-dir", "Data directory; :memory: keeps nothing on disk.")
    ] = None,
    cluster_name: Annotated[
        str | None, _setting("--cluster-name", "Only nodes with the same name form a cluster.")
    ] = None,
    serializer: Annotated[str | None, _setting("--serializer", "Serializer of commands.")] = None,
    services: Annotated[
        str | None, _setting("--services", "State-machine services, by name.")
    ] = None,
    log: Annotated[str | None, _setting("--log", "Level: debug, info, warning, error.")] = None,
    log_format: Annotated[str | None, _setting("--log-format", "console or json.")] = None,
) -> None:
    """Run a node until SIGTERM or Ctrl-C.

    These settings, given as options, overrule BRAFT_* variables and braft.toml. All other settings
    have no option; braft config lists them.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    _serve(given)


def _serve(given: dict[str, str]) -> None:
    from braft_core.cli import logs
    from braft_core.cli.defaults import command_settings

    settings = command_settings(given)
    logs.set_up(settings.log, settings.log_format, stdout=settings.log_stdout)

    from braft_core.node import Node

    node = Node(settings=settings)

    def listening() -> None:
        # The node keeps running if standard output cannot be written.
        with suppress(OSError):
            for line in _announcement(node, settings):
                echo(line)

    node.run(listening)


def _announcement(node: Node, settings: Settings) -> Iterator[str]:
    scheme = "http" if settings.http_tls_files is None else "https"
    serves = f"HTTP on {scheme}://{node.http_address}" if node.http_address else "no HTTP"
    yield f"Raft on {node.address}, {serves}"
    if settings.provenance["discovery"] == "default" and settings.discovery != "none":
        yield (
            "BRAFT_DISCOVERY is not set: looking for nodes of the cluster "
            f"{settings.cluster_name!r} by {settings.discovery} on the network; "
            "BRAFT_DISCOVERY=none keeps this node alone, on loopback"
        )
