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
from braft_core.cli.output import echo, emit, reports_errors, table

__all__ = ["status"]

_TENTHS = re.compile(r"(\.\d)\d+")
#: Terminal: clear the screen, cursor to the top.
_CLEAR = "\x1b[2J\x1b[H"


@reports_errors
def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.05, help="Seconds between two looks, with --watch.")
    ] = 1.0,
    count: Annotated[
        int, typer.Option(min=0, help="End after so many looks, with --watch; 0: never.")
    ] = 0,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Show every node: its state, its leader, its health.

    JSON: what GET /raft gives; with --watch one line per look.
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
                return
            time.sleep(interval)


def _show(view: dict[str, Any]) -> None:
    leader = view["leaderAddr"] or "none known"
    echo(f"leader {leader}   nodes {view['nodeNum']}   discovery {view['discovery']}")
    commit = max((int(node.get("commitIndex", 0)) for node in view["nodes"]), default=0)
    table(
        [
            "ADDRESS",
            "STATE",
            "LEADER",
            "APPLIED",
            "BEHIND",
            "UPTIME",
            "PID",
            "MEMORY",
            "CPU",
            "NOTE",
        ],
        [_row(node, commit) for node in view["nodes"]],
    )
    for line in _remarks(view):
        echo(line)


def _remarks(view: dict[str, Any]) -> list[str]:
    """What a person has to know beyond the table."""
    remarks = []
    if view.get("waiting"):
        remarks.append(f"not served: {view['waiting']}")
    autopilot = view.get("autopilot") or {}
    if autopilot.get("silent"):
        remarks.append(f"autopilot: {autopilot['reason']}")
    for node in view["nodes"]:
        for subject, sentence in (node.get("notes") or {}).items():
            remarks.append(f"{subject}, says {node['address']}: {sentence}")
    return remarks


def _row(node: dict[str, Any], commit: int) -> list[str]:
    memory = f"{node.get('rss', 0) / (1 << 20):.0f} MiB" if node.get("rss") else ""
    applied = node.get("appliedIndex")
    return [
        str(node.get("address", "")),
        str(node.get("raftState", "") or "?"),
        str(node.get("leader", "")),
        "" if applied is None else f"{applied:,}",
        "" if applied is None else f"{max(0, commit - int(applied)):,}",
        _TENTHS.sub(r"\1", str(node.get("duration", ""))),
        str(node.get("pid") or ""),
        memory,
        f"{node.get('pcpu', 0.0):.1f} %",
        str(node.get("error", "")),
    ]
