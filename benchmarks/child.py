"""A process that is told what to do: one JSON object a line in, one a line out.

Both ends: :class:`Child` in the process that measures, :func:`serve` in the process that is
measured. A request is ``{"do": name, **arguments}``; an answer is ``{"ok": value}`` or
``{"error": text}``. Answers come in the order of the requests.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Child", "ChildFailed", "serve"]

#: Longest time that the end of its output is waited for; its own children may keep that open.
_END_SECONDS = 10.0


class ChildFailed(RuntimeError):
    """The process said no, said nothing in time, or is gone."""


class Child:
    """A running process of that kind. Not thread-safe."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        """Start it; what it writes to standard error goes to ``log``."""
        self.log = log
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                bufsize=1,
            )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        # Closed here: whoever else did might do so between two lines, and reading would fail.
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put("")

    def tell(self, do: str, **arguments: Any) -> None:
        """Send a request; its answer is fetched by :meth:`answer`."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self, timeout: float) -> Any:
        """The next answer. :raises ChildFailed: if it is an error or does not come in time."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise ChildFailed(f"no answer within {timeout} s; see {self.log}") from None
        if not line:
            raise ChildFailed(f"process {self.pid} ended; see {self.log}")
        reply = json.loads(line)
        if "error" in reply:
            raise ChildFailed(f"{reply['error']}; see {self.log}")
        return reply["ok"]

    def ask(self, do: str, timeout: float = 30, **arguments: Any) -> Any:
        """Send a request and wait for its answer, ``timeout`` seconds at most."""
        self.tell(do, **arguments)
        return self.answer(timeout)

    def freeze(self) -> None:
        """Let it do nothing any more (SIGSTOP): its connections stay, and nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it at once (SIGKILL), and reap it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._reader.join(_END_SECONDS)

    def stop(self, timeout: float = 10) -> None:
        """Ask it to end by closing its standard input; kill it if it does not."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()


def serve(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """Answer requests from standard input until it is closed."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"ok": handlers[request.pop("do")](**request)}
        except Exception as error:  # noqa: BLE001 - reported to the one who asked
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
