"""Nodes as processes of this machine: free ports, environments, start and stop.

Owns the processes it starts and ends no others. ``braft demo`` and the test kits use it.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from braft_core.errors import BraftError

__all__ = ["HOST", "NODE_COMMAND", "NodeProcess", "end_all", "free_ports", "node_environment"]

HOST = "127.0.0.1"
#: Runs one node with settings from the environment.
NODE_COMMAND = (sys.executable, "-m", "braft_core", "run")
#: Below the ports from which systems serve connections: nodes that start first already connect,
#: and must not take a port of those that start later.
_PORTS = range(20000, 32000)
#: From one port that is handed out to the next, so that the ports just above a node's, which it may
#: use by default, are handed out hundreds of ports earlier or later.
_STRIDE = 2543


def _shared_walk() -> Iterator[int]:
    """Yield the positions in the port range at which processes of this user try ports.

    A file in the temporary folder has the next number. Where it cannot be used, each process begins
    its own walk at random, so that two of them hardly meet.
    """
    path = Path(tempfile.gettempdir()) / f"braft-ports-{os.getuid()}"
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    alone = itertools.count(secrets.randbelow(len(_PORTS)))
    while True:
        try:
            with open(os.open(path, flags, 0o600), "r+b", buffering=0) as file:
                if os.fstat(file.fileno()).st_uid != os.getuid():
                    raise PermissionError("somebody else's file")
                fcntl.flock(file, fcntl.LOCK_EX)
                # Digits only, and few: whatever stands there, some port is next.
                found = re.match(rb"[0-9]{1,9}", file.read(16))
                step = int(found[0]) if found else next(alone)
                file.seek(0)
                file.write(b"%09d" % ((step + 1) % len(_PORTS)))
        except OSError:
            step = next(alone)
        yield step


_walk = _shared_walk()
_walking = threading.Lock()


def free_ports(count: int) -> list[int]:
    """Return ``count`` different TCP ports of 127.0.0.1 that were free a moment ago.

    A port is handed out again, to any process of this user, only after all the others: it may be
    listened on much later, when its node starts or comes back. From any thread.

    :raises BraftError: there are not so many.
    """
    found: list[int] = []
    with ExitStack() as held:
        for _ in range(len(_PORTS)):
            if len(found) == count:
                break
            with _walking:
                port = _PORTS[next(_walk) * _STRIDE % len(_PORTS)]
            probe = held.enter_context(socket.socket())
            with suppress(OSError):
                probe.bind((HOST, port))
                found.append(port)
    if len(found) < count:
        raise BraftError(f"fewer than {count} ports of {_PORTS} are free on {HOST}")
    return found


def node_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return the environment for a node with these settings, by name; ``None`` leaves one out.

    The settings of the calling process are removed. The node imports the same code as the caller.
    """
    from braft_core.config import Settings  # slow to import; --help does not need it

    variables = Settings.variables()
    ours = {name for v in variables.values() for name in (v.long, v.short) if name}
    kept = {k: v for k, v in os.environ.items() if k not in ours and k != "BRAFT_CONFIG"}
    path = [str(Path(__file__).parents[1]), *filter(None, [kept.get("PYTHONPATH")])]
    kept["PYTHONPATH"] = os.pathsep.join(path)
    given = {variables[k].long: str(v) for k, v in settings.items() if v is not None}
    return kept | given


class NodeProcess:
    """A node in ``directory``, which appends to ``log`` there. Use it from one thread.

    :param prefix: words before the command, such as ``ip netns exec NAME``.
    """

    def __init__(
        self, directory: Path, command: Sequence[str] = NODE_COMMAND, prefix: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self._command = [*prefix, *command]
        self._process: subprocess.Popen[bytes] | None = None
        #: Whether it was stopped by :meth:`pause`.
        self.paused = False

    @property
    def log(self) -> Path:
        """Everything it printed."""
        return self.directory / "node.log"

    @property
    def running(self) -> bool:
        """Whether its process is alive, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; ``None`` while it runs, and before it was ever started."""
        return self._process.poll() if self._process is not None else None

    @property
    def pid(self) -> int:
        """The id of its latest process.

        :raises BraftError: it was never started.
        """
        return self._started().pid

    def start(self, environment: Mapping[str, str]) -> int:
        """Start it and return its process id.

        It gets its own session, so that Ctrl-C reaches only the caller, which ends the nodes.

        :raises BraftError: it runs already.
        """
        if self.running:
            raise BraftError(f"the node in {self.directory} runs already, as process {self.pid}")
        self.paused = False
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                env=dict(environment),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal.

        :raises BraftError: it has ended.
        """
        process = self._started()
        if process.poll() is not None:
            raise BraftError(
                f"the node in {self.directory} ended with exit code {process.returncode}"
            )
        process.send_signal(number)

    def pause(self) -> None:
        """Stop it with SIGSTOP; its sockets stay open."""
        self.signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Continue it with SIGCONT."""
        self.signal(signal.SIGCONT)
        self.paused = False

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its end and return its exit code.

        :raises TimeoutError: it did not end within ``seconds``.
        """
        try:
            code = self._started().wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the node in {self.directory} did not end") from None
        self.paused = False
        return code

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise BraftError(f"the node in {self.directory} was never started")
        return self._process


def end_all(nodes: Iterable[NodeProcess], seconds: float) -> None:
    """Send SIGTERM to these, and SIGKILL to those that run ``seconds`` later. Idempotent."""
    running = [node for node in nodes if node.running]
    for node in running:
        with suppress(BraftError):  # it has just ended
            node.signal(signal.SIGTERM)
            if node.paused:
                node.resume()
    deadline = time.monotonic() + seconds
    for node in running:
        try:
            node.wait(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            with suppress(BraftError):
                node.signal(signal.SIGKILL)
            node.wait()
