"""``braft members``: the Raft configuration.

A member is named by its server id, its short id or its address. Every change prints the members
after it. JSON: members, a list of id, address, suffrage, leader. The list also shows what the
leader decides about members that do not answer; JSON: autopilot, as in GET /raft.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
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
from braft_core.cli.output import emit, paragraph, reports_errors, table
from braft_core.compat.go_braft.server_id import short_id
from braft_core.errors import ConfigError

if TYPE_CHECKING:
    from braft_core.client import Member

__all__ = ["app", "member_id"]

app = typer.Typer(no_args_is_help=True, help="Show and change the members of the cluster.")

MemberName = Annotated[str, typer.Argument(help="Server id, short id or address of a member.")]


@app.command("list")
@reports_errors
def list_members(
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List the members, and what the leader decides about those that do not answer."""
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        _show(as_json, client.members(), client.status().get("autopilot", {}))


@app.command()
@reports_errors
def add(
    server_id: Annotated[str, typer.Argument(help="Server id of the new member.")],
    address: Annotated[str, typer.Argument(help="host:port of its Raft port.")],
    nonvoter: Annotated[bool, typer.Option("--nonvoter", help="It never votes.")] = False,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Add a server. It votes once it has caught up, unless --nonvoter."""
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        _show(as_json, client.add_member(server_id, address, voter=not nonvoter))


@app.command()
@reports_errors
def remove(
    member: MemberName,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Remove a member."""
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        _show(as_json, client.remove_member(member_id(client.members(), member)))


@app.command()
@reports_errors
def promote(
    member: MemberName,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Make a nonvoter a voter."""
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        _show(as_json, client.promote_member(member_id(client.members(), member)))


def member_id(members: Sequence[Member], name: str) -> str:
    """Return the server id of the member with this id, short id or address.

    :raises ConfigError: no member has it, or several members have this short id.
    """
    found = [m for m in members if name in (m.id, m.address)]
    found = found or [m for m in members if name == short_id(m.id)]
    if len(found) == 1:
        return found[0].id
    known = ", ".join(f"{short_id(member.id)} at {member.address}" for member in members)
    what = "several members have" if found else "no member has"
    raise ConfigError(f"{what} the id or address {name!r}; members: {known}")


def _show(
    as_json: bool, members: Sequence[Member], autopilot: dict[str, Any] | None = None
) -> None:
    silent = (autopilot or {}).get("silent", {})
    rows = [[m.address, m.suffrage, _role(m, silent), short_id(m.id)] for m in members]

    def human() -> None:
        table(["ADDRESS", "SUFFRAGE", "ROLE", "ID"], rows)
        if autopilot:
            _explain(autopilot)

    answer = {"members": [asdict(member) for member in members]}
    emit(as_json, answer | ({"autopilot": autopilot} if autopilot else {}), human)


def _role(member: Member, silent: dict[str, float | None]) -> str:
    if member.leader:
        return "leader"
    if member.id not in silent:
        return ""
    seconds = silent[member.id]
    return "silent" if seconds is None else f"silent {seconds:.0f} s"


def _explain(autopilot: dict[str, Any]) -> None:
    dry = " (dry run: nothing is done)" if autopilot.get("mode") == "dry-run" else ""
    paragraph(f"autopilot{dry}: {autopilot.get('reason', '')}", rest="  ")
    for row in autopilot.get("removed", []):
        line = f"removed as dead, may return: {row['address']} ({row['reason']})"
        paragraph(line, rest="  ")
