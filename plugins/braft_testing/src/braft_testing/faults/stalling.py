"""Slow disks: a tracer delays each sync of a running process.

Owns the tracers it starts. ``strace`` delays the system calls and does not change their effect.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from types import TracebackType
from typing import Self

from braft_testing.faults.machine import FaultKitError

__all__ = ["SlowSyncs"]

_CALLS = "fsync,fdatasync,sync_file_range"
_ATTACH_SECONDS = 10.0
_POLL = 0.01


class SlowSyncs:
    """Every sync of process ``pid`` takes ``seconds`` longer, inside the ``with`` block."""

    def __init__(self, pid: int, seconds: float) -> None:
        self._pid, self._seconds = pid, seconds
        self._tracer: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Attach the tracer.

        :raises FaultKitError: if strace is missing or may not attach.
        """
        if shutil.which("strace") is None:
            raise FaultKitError("strace is not installed")
        delay = f"inject={_CALLS}:delay_enter={round(self._seconds * 1e6)}"
        self._tracer = subprocess.Popen(  # noqa: S603 - our own command
            ["strace", "-f", "-qq", "-p", str(self._pid), "-e", f"trace={_CALLS}", "-e", delay],  # noqa: S607
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + _ATTACH_SECONDS
        while not self._attached():
            if self._tracer.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise FaultKitError(f"strace cannot trace process {self._pid}")
            time.sleep(_POLL)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _attached(self) -> bool:
        try:
            with open(f"/proc/{self._pid}/status", encoding="ascii", errors="replace") as status:
                return any(
                    line.startswith("TracerPid:") and line.split()[1] != "0" for line in status
                )
        except OSError:
            return False

    def _stop(self) -> None:
        tracer, self._tracer = self._tracer, None
        if tracer is None:
            return
        tracer.send_signal(signal.SIGINT)  # detaches from the process and exits
        try:
            tracer.wait(_ATTACH_SECONDS)
        except subprocess.TimeoutExpired:
            tracer.kill()
            tracer.wait()
