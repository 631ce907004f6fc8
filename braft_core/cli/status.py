"""``braft status``: the cluster as one of its nodes sees it."""

from __future__ import annotations

import re
import sys
import time
from functools import partial
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
from braft_core.cli.output import Exit, echo, emit, paragraph, reports_errors, table

__all__ = ["status"]

_TENTHS = re.compile(r"(\.\d)\d+")
#: Terminal: clear the screen, cursor to the top.
_CLEAR = "\x1b[2J\x1b[H"


@reports_errors
def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Repeat until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.05, help="Seconds between two queries, with --watch.")
    ] = 1.0,
    count: Annotated[
        int, typer.Option(min=0, help="Number of queries, with --watch; 0: no limit.")
    ] = 0,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Show the leader and the state of every node.

    Exit code 1 if there is no leader. JSON: as GET /raft; with --watch one line per query.
    """
    left = count if watch else 1
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        while True:
            view = client.status()
            if watch and not as_json and sys.stdout.isatty():
                typer.echo(_CLEAR, nl=False)
            emit(as_json, view, partial(_show, view))
            left -= 1
            if left == 0:
                break
            time.sleep(interval)
    if not view["leaderAddr"]:
        raise typer.Exit(Exit.REFUSED)


def _show(view: dict[str, Any]) -> None:
    echo(f"leader {view['leaderAddr'] or 'none known'}   nodes {view['nodeNum']}")
    paragraph(str(view["discovery"]), first="discovery ")
    commit = max((int(node.get("commitIndex", 0)) for node in view["nodes"]), default=0)
    table(
        ["ADDRESS", "STATE", "APPLIED", "BEHIND", "UPTIME", "PID", "MEMORY"],
        [_row(node, commit) for node in view["nodes"]],
    )
    for line in _remarks(view):
        paragraph(line, rest="  ")


def _remarks(view: dict[str, Any]) -> list[str]:
    """Return what a person has to know beyond the table."""
    remarks = []
    if view.get("waiting"):
        remarks.append(f"not served: {view['waiting']}")
    autopilot = view.get("autopilot") or {}
    if autopilot.get("silent"):
        remarks.append(f"autopilot: {autopilot['reason']}")
    for node in view["nodes"]:
        remarks += _remarks_on(node, view["leaderAddr"])
    return remarks


def _remarks_on(node: dict[str, Any], leader: str) -> list[str]:
    address = node["address"]
    remarks = [f"{address}: {node['error']}"] if node.get("error") else []
    follows = str(node.get("leader", ""))
    if node.get("pid") and follows != leader:
        remarks.append(f"{address}: its leader is {follows or 'not known'}")
    notes = node.get("notes") or {}
    return remarks + [f"{subject}, says {address}: {note}" for subject, note in notes.items()]


def _row(node: dict[str, Any], commit: int) -> list[str]:
    answered = bool(node.get("pid"))
    applied = node.get("appliedIndex") if answered else None
    return [
        str(node.get("address", "")),
        str(node.get("raftState", "") or "?"),
        "" if applied is None else f"{applied:,}",
        "" if applied is None else f"{max(0, commit - int(applied)):,}",
        _uptime(str(node.get("duration", ""))),
        str(node.get("pid") or ""),
        f"{node.get('rss', 0) / (1 << 20):.0f} MiB" if node.get("rss") else "",
    ]


def _uptime(duration: str) -> str:
    """Shorten a duration in Go's notation: no seconds beside hours, tenths at most."""
    hours, found, rest = duration.partition("h")
    return f"{hours}h{rest.partition('m')[0]}m" if found else _TENTHS.sub(r"\1", duration)
