"""``braft store import``: a database of etcd becomes a cluster, or is written into one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braft_core.cli.options import (
    DEFAULT_TIMEOUT,
    AsJson,
    Timeout,
    TLSCa,
    TLSCert,
    TLSKey,
    Token,
    Urls,
    connect,
)
from braft_core.cli.output import echo, emit, reports_errors
from braft_core.errors import ConfigError

if TYPE_CHECKING:
    from braft_core.store_import import MadeCluster
    from braft_etcd.database import Database

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the root command of ``braft``."""
    store = typer.Typer()
    store.command("import")(import_database)
    app.add_typer(store, name="store")


def _setting(name: str, meaning: str) -> Any:
    return typer.Option(name, help=meaning, show_default=False)


@reports_errors
def import_database(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="What etcdctl snapshot save wrote, or the file member/snap/db of a stopped etcd.",
        ),
    ],
    data_dir: Annotated[
        str | None,
        _setting("--data-dir", "The data directory to make; it must not exist, or be empty."),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Also write into a store that has keys or leases.")
    ] = False,
    ip: Annotated[str | None, _setting("--ip", "Address the node will have.")] = None,
    rport: Annotated[str | None, _setting("--rport", "Raft port the node will have.")] = None,
    dport: Annotated[str | None, _setting("--dport", "Discovery port it will have.")] = None,
    hport: Annotated[str | None, _setting("--hport", "HTTP port it will have.")] = None,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Import a database of etcd.

    With --data-dir: make a NEW cluster of one node, offline, with all keys, revisions, versions,
    the history and the leases. Without: write the newest values and the leases into the cluster of
    --url; each key then has a new revision.

    JSON: keys, records, revision, compacted, leases, notes; dataDir, serverID, clusterID, address
    of a new cluster.
    """
    from braft_etcd.database import read_database

    new = {"ip": ip, "rport": rport, "dport": dport, "hport": hport}
    chosen = {name: value for name, value in new.items() if value is not None}
    if data_dir is not None:
        if merge or urls:
            raise ConfigError(
                "--data-dir makes a new cluster; accepted: without --merge and --url, which are "
                "for a cluster that runs"
            )
        _make(file, chosen | {"data_dir": data_dir}, as_json)
        return
    if chosen:
        raise ConfigError(f"--{next(iter(chosen))} is for a new cluster; accepted: with --data-dir")
    from braft_etcd.writing import write_into

    database = read_database(file)
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        revision = write_into(client.store, database.contents, merge=merge)
    answer = _facts(database) | {"revision": revision}
    emit(as_json, answer, lambda: _tell(file, database, f"the store is at revision {revision}"))


def _make(file: Path, options: dict[str, str], as_json: bool) -> None:
    """Make a new cluster with these settings."""
    from braft_core.store_import import check_target, make_cluster
    from braft_etcd.database import read_database

    check_target(options["data_dir"])
    database = read_database(file)
    made = make_cluster(database.contents, options, str(file))
    emit(as_json, _facts(database) | _of_cluster(made), lambda: _explain(file, database, made))


def _facts(database: Database) -> dict[str, Any]:
    contents = database.contents
    return {
        "keys": database.keys,
        "records": len(contents.records),
        "revision": contents.revision,
        "compacted": contents.compacted,
        "leases": len(contents.leases),
        "notes": database.notes,
    }


def _of_cluster(made: MadeCluster) -> dict[str, Any]:
    return {
        "dataDir": str(made.data_dir),
        "serverID": made.server_id,
        "clusterID": made.cluster_id,
        "address": made.address,
    }


def _tell(file: Path, database: Database, *more: str) -> None:
    leases = len(database.contents.leases)
    echo(f"imported {file}: {database.keys} keys, {leases} leases", *more)
    for note in database.notes:
        echo(note, err=True)


def _explain(file: Path, database: Database, made: MadeCluster) -> None:
    contents, port = database.contents, made.address.rpartition(":")[2]
    _tell(
        file,
        database,
        f"the store is at revision {contents.revision}, with the history from revision "
        f"{max(contents.compacted, 1)} on",
        f"made {made.data_dir}",
        f"new cluster {made.cluster_id}; its only voter is {made.server_id} at {made.address}",
        "",
        "Now, in this order:",
        "1. start this node, first and alone, with the discovery and cluster name of the others:",
        f"   braft run --data-dir {made.data_dir} --rport {port}",
        "2. start the others with EMPTY data directories and the same discovery: they join as new",
        "   members and are sent the state.",
    )
