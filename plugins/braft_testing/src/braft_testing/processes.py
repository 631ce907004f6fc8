"""A cluster of real processes on this machine: sockets, disks, signals.

Owns the processes it starts, by their ``Popen`` objects, and ends no others. It sees what an
operator sees: HTTP, exit codes and output. Use a cluster from one thread; the clients it returns
may be used from several.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from braft_core.client import Client
from braft_core.errors import BraftError
from braft_core.identity import Ports, ports_are_free
from braft_core.local_nodes import (
    HOST,
    NODE_COMMAND,
    NodeProcess,
    end_all,
    free_ports,
    node_environment,
)

__all__ = [
    "HOST",
    "NODE_COMMAND",
    "ProcessCluster",
    "ProcessNode",
    "free_base_port",
    "free_ports",
    "wait_for",
]

_T = TypeVar("_T")

#: Default timeout of a condition in seconds: generous, for a loaded machine.
PATIENCE = 40.0
_POLL = 0.02
_STOP_SECONDS = 5.0
_LOG_LINES = 40


def free_base_port() -> int:
    """Return a port that is free together with the next two, a node's other ports by default."""
    while True:
        [base] = free_ports(1)
        if ports_are_free(Ports(base, base + 1, base + 2), HOST):
            return base


def wait_for(condition: Callable[[], _T], deadline: float = PATIENCE, what: str = "") -> _T:
    """Call ``condition`` until its result is true, and return that.

    A ``BraftError`` means "not yet"; the last one is reported after a timeout.

    :raises AssertionError: if that takes longer than ``deadline`` seconds.
    """
    end = time.monotonic() + deadline
    why: object
    while True:
        try:
            if found := condition():
                return found
            why = f"it is {found!r}"
        except BraftError as error:
            why = error
        if time.monotonic() >= end:
            what = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"not within {deadline:g} s: {what}; last: {why}")
        time.sleep(_POLL)


@dataclass(frozen=True, slots=True)
class ProcessNode:
    """Where one node runs and writes. ``directory`` is its working directory."""

    index: int
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
    def data(self) -> Path:
        """Its data directory."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """Everything it printed, over all its starts."""
        return self.directory / "node.log"

    def tail(self, lines: int = _LOG_LINES) -> str:
        """Return the end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class ProcessCluster:
    """A cluster of ``size`` nodes under ``data_dir``, not started yet.

    Use it in a ``with`` statement: leaving it ends every process it started. An exception that
    leaves it carries the ends of the nodes' logs as notes.

    :param settings: settings of every node by name (``election_timeout="500ms"``), as written in
        the environment. By default the nodes find each other with a static list of their Raft
        addresses.
    """

    def __init__(
        self,
        size: int,
        data_dir: Path,
        *,
        command: Sequence[str] = NODE_COMMAND,
        **settings: object,
    ) -> None:
        self._command = list(command)
        self._settings = settings
        self._directory = data_dir
        self._processes: list[NodeProcess] = []
        self._clients = ExitStack()
        self._known: dict[int, Client] = {}
        self.nodes: list[ProcessNode] = []
        for _ in range(size):
            self.add_node()
        self._size = size

    def add_node(self) -> int:
        """Choose ports and a directory for one more node; return its index.

        Unless the setting ``discovery`` is given, its static list names the initial nodes; their
        lists do not name it.
        """
        index = len(self.nodes)
        raft, discovery, http = free_ports(3)
        directory = self._directory / f"node-{index}"
        directory.mkdir(parents=True)
        self.nodes.append(ProcessNode(index, raft, discovery, http, directory))
        self._processes.append(NodeProcess(directory, self._command))
        return index

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if error is not None:
            for node in self.nodes:
                error.add_note(f"--- the log of node {node.index} ({node.log}) ends\n{node.tail()}")

    def close(self) -> None:
        """End all processes: by SIGTERM, then by SIGKILL. Idempotent."""
        self._clients.close()
        self._known.clear()
        end_all(self._processes, _STOP_SECONDS)

    # -- start and stop ------------------------------------------------------------------------

    @property
    def running(self) -> list[int]:
        """Indexes of the nodes whose process is alive, paused ones included."""
        return [index for index, process in enumerate(self._processes) if process.running]

    @property
    def awake(self) -> list[int]:
        """Indexes of the nodes that run and are not paused."""
        return [index for index in self.running if not self._processes[index].paused]

    def pid(self, index: int) -> int:
        """Return the process id of node ``index``."""
        return self._processes[index].pid

    def environment(self, index: int, **settings: object) -> dict[str, str]:
        """Return the environment in which node ``index`` is started; ``None`` removes a setting."""
        node = self.nodes[index]
        chosen: dict[str, object] = {
            "discovery": "static:" + ",".join(n.address for n in self.nodes[: self._size]),
            "ip": HOST,
            "rport": node.raft_port,
            "dport": node.discovery_port,
            "hport": node.http_port,
            "data_dir": node.data,
            **self._settings,
            **settings,
        }
        return node_environment(chosen)

    def start(self, *indexes: int, **settings: object) -> None:
        """Start these nodes (default: all); ``settings`` are for these starts only."""
        for index in indexes or [node.index for node in self.nodes]:
            self._processes[index].start(self.environment(index, **settings))

    def kill(self, *indexes: int) -> None:
        """Send ``kill -9`` to these nodes, to all before waiting for any of them."""
        for index in indexes:
            self._processes[index].signal(signal.SIGKILL)
        for index in indexes:
            self._processes[index].wait()

    def stop(self, index: int, deadline: float = PATIENCE) -> int:
        """End node ``index`` by SIGTERM; return its exit code."""
        self._processes[index].signal(signal.SIGTERM)
        return self.wait_exit(index, deadline)

    def wait_exit(self, index: int, deadline: float = PATIENCE) -> int:
        """Wait at most ``deadline`` seconds until node ``index`` exits; return its exit code."""
        try:
            return self._processes[index].wait(deadline)
        except TimeoutError:
            raise AssertionError(f"node {index} did not end within {deadline:g} s") from None

    def pause(self, *indexes: int) -> None:
        """Send SIGSTOP: the process stops and keeps its sockets open."""
        for index in indexes:
            self._processes[index].pause()

    def resume(self, *indexes: int) -> None:
        """Send SIGCONT."""
        for index in indexes:
            self._processes[index].resume()

    def restart(self, index: int, **settings: object) -> None:
        """Restart node ``index`` on its data; if it runs it is killed first."""
        if index in self.running:
            self.kill(index)
        self.start(index, **settings)

    def move(self, index: int, ports: Sequence[int] = ()) -> None:
        """Give node ``index``, which does not run, other ports (Raft, discovery, HTTP).

        It keeps its data. Running nodes do not learn the new address. Nodes started later find it
        in the static list, unless the setting ``discovery`` is given.
        """
        if index in self.running:
            raise BraftError(f"node {index} runs, and cannot be given other ports")
        raft, discovery, http = ports or free_ports(3)
        directory = self.nodes[index].directory
        self.nodes[index] = ProcessNode(index, raft, discovery, http, directory)
        self._known.pop(index, None)

    # -- observation ---------------------------------------------------------------------------

    def client(self, *indexes: int, timeout: float = 10.0) -> Client:
        """Return a new client of these nodes (default: all); the cluster closes it."""
        chosen = [self.nodes[index] for index in indexes] or self.nodes
        return self._clients.enter_context(Client([n.url for n in chosen], timeout=timeout))

    def wait_for(
        self, condition: Callable[[], _T], deadline: float = PATIENCE, what: str = ""
    ) -> _T:
        """Call :func:`wait_for`."""
        return wait_for(condition, deadline, what)

    def leader(self, deadline: float = PATIENCE) -> int:
        """Wait until a node reports to be leader, and return its index."""
        return self.wait_for(self._find_leader, deadline, "one node leads")[0]

    def _find_leader(self) -> list[int]:
        for index in self.awake:
            with suppress(BraftError):
                leader = self._probe(index).leader()
                if leader is not None and leader.address == self.nodes[index].address:
                    return [index]
        return []

    def wait_ready(self, *indexes: int, deadline: float = PATIENCE) -> None:
        """Wait until these nodes (default: all that are not paused) report to be ready."""
        for index in indexes or self.awake:

            def ready(index: int = index) -> bool:
                is_ready, why = self._probe(index).ready()
                if not is_ready:
                    raise BraftError(why)
                return True

            self.wait_for(ready, deadline, f"node {index} is ready")

    def why_not_ready(self, index: int) -> str:
        """Return the reason that node ``index`` reports for not being ready.

        "" if it is ready, or does not answer.
        """
        with suppress(BraftError):
            return self._probe(index).ready()[1]
        return ""

    def _probe(self, index: int) -> Client:
        if index not in self._known:
            self._known[index] = self.client(index, timeout=2.0)
        return self._known[index]
