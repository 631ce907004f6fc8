"""``braft snapshot``: snapshots of a node, backups as files, and a new cluster from such a file.

JSON: a snapshot is id, index, term, size, members (of the cluster it is from).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braft_core.addresses import parse_address
from braft_core.cli.options import AsJson, Timeout, TLSCa, TLSCert, TLSKey, Token, Urls, connect
from braft_core.cli.output import echo, emit, reports_errors, table
from braft_core.errors import ConfigError

if TYPE_CHECKING:
    from braft_core.client import SnapshotInfo
    from braft_core.raft.types import SnapshotMeta
    from braft_core.runtime.recover_cluster import Restored

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Take, save and restore snapshots.")

#: Seconds: writing a large state takes long.
_PATIENCE = 60.0

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.", show_default=False)]


def _setting(name: str, meaning: str) -> Any:
    return typer.Option(name, help=meaning, show_default=False)


@app.command()
@reports_errors
def take(
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = _PATIENCE,
) -> None:
    """Take a snapshot on the node that answers, and compact its log.

    Nodes do this by themselves as their logs grow.
    """
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        taken = client.take_snapshot()
    emit(as_json, asdict(taken), lambda: echo(f"{taken.id}  {_extent(taken)}"))


@app.command("list")
@reports_errors
def list_snapshots(
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = _PATIENCE,
) -> None:
    """List the snapshots that the node which answers holds, newest first.

    JSON: snapshots, a list.
    """
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        found = client.snapshots()
    rows = [[s.id, s.index, s.term, s.size] for s in found]
    answer = {"snapshots": [asdict(snapshot) for snapshot in found]}
    emit(as_json, answer, lambda: table(["ID", "INDEX", "TERM", "BYTES"], rows))


@app.command()
@reports_errors
def save(
    file: File,
    snapshot_id: Annotated[
        str | None,
        typer.Option("--id", help="An existing snapshot; default: take one now."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace FILE, once the new one is complete.")
    ] = False,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = _PATIENCE,
) -> None:
    """Save a snapshot to FILE and verify it. FILE must not exist; only you can read it.

    JSON: the snapshot, with file, bytes (of the file), clusterName, clusterID.
    """
    if not force and os.path.lexists(file):
        raise ConfigError(f"FILE={str(file)!r} exists; accepted: a new name, or --force")
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        total = None
        if snapshot_id is None:
            taken = client.take_snapshot()
            snapshot_id, total = taken.id, taken.size
        with _progress(f"saving {file}", total) as progress:
            saved = client.download_snapshot(snapshot_id, file, progress, overwrite=force)
    answer = asdict(saved.info) | {
        "bytes": saved.file_size,
        "clusterName": saved.cluster_name,
        "clusterID": saved.cluster_id,
        "file": str(file),
    }
    emit(as_json, answer, lambda: echo(f"saved {file}: {_extent(saved.info)}"))


@app.command()
@reports_errors
def restore(
    file: File,
    data_dir: Annotated[
        str,
        _setting("--data-dir", "The data directory to make; it must not exist, or be empty."),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    ip: Annotated[str | None, _setting("--ip", "Address the node will have.")] = None,
    interface: Annotated[
        str | None, _setting("--interface", "Interface to take the address from.")
    ] = None,
    rport: Annotated[str | None, _setting("--rport", "Raft port the node will have.")] = None,
    dport: Annotated[str | None, _setting("--dport", "Discovery port it will have.")] = None,
    hport: Annotated[str | None, _setting("--hport", "HTTP port it will have.")] = None,
) -> None:
    """Make a NEW cluster of one node from FILE, if the old cluster is lost for good.

    Works offline: it contacts and starts no node, and makes one new data directory. The file is
    verified first. JSON: dataDir, serverID, clusterID, address, snapshot.
    """
    from braft_core.cli.defaults import command_settings
    from braft_core.runtime import recover_cluster
    from braft_core.storage.snapshot_file import describe_file

    given = {"ip": ip, "interface": interface, "rport": rport, "dport": dport, "hport": hport}
    chosen = {name: value for name, value in given.items() if value is not None}
    settings = command_settings(chosen | {"data_dir": data_dir})
    recover_cluster.check_target(settings.data_dir)
    described = describe_file(file)
    if not yes:
        _confirm(file, described, data_dir, may_ask=not as_json)
    with _progress(f"restoring {file}", described.size) as progress:
        made = recover_cluster.restore(file, settings, progress)
    emit(as_json, _summary(made), lambda: _explain(file, made))


def _confirm(file: Path, described: SnapshotMeta, data_dir: str, *, may_ask: bool) -> None:
    if not may_ask or not sys.stdin.isatty():
        raise ConfigError(
            "restoring makes a new cluster; accepted: --yes, if no terminal can confirm it"
        )
    members = ", ".join(server.address for server in described.configuration.servers)
    echo(
        f"{file}: {_extent(described)}, of a cluster of {members}.",
        f"{data_dir} becomes the first node of a NEW cluster with this state. What the old one",
        "wrote later is not in it, and the old members will be refused.",
    )
    typer.confirm("Go on?", abort=True)


def _summary(made: Restored) -> dict[str, Any]:
    meta = made.snapshot
    return {
        "dataDir": str(made.data_dir),
        "serverID": made.new_cluster.server_id,
        "clusterID": made.new_cluster.cluster_id,
        "address": made.new_cluster.address,
        "snapshot": {
            "index": meta.index,
            "term": meta.term,
            "size": meta.size,
            "members": list(meta.configuration.ids),
        },
    }


def _explain(file: Path, made: Restored) -> None:
    new = made.new_cluster
    port = parse_address(new.address).port
    echo(
        f"verified {file}: {_extent(made.snapshot)}",
        f"made {made.data_dir}",
        f"new cluster {new.cluster_id}; its only voter is {new.server_id} at {new.address}",
        "",
        "Now, in this order:",
        "1. start this node, first and alone, with the discovery and cluster name of the others:",
        f"   braft run --data-dir {made.data_dir} --rport {port}",
        "2. start the others with EMPTY data directories and the same discovery: they join as new",
        "   members and are sent the state.",
        "Data directories of the old cluster must not be used again: nodes that run on them are",
        "of another cluster and are refused.",
    )


def _extent(snapshot: SnapshotInfo | SnapshotMeta) -> str:
    return f"index {snapshot.index}, term {snapshot.term}, {snapshot.size} bytes"


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """Show a progress bar on a terminal, nothing elsewhere.

    :param total: bytes; ``None`` if not known.
    """
    if not sys.stderr.isatty():
        yield lambda size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(*columns, TransferSpeedColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda size: bar.update(task, completed=size)
