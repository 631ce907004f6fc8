"""``braft members``: the Raft configuration.

A member is named by its server id or by its address. Every change prints the members after it.
JSON: members, a list of id, address, suffrage, leader. The list also tells what the leader decides
about members that are silent; JSON: autopilot, as in GET /raft.
"""

from __future__ import annotations

from typing import Annotated, Any

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
from braft_core.cli.output import echo, emit, reports_errors, table
from braft_core.errors import ConfigError

__all__ = ["app", "member_id"]

app = typer.Typer(no_args_is_help=True, help="Who belongs to the cluster.")

Member = Annotated[str, typer.Argument(help="Server id or address of a member.")]


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
    """List the members, and what is decided about those that are silent."""
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        _show(as_json, client.members(), client.status().get("autopilot", {}))


@app.command()
@reports_errors
def add(
    server_id: Annotated[str, typer.Argument(help="Server id of the new member.")],
    address: Annotated[str, typer.Argument(help="host:port of its Raft port.")],
    nonvoter: Annotated[bool, typer.Option("--nonvoter", help="It only follows.")] = False,
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
    member: Member,
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
    member: Member,
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


def member_id(members: list[dict[str, Any]], name: str) -> str:
    """The id of the member with that id or address. :raises ConfigError: there is none."""
    for member in members:
        if name in (member["id"], member["address"]):
            return str(member["id"])
    known = ", ".join(member["address"] for member in members)
    raise ConfigError(f"no member has the id or address {name!r}; members are at: {known}")


def _show(
    as_json: bool, members: list[dict[str, Any]], autopilot: dict[str, Any] | None = None
) -> None:
    silent = (autopilot or {}).get("silent", {})
    rows = [[m["address"], m["suffrage"], _role(m, silent), m["id"]] for m in members]

    def human() -> None:
        table(["ADDRESS", "SUFFRAGE", "ROLE", "ID"], rows)
        if autopilot:
            _explain(autopilot)

    emit(as_json, {"members": members} | ({"autopilot": autopilot} if autopilot else {}), human)


def _role(member: dict[str, Any], silent: dict[str, float | None]) -> str:
    if member["leader"]:
        return "leader"
    if member["id"] not in silent:
        return ""
    seconds = silent[member["id"]]
    return "silent" if seconds is None else f"silent {seconds:.0f} s"


def _explain(autopilot: dict[str, Any]) -> None:
    dry = " (dry run: nothing is done)" if autopilot.get("mode") == "dry-run" else ""
    echo(f"autopilot{dry}: {autopilot.get('reason', '')}")
    for row in autopilot.get("removed", []):
        echo(f"removed as dead, may return: {row['address']} ({row['reason']})")
