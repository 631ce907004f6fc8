"""Three child processes, one of which leads: the common part of braft and PySyncObj."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from benchmarks.child import Child, ChildFailed
from benchmarks.workload import Load, Sample

__all__ = ["Cluster", "wait_until"]

_T = TypeVar("_T")


def wait_until(
    condition: Callable[[], _T | None], timeout: float, what: str, period: float = 0.05
) -> _T:
    """Poll until the condition returns a value. :raises TimeoutError: too late; names ``what``."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if (found := condition()) is not None:
            return found
        time.sleep(period)
    raise TimeoutError(f"{what}: not within {timeout} s")


class Cluster:
    """Children by address. Each answers ``status`` with ``ready`` and the ``leader``'s address."""

    def __init__(self, children: dict[str, Child]) -> None:
        self.children = children

    def _status(self, child: Child) -> dict[str, Any]:
        found: dict[str, Any] = child.ask("status")
        return found

    def _agreed(self) -> str | None:
        statuses = [self._status(child) for child in self.children.values()]
        leaders = {status["leader"] for status in statuses}
        if len(leaders) == 1 and all(status["ready"] for status in statuses):
            return leaders.pop() or None
        return None

    def wait(self) -> str:
        """Wait until all nodes are ready and agree on a leader; return its address."""
        return wait_until(self._agreed, 60, "three ready nodes that agree on a leader")

    def leader(self) -> Child:
        """Return the leader's process."""
        return self.children[self.wait()]

    def follower(self) -> Child:
        """Return the process of a follower."""
        leader = self.wait()
        return next(child for address, child in self.children.items() if address != leader)

    def load(self, load: Load, seconds: float, warmup: float) -> Sample:
        """Run the load inside the leader or a follower."""
        child = self.leader() if load.on == "leader" else self.follower()
        reply = child.ask(
            "load",
            timeout=seconds + warmup + 60,
            operation=load.operation,
            outstanding=load.outstanding,
            seconds=seconds,
            warmup=warmup,
        )
        return Sample(**reply)

    def pids(self) -> tuple[int, int]:
        """Return the process ids of the leader and of a follower."""
        return self.leader().pid, self.follower().pid

    def fill(self, entries: int, outstanding: int) -> None:
        """Commit that many entries from inside the leader."""
        self.leader().ask("fill", timeout=600, entries=entries, outstanding=outstanding)

    def fail_over(self, *, freeze: bool = False) -> float:
        """Kill or freeze the leader; return seconds until the first survivor committed."""
        address = self.wait()
        survivors = [child for name, child in self.children.items() if name != address]
        victim = self.children[address]
        killed = time.time_ns()
        (victim.freeze if freeze else victim.kill)()
        for child in survivors:
            child.send("first_success", period=0.01, limit=60)
        commits = []
        for child in survivors:
            with suppress(ChildFailed):
                commits.append(child.answer(timeout=90))
        self.children.pop(address).kill()
        if not commits:
            raise TimeoutError("no survivor committed anything")
        return float(min(commits) - killed) / 1e9

    def stop(self) -> None:
        """Kill the children."""
        for child in self.children.values():
            child.kill()
