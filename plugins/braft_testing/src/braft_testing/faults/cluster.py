"""Real nodes, each with its own namespace, disk and directory.

Owns the processes it starts, by their ``Popen`` objects, and ends no others. It sees what an
operator sees: HTTP, exit codes, output. Used from one thread, which is inside the namespace of the
clients if there is one.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from braft_core.client import Client, Member
from braft_core.errors import BraftError, Unreachable
from braft_core.local_nodes import NodeProcess, end_all, node_environment
from braft_testing.faults.disks import Disk
from braft_testing.faults.freezing import wait_frozen
from braft_testing.faults.interposing import Interposer
from braft_testing.faults.namespaces import Namespace

__all__ = ["Cluster", "NotServing", "Place"]

_STOP_SECONDS = 30.0
_ASK_SECONDS = 1.0
_POLL = 0.05
#: A key that is written to check whether a node serves.
_MAP, _KEY = "service", "probe"


class NotServing(BraftError):
    """The cluster did not serve within the deadline; the message names the node and the reason."""

    code = "not_serving"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one node runs. ``directory`` is its working directory and holds its log."""

    index: int
    host: str
    ports: tuple[int, int, int]
    directory: Path
    namespace: Namespace | None = None
    disk: Disk | None = None
    interposer: Interposer | None = None

    @property
    def address(self) -> str:
        """Its Raft address."""
        return f"{self.host}:{self.ports[0]}"

    @property
    def url(self) -> str:
        """Its HTTP address."""
        return f"http://{self.host}:{self.ports[2]}"

    @property
    def data(self) -> Path:
        """Its data directory, on its own disk if it has one."""
        return (self.disk.path if self.disk else self.directory) / "data"

    @property
    def log(self) -> Path:
        """Everything it printed, over all its starts."""
        return self.directory / "node.log"


class Cluster:
    """Nodes in their places; the first ``size`` bootstrap the cluster, further ones may join it.

    Use ``with``: leaving it ends every process it started.

    :param settings: settings of every node by name, as written in the environment.
    """

    def __init__(self, places: Sequence[Place], size: int, **settings: object) -> None:
        self.places = list(places)
        self.size = size
        self._settings = settings
        self._processes = [
            NodeProcess(
                place.directory,
                prefix=[*(place.namespace.prefix if place.namespace else []), *_dies_with_us()],
            )
            for place in self.places
        ]
        #: Nodes that were started and that we did not end.
        self._wanted: set[int] = set()
        self._clients: dict[tuple[int, float], Client] = {}
        self._open = ExitStack()
        for place in self.places:
            place.directory.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes: by SIGTERM, then by SIGKILL. Idempotent."""
        self._open.close()
        self._clients.clear()
        end_all(self._processes, _STOP_SECONDS)

    # -- start and stop ------------------------------------------------------------------------

    @property
    def members(self) -> range:
        """Indexes of the initial members."""
        return range(self.size)

    @property
    def running(self) -> list[int]:
        """Indexes of the nodes whose process is alive, paused ones included."""
        return [index for index, process in enumerate(self._processes) if process.running]

    def _running_of(self, indexes: Iterable[int]) -> list[int]:
        """Return those whose process has not exited."""
        return [index for index in indexes if self._processes[index].running]

    def pid(self, index: int) -> int:
        """Return the process id of a node; a prefix command keeps its own when it runs the node."""
        return self._processes[index].pid

    def ended_by_themselves(self) -> dict[int, int]:
        """Return the exit codes of the nodes that exited although we did not end them."""
        codes = {index: self._processes[index].exit_code for index in sorted(self._wanted)}
        return {index: code for index, code in codes.items() if code is not None}

    def start(self, *indexes: int, **settings: object) -> None:
        """Start these nodes on what their data directories hold.

        :param settings: for these starts only.
        """
        for index in indexes:
            self._processes[index].start(self._environment(self.places[index], settings))
            self._wanted.add(index)

    def kill(self, *indexes: int) -> None:
        """Send ``kill -9`` to these nodes, to all before waiting for any of them."""
        self._wanted.difference_update(indexes)
        running = self._running_of(indexes)
        for index in running:
            self._processes[index].signal(signal.SIGKILL)
        for index in running:
            self._processes[index].wait()

    def stop(self, index: int) -> int:
        """End a node by SIGTERM and return its exit code.

        :raises NotServing: if it takes more than 30 seconds; it is killed then.
        """
        self._wanted.discard(index)
        process = self._processes[index]
        try:
            if process.running:
                process.signal(signal.SIGTERM)
            return process.wait(_STOP_SECONDS)
        except TimeoutError:
            process.signal(signal.SIGKILL)
            process.wait()
            message = f"node {index} did not end within {_STOP_SECONDS:g} s of SIGTERM"
            raise NotServing(message, node=index) from None

    def pause(self, *indexes: int) -> None:
        """Send SIGSTOP: the processes stop and keep their sockets."""
        for index in self._running_of(indexes):
            self._processes[index].pause()

    def freeze(self, *indexes: int) -> None:
        """Call :meth:`pause`, and wait until no thread of these nodes is inside a system call.

        :raises FaultKitError: if a thread does not stop, for example because a tracer holds it.
        """
        self.pause(*indexes)
        for index in self._running_of(indexes):
            wait_frozen(self.pid(index))

    def resume(self, *indexes: int) -> None:
        """Send SIGCONT."""
        for index in self._running_of(indexes):
            self._processes[index].resume()

    def revive(self) -> None:
        """Start the nodes that exited although we did not end them."""
        self.start(*self.ended_by_themselves())

    def forget(self, index: int) -> None:
        """Delete the data of a node that does not run."""
        shutil.rmtree(self.places[index].data, ignore_errors=True)

    def _environment(self, place: Place, further: Mapping[str, object]) -> dict[str, str]:
        contacts = ",".join(self.places[index].address for index in self.members)
        raft, discovery, http = place.ports
        settings: dict[str, object] = {
            "discovery": f"static:{contacts}",
            "expect": self.size,
            "ip": place.host,
            "rport": raft,
            "dport": discovery,
            "hport": http,
            "data_dir": place.data,
            **self._settings,
            **further,
        }
        interposed = place.interposer.environment if place.interposer is not None else {}
        return {**node_environment(settings), **interposed}

    # -- observation ---------------------------------------------------------------------------

    def client(self, index: int, timeout: float = _ASK_SECONDS) -> Client:
        """Return a client of this node only, with this timeout in seconds."""
        key = index, timeout
        if key not in self._clients:
            client = Client([self.places[index].url], timeout=timeout)
            self._clients[key] = self._open.enter_context(client)
        return self._clients[key]

    def leader(self) -> int | None:
        """Return the index of a node that reports to be leader, ``None`` without a leader."""
        for index in self.running:
            if not self._processes[index].paused:
                with suppress(BraftError):
                    leader = self.client(index).leader()
                    if leader is not None and leader.address == self.places[index].address:
                        return index
        return None

    def server_id(self, index: int) -> str | None:
        """Return the id of a node in the Raft configuration, ``None`` if it is not in it."""
        return next((m.id for m in self.membership() if m.address == self._at(index)), None)

    def suffrage(self, index: int) -> str | None:
        """Return ``Voter`` or ``Nonvoter``, ``None`` if the node is not a member."""
        found = (m.suffrage for m in self.membership() if m.address == self._at(index))
        return next(found, None)

    def membership(self) -> list[Member]:
        """Return the leader's configuration, or that of the first initial member that answers."""
        leader = self.leader()
        order = [leader] if leader is not None else self.members
        for index in order:
            with suppress(BraftError):
                return self.client(index).members()
        raise Unreachable("no member returned the configuration")

    def _at(self, index: int) -> str:
        return self.places[index].address

    def wait_answering(self, deadline: float) -> None:
        """Wait until each initial member answers HTTP: its process has started.

        :raises NotServing: as :meth:`wait_serving`.
        """
        self._wait(self.members, self._silence, "answer", deadline)

    def wait_serving(self, deadline: float, nodes: Iterable[int] | None = None) -> None:
        """Wait until each of these nodes (default: all initial members) takes and returns a write.

        :param deadline: seconds, for all of them together.
        :raises NotServing: naming the first node that does not serve, and its last answer.
        """
        self._wait(self.members if nodes is None else nodes, self._problem, "serve", deadline)

    def _wait(
        self,
        nodes: Iterable[int],
        problem_of: Callable[[int], str | None],
        verb: str,
        deadline: float,
    ) -> None:
        end = time.monotonic() + deadline
        for index in nodes:
            while (problem := problem_of(index)) is not None:
                if time.monotonic() >= end:
                    message = f"node {index} does not {verb} within {deadline:g} s: {problem}"
                    raise NotServing(message, node=index)
                time.sleep(_POLL)

    def _silence(self, index: int) -> str | None:
        try:
            self.client(index).ready()
        except Unreachable as error:
            return str(error)
        return None

    def _problem(self, index: int) -> str | None:
        try:
            revision = self.client(index).kv_put(_MAP, _KEY, index)
            entry = self.client(index).kv_entry(_MAP, _KEY)
        except BraftError as error:
            return f"{type(error).__name__}: {error}"
        if entry is None or entry.revision < revision:
            return f"revision {revision} was acknowledged, and a read shows {entry}"
        return None


def _dies_with_us() -> list[str]:
    """Return a command prefix that has the kernel end a node when this process is killed."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
