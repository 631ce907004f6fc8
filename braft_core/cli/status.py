"""``braft status``: the cluster as one of its nodes sees it."""

from __future__ import annotations

import re
import sys
import time
from functools import partial
from typing import Annotated, Any

import typer

from braft_core.cli.options import DEFAULT_TIMEOUT, AsJson, Timeout, Token, Urls, connect
from braft_core.cli.output import emit, reports_errors, table

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
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Show every node: its state, its leader, its health.

    JSON: what GET /raft gives; with --watch one line per look.
    """
    left = count if watch else 1
    with connect(urls, token, timeout) as client:
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
    typer.echo(f"leader {leader}   nodes {view['nodeNum']}   discovery {view['discovery']}")
    table(
        ["ADDRESS", "STATE", "LEADER", "UPTIME", "PID", "MEMORY", "CPU", "NOTE"],
        [_row(node) for node in view["nodes"]],
    )


def _row(node: dict[str, Any]) -> list[str]:
    memory = f"{node.get('rss', 0) / (1 << 20):.0f} MiB" if node.get("rss") else ""
    return [
        str(node.get("address", "")),
        str(node.get("raftState", "") or "?"),
        str(node.get("leader", "")),
        _TENTHS.sub(r"\1", str(node.get("duration", ""))),
        str(node.get("pid") or ""),
        memory,
        f"{node.get('pcpu', 0.0):.1f} %",
        str(node.get("error", "")),
    ]
