"""The nodes of ``braft demo``: each with free ports on loopback, a directory and a log file."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from braft_core.errors import BraftError
from braft_core.local_nodes import (
    HOST,
    NODE_COMMAND,
    NodeProcess,
    end_all,
    free_ports,
    node_environment,
)

__all__ = ["LocalCluster", "LocalNode"]


@dataclass(frozen=True, slots=True)
class LocalNode:
    """One node of the demo: its name, ports and process."""

    name: str
    raft_port: int
    discovery_port: int
    http_port: int
    process: NodeProcess

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
        return self.process.log


class LocalCluster:
    """A few nodes under one directory. Use ``with``: it ends every process that it started.

    :param stop_seconds: how long a process may take to end before it is killed.
    """

    def __init__(
        self,
        directory: Path,
        size: int = 3,
        command: Sequence[str] = NODE_COMMAND,
        *,
        stop_seconds: float = 3.0,
    ) -> None:
        """Choose ports and make directories; nothing runs yet."""
        self._stop_seconds = stop_seconds
        ports = iter(free_ports(3 * size))
        batched = list(zip(ports, ports, ports, strict=True))
        self.nodes = [
            LocalNode(f"node-{n}", *three, NodeProcess(directory / f"node-{n}", command))
            for n, three in enumerate(batched, start=1)
        ]
        for node in self.nodes:
            node.process.directory.mkdir(parents=True)

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
        """Start one node and return its process id."""
        environment = node_environment(
            {
                "discovery": "static:" + ",".join(n.address for n in self.nodes),
                "expect": len(self.nodes),
                "ip": HOST,
                "rport": node.raft_port,
                "dport": node.discovery_port,
                "hport": node.http_port,
                "data_dir": node.process.directory / "data",
            }
        )
        with _uninterrupted():
            return node.process.start(environment)

    def kill(self, node: LocalNode) -> int:
        """Kill one node with SIGKILL and return the process id it had."""
        node.process.signal(signal.SIGKILL)
        node.process.wait()
        return node.process.pid

    def check_alive(self) -> None:
        """Check that no node has ended by itself.

        :raises BraftError: one has; the message names it.
        """
        for node in self.nodes:
            code = node.process.exit_code
            if code is not None:
                raise BraftError(f"{node.name} ended with exit code {code}", node=node.name)

    def stop(self) -> None:
        """End all processes: with SIGTERM, then after some seconds with SIGKILL. Idempotent."""
        end_all([node.process for node in self.nodes], self._stop_seconds)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Defer Ctrl-C, and SIGTERM where it is handled, while a process is started.

    A signal between the start and the assignment of the process would leave a process running.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    came: list[int] = []
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Leave ignored and default handlers alone: the new process would inherit a change.
    ours = {number: handler for number, handler in ours.items() if callable(handler)}
    try:
        for number in ours:
            signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
    for came_first in came[:1]:
        signal.raise_signal(came_first)
