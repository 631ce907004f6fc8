"""Real nodes as processes of this machine, for ``braft demo``.

Owns the processes it starts, by their Popen objects, and ends no others. Each node gets free ports
on loopback, a directory and a log file.
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from braft_core.errors import BraftError

__all__ = ["LocalCluster", "LocalNode"]

#: Starts one node from the environment.
NODE_COMMAND = (sys.executable, "-m", "braft_core", "run")
HOST = "127.0.0.1"
#: Variables of whoever runs the demo that would reach into its nodes.
_OURS = ("BRAFT_", "MDNS_SERVICE", "K8S_", "DISABLE_GRPC_REFLECTION")
_SHORT = frozenset(
    {"BDI", "BIP", "BIF", "BRP", "BDP", "BHP", "BSL", "MDS", "K8N", "K8L", "K8P", "DGR", "BDD"}
    | {"BEX", "BSR"}
)
_STOP_SECONDS = 3.0
_PORTS = range(20000, 32000)


@dataclass(frozen=True, slots=True)
class LocalNode:
    """Where one node is and what it writes."""

    name: str
    raft_port: int
    discovery_port: int
    http_port: int
    directory: Path

    @property
    def url(self) -> str:
        """Its HTTP address."""
        return f"http://{HOST}:{self.http_port}"

    @property
    def address(self) -> str:
        """Its Raft address."""
        return f"{HOST}:{self.raft_port}"

    @property
    def log(self) -> Path:
        """Everything it printed, over all its starts."""
        return self.directory / "node.log"


class LocalCluster:
    """A few nodes under one directory. Use ``with``: leaving it ends every process it started."""

    def __init__(
        self, directory: Path, size: int = 3, command: Sequence[str] = NODE_COMMAND
    ) -> None:
        """Choose ports and make directories; nothing runs yet."""
        ports = iter(_free_ports(3 * size))
        batched = list(zip(ports, ports, ports, strict=True))
        self._command = list(command)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.nodes = [
            LocalNode(f"node-{n}", raft, discovery, http, directory / f"node-{n}")
            for n, (raft, discovery, http) in enumerate(batched, start=1)
        ]
        for node in self.nodes:
            node.directory.mkdir(parents=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, node: LocalNode) -> int:
        """Start one node; returns its process id.

        In a session of its own, so that Ctrl-C reaches this process alone, which ends the nodes.
        """
        with node.log.open("ab") as log:
            self._processes[node.name] = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                env=self._environment(node, os.environ),
                cwd=node.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._processes[node.name].pid

    def kill(self, node: LocalNode) -> int:
        """``kill -9`` one node; returns the process id it had."""
        process = self._processes[node.name]
        process.kill()
        process.wait()
        return process.pid

    def check_alive(self) -> None:
        """:raises BraftError: naming a node that ended by itself, with the end of its log."""
        for node in self.nodes:
            process = self._processes.get(node.name)
            code = process.poll() if process else None
            if code is not None:
                raise BraftError(f"{node.name} ended with exit code {code}", node=node.name)

    def stop(self) -> None:
        """End all processes: politely, then after some seconds by force. Idempotent."""
        running = [p for p in self._processes.values() if p.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _environment(self, node: LocalNode, base: Mapping[str, str]) -> dict[str, str]:
        kept = {k: v for k, v in base.items() if not k.startswith(_OURS) and k not in _SHORT}
        path = [str(Path(__file__).parents[2]), *filter(None, [kept.get("PYTHONPATH")])]
        return kept | {
            "BRAFT_DISCOVERY": "static:" + ",".join(n.address for n in self.nodes),
            "BRAFT_EXPECT": str(len(self.nodes)),
            "BRAFT_IP": HOST,
            "BRAFT_RPORT": str(node.raft_port),
            "BRAFT_DPORT": str(node.discovery_port),
            "BRAFT_HPORT": str(node.http_port),
            "BRAFT_DATA_DIR": str(node.directory / "data"),
            # The very code that runs this, wherever it was imported from.
            "PYTHONPATH": os.pathsep.join(path),
        }


def _free_ports(count: int) -> list[int]:
    """Ports that nobody used a moment ago; all are held until all are found.

    Below the range from which systems take the local ports of connections: the nodes that start
    first already connect, and must not take a port of those that start later.
    """
    start = _PORTS.start + secrets.randbelow(len(_PORTS))
    candidates = itertools.chain(range(start, _PORTS.stop), range(_PORTS.start, start))
    found: list[int] = []
    with ExitStack() as held:
        for port in candidates:
            each = held.enter_context(socket.socket())
            with suppress(OSError):
                each.bind((HOST, port))
                found.append(port)
            if len(found) == count:
                return found
    raise BraftError(f"fewer than {count} ports of {_PORTS} are free on {HOST}")
