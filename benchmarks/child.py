"""A child process that executes requests: JSON lines in, JSON lines out.

Both sides: :class:`Child` in the measuring process, :func:`serve` in the measured process. A
request is ``{"do": name, **arguments}``; an answer is ``{"ok": value}`` or ``{"error": text}``.
Answers come in the order of the requests.
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

#: Longest wait for the end of its output, which its own children may keep open.
_END_SECONDS = 10.0


class ChildFailed(RuntimeError):
    """The process answered with an error, did not answer in time, or ended."""


class Child:
    """A running child process. Not thread-safe."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        """Start the process; its standard error is appended to ``log``."""
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
        """The process id."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        # This thread closes it: if another one did between two lines, reading would fail.
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put("")

    def send(self, do: str, **arguments: Any) -> None:
        """Send a request; :meth:`answer` returns its answer."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self, timeout: float) -> Any:
        """Return the next answer. :raises ChildFailed: it is an error, or late."""
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
        self.send(do, **arguments)
        return self.answer(timeout)

    def freeze(self) -> None:
        """Suspend the process (SIGSTOP): its connections stay open, and it does not answer."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Kill the process (SIGKILL), and reap it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._reader.join(_END_SECONDS)

    def stop(self, timeout: float = 10) -> None:
        """Close its standard input, so that it ends; kill it if it does not."""
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
        except Exception as error:  # noqa: BLE001 - sent to the parent
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
