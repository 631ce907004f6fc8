"""``braft leader``: show the leader, and transfer leadership. JSON: id, address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from braft_core.cli.members import member_id
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
from braft_core.compat.go_braft.server_id import short_id
from braft_core.errors import NoLeader

if TYPE_CHECKING:
    from braft_core.client import Leader

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Show the leader, or transfer leadership.")


@app.command()
@reports_errors
def show(
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Show the leader. Exit code 1 if no node knows one."""
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        leader = client.leader()
    if leader is None:
        raise NoLeader("no node that answered knows a leader at the moment")
    emit(as_json, leader._asdict(), lambda: echo(_named(leader)))


@app.command()
@reports_errors
def transfer(
    to: Annotated[
        str | None,
        typer.Argument(help="Server id, short id or address; default: the most up-to-date voter."),
    ] = None,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Transfer leadership to another voter, without an election timeout."""
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        target = member_id(client.members(), to) if to else None
        leader = client.transfer_leadership(target)
    emit(as_json, leader._asdict(), lambda: echo(f"leader {_named(leader)}"))


def _named(leader: Leader) -> str:
    return f"{leader.address}  {short_id(leader.id)}"
