"""The program ``braft-etcd``: reads flags, runs the node, says when it serves."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from braft_core.errors import BraftError
from braft_etcd.dropin.flags import DEFAULTS, read_flags
from braft_etcd.dropin.member import node_settings

if TYPE_CHECKING:
    from braft_core import Node

__all__ = ["main"]

#: Seconds of one wait for the cluster.
_WAIT: Final = 1.0
_READY: Final = "ready to serve client requests"
#: What the environment may change. Ports beside those of etcd must not be in the way: HTTP is off,
#: and the others are any that are free.
_OWN_PROCESS: Final = {
    "BRAFT_HTTP": ("http", False),
    "BRAFT_DPORT": ("dport", 0),
    "BRAFT_HPORT": ("hport", 0),
    "BRAFT_GC_FREEZE": ("gc_freeze", True),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run a member until SIGTERM or Ctrl-C; return the exit code.

    :param words: the arguments; those of the process by default.
    """
    words = sys.argv[1:] if words is None else words
    if any(word in ("-h", "-help", "--help") for word in words):
        _print_help()
        return 0
    try:
        if any(word in ("-version", "--version") for word in words):
            _print_version()
            return 0
        given = read_flags(words, os.environ)
        settings = node_settings(given)
        for note in given.notes:
            _say("warn", note)
        _run(settings)
    except BraftError as error:
        _say("fatal", error.message)
        return 1
    return 0


def _run(settings: dict[str, Any]) -> None:
    from braft_core import Node
    from braft_core.cli.logs import set_up

    for variable, (name, value) in _OWN_PROCESS.items():
        if variable not in os.environ:
            settings[name] = value
    node = Node(**settings)
    set_up(node.settings.log, node.settings.log_format)
    node.run(lambda: _announce(node))


def _announce(node: Node) -> None:
    threading.Thread(target=_say_when_ready, args=(node,), name="ready", daemon=True).start()


def _say_when_ready(node: Node) -> None:
    while node.state == "running":
        with suppress(BraftError):
            node.wait_ready(_WAIT)
            _say("info", _READY)
            return


def _say(level: str, message: str) -> None:
    """Print a line as etcd's log has it, whose text programs wait for."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with suppress(OSError):
        line = json.dumps({"level": level, "ts": now, "caller": "braft-etcd", "msg": message})
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _print_version() -> None:
    from braft_etcd.options import EtcdOptions

    version = EtcdOptions().version
    sys.stdout.write(f"etcd Version: {version}\nbraft-etcd serves its API\n")


def _print_help() -> None:
    lines = ["usage: braft-etcd [--flag=value ...]", "", "etcd's flags, also as ETCD_*:"]
    lines += [f"  --{name:<33}{default}".rstrip() for name, default in DEFAULTS.items()]
    lines += ["", "Settings of braft are taken from BRAFT_* variables and braft.toml."]
    sys.stdout.write("\n".join(lines) + "\n")
