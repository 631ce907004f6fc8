"""``python -m tests.mutants.warm``: run tests with planted faults in forks of one process.

Half of the time that a short test takes goes into importing pytest and what braft needs. This
process imports those once, and nothing of braft: each fork plants its fault before it imports
the product. It reads one request a line, JSON ``[mutant, arguments of pytest]``, and answers each
with a line, JSON ``[exit code, output]``.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

__all__ = ["WarmProcess"]

#: What tests and product import of others.
_LIBRARIES = (
    "_pytest.runner",
    "xdist.plugin",
    "pytest_timeout",
    "hypothesis",
    "hypothesis.strategies",
    "asyncio",
    "sqlite3",
    "ssl",
    "http.client",
    "urllib.request",
    "cryptography.x509",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "falcon.asgi",
    "google.protobuf.descriptor_pool",
    "google.protobuf.message",
    "grpc.aio",
    "httptools",
    "msgpack",
    "psutil",
    "pydantic",
    "pydantic_settings",
    "uvicorn",
    "waitress",
)
_CRASHED = 70


class WarmProcess:
    """A warm process, from the outside. Not thread-safe.

    :param patience: seconds after which a test is taken for hanging.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._process: subprocess.Popen[str] | None = None

    def run(self, mutant: str, arguments: Sequence[str], cwd: str) -> tuple[int, str]:
        """Run pytest with a planted fault; return its exit code and its output."""
        process = self._process
        if process is None or process.poll() is not None:
            command = [sys.executable, "-m", "tests.mutants.warm"]
            process = self._process = subprocess.Popen(
                command,
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([mutant, list(arguments)]) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], self._patience)
        line = process.stdout.readline() if ready else ""
        if not line:
            self.close()
            return _CRASHED, f"no answer within {self._patience} s"
        code, output = json.loads(line)
        return int(code), str(output)

    def close(self) -> None:
        """End the process, and all that it has started."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _serve(requests: IO[str], answers: IO[str]) -> None:
    for line in requests:
        mutant, arguments = json.loads(line)
        answers.write(json.dumps(_forked(mutant, arguments)) + "\n")
        answers.flush()


def _forked(mutant: str, arguments: list[str]) -> tuple[int, str]:
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            _child(mutant, arguments, output)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read().decode(errors="replace")


def _child(mutant: str, arguments: list[str], output: IO[bytes]) -> None:
    """Run the tests, and never return."""
    code: Any = _CRASHED
    try:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        from tests.mutants.run import run

        code = run(mutant, arguments)
    except BaseException:  # noqa: BLE001 - the parent must hear of it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code))


def _main() -> None:
    for name in _LIBRARIES:
        with suppress(ImportError):  # an optional one
            importlib.import_module(name)
    foreign = [name for name in sys.modules if name.startswith(("braft_core", "braft_testing"))]
    if foreign:
        sys.exit(f"imported before a fault is planted: {foreign}")
    _serve(sys.stdin, sys.stdout)


if __name__ == "__main__":
    _main()
