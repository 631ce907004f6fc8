"""Virtual time: one queue of events for everything that happens in a simulated cluster."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.runtime.clocks import MachineClock

__all__ = ["Killed", "Lane", "Process", "Scheduler"]

Action = Callable[[], None]


class Killed(Exception):
    """The process that a caller waits for was killed."""


class Scheduler:
    """Runs actions in order of their time. Nothing sleeps.

    :param most_steps: more actions than this are taken for a loop that never rests.
    """

    def __init__(self, most_steps: int) -> None:
        self.now = 0.0
        #: How many actions ran.
        self.steps = 0
        self._most_steps = most_steps
        self._heap: list[tuple[float, int, Action]] = []
        self._order = 0
        #: Whose code runs: the clocks of its machine are read.
        self.process: Process | None = None

    @contextmanager
    def inside(self, process: Process) -> Iterator[None]:
        """Run the code of a process in this block."""
        before, self.process = self.process, process
        try:
            yield
        finally:
            self.process = before

    def at(self, when: float, action: Action) -> None:
        """Run ``action`` at a time, after what was planned for the same time before."""
        self._order += 1
        heapq.heappush(self._heap, (max(when, self.now), self._order, action))

    def after(self, delay: float, action: Action) -> None:
        """Run ``action`` in ``delay`` seconds."""
        self.at(self.now + delay, action)

    def run_until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Run actions until ``condition`` holds or the deadline passes; return whether it holds.

        Whoever blocks a thread in production calls this in a simulation, perhaps within an action.
        """
        heap = self._heap
        while not condition():
            if not heap or heap[0][0] > deadline:
                self.now = max(self.now, deadline)
                return condition()
            self.now, _, action = heapq.heappop(heap)
            self.steps += 1
            if self.steps > self._most_steps:
                raise InvariantBroken("the nodes rest", f"{self.steps} steps by {self.now:.3f} s")
            action()
        return True

    def run_for(self, seconds: float) -> None:
        """Run everything of the next ``seconds``."""
        self.run_until(_never, self.now + seconds)


def _never() -> bool:
    return False


class Process:
    """One life of a node's process: what ends when it is killed.

    :param latency: draws how long a step of a lane takes, seconds.
    :param clock: that of its machine; default: one that is right.
    """

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        latency: Callable[[str], float],
        clock: MachineClock | None = None,
    ) -> None:
        self.name, self.scheduler, self.latency = name, scheduler, latency
        self.clock = clock or MachineClock(lambda: scheduler.now)
        self.alive = True
        self.lanes: dict[str, Lane] = {}
        #: Called at its end, by any key.
        self.on_end: dict[int, Action] = {}
        #: Until when something of it stands still, at the latest.
        self.still_until = 0.0
        #: What ended a thread of it, or its loop reported.
        self.failures: list[str] = []

    def lane(self, name: str) -> Lane:
        """Return the lane of that name."""
        if name not in self.lanes:
            self.lanes[name] = Lane(self, name)
        return self.lanes[name]

    def freeze(self, seconds: float) -> None:
        """Let nothing of it run for so long, as SIGSTOP does."""
        for lane in self.lanes.values():
            lane.stand_still(seconds)

    def end(self) -> None:
        """Run nothing of it any more."""
        self.alive = False
        actions, self.on_end = list(self.on_end.values()), {}
        for action in actions:
            action()

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Block, as a thread of this process does. :raises Killed: it was killed meanwhile."""

        def over() -> bool:
            return condition() or not self.alive

        self.scheduler.run_until(over, self.scheduler.now + seconds)
        if not self.alive:
            raise Killed(self.name)
        return condition()


class Lane:
    """What runs one after the other in a process: its loop, or one of its threads."""

    def __init__(self, process: Process, name: str) -> None:
        self.process, self.name = process, name
        self._still_until = 0.0

    def stand_still(self, seconds: float) -> None:
        """Run nothing for so long."""
        until = self.process.scheduler.now + seconds
        self._still_until = max(self._still_until, until)
        self.process.still_until = max(self.process.still_until, until)

    def after(self, delay: float, action: Action) -> None:
        """Run ``action`` in ``delay`` seconds; later if the lane stands still then."""
        scheduler = self.process.scheduler

        def go() -> None:
            if not self.process.alive:
                return
            if self._still_until > scheduler.now:
                scheduler.at(self._still_until, go)
                return
            before, scheduler.process = scheduler.process, self.process
            try:
                action()
            finally:
                scheduler.process = before

        scheduler.after(delay, go)
