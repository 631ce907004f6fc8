"""Callers that write almost without pause, and record the answers.

Owns their threads. Knows nothing of the cluster except the functions it is given, which raise
braft's errors. The thread that created the load reads the acknowledged writes, during the load or
after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import TracebackType
from typing import Any, Protocol, Self

from braft_core.errors import BraftError, Conflict, NotApplied, OutcomeUnknown, Unreachable
from braft_testing.processes import PATIENCE, wait_for

__all__ = ["CountingClient", "Load", "Register"]

#: Seconds between two writes of a writer: enough load to interrupt, and time for the nodes.
PAUSE = 0.003
#: Seconds before a rejected writer retries.
REFUSED_PAUSE = 0.02
_JOIN = 60.0


class _Threads:
    """Threads between ``__enter__`` and ``__exit__``; one that dies fails the test."""

    def __init__(self, works: Sequence[Callable[[], None]]) -> None:
        self._end = threading.Event()
        self._broken: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in works]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(_JOIN)
        if kind is None and any(thread.is_alive() for thread in self._threads):
            raise AssertionError(f"a writer did not end within {_JOIN:g} s")
        if kind is None and self._broken:
            raise AssertionError(f"a writer failed: {self._broken}") from self._broken[0]

    def _run(self, work: Callable[[], None]) -> None:
        try:
            while not self._end.is_set():
                work()
        except BaseException as error:  # noqa: BLE001 - reported by __exit__
            self._broken.append(error)


class Load(_Threads):
    """Writers that each put new keys, and record what was acknowledged and when.

    :param put: one function for each writer, called with key and value.
    """

    def __init__(self, put: Sequence[Callable[[str, int], object]], map_name: str = "load") -> None:
        self.map_name = map_name
        self.acknowledged: dict[str, int] = {}
        #: Writes that ended in ``OutcomeUnknown``.
        self.unknown: dict[str, int] = {}
        #: Every error raised to a writer, in order of time.
        self.failures: list[BraftError] = []
        #: Time of each acknowledgement, monotonic seconds.
        self.moments: list[float] = []
        #: Duration of the slowest acknowledged write, seconds.
        self.slowest = 0.0
        self._numbers = [0] * len(put)
        super().__init__([self._writer(number, each) for number, each in enumerate(put)])

    def _writer(self, writer: int, put: Callable[[str, int], object]) -> Callable[[], None]:
        def work() -> None:
            self._numbers[writer] += 1
            number = self._numbers[writer]
            self._write(put, f"{writer}-{number}", number)

        return work

    def _write(self, put: Callable[[str, int], object], key: str, number: int) -> None:
        began = time.monotonic()
        try:
            put(key, number)
        except OutcomeUnknown as error:
            self.unknown[key] = number
            self.failures.append(error)
        except (NotApplied, Unreachable) as error:
            self.failures.append(error)
            self._end.wait(REFUSED_PAUSE)
        else:
            self.acknowledged[key] = number
            self.moments.append(time.monotonic())
            self.slowest = max(self.slowest, time.monotonic() - began)
            self._end.wait(PAUSE)

    def more(self, count: int, deadline: float = PATIENCE) -> None:
        """Wait for ``count`` more acknowledgements, at most ``deadline`` seconds."""
        goal = len(self.moments) + count
        wait_for(lambda: len(self.moments) >= goal, deadline, f"{count} more writes")

    def gap_after(self, moment: float) -> float:
        """Return the seconds from ``moment`` to the first acknowledgement over 50 ms after it."""
        return min(at for at in self.moments if at > moment + 0.05) - moment

    @property
    def longest_pause(self) -> float:
        """The longest time without an acknowledgement to any writer, seconds."""
        return max((b - a for a, b in pairwise(sorted(self.moments))), default=0.0)

    def check(self, found: Mapping[str, Any]) -> None:
        """Check that no acknowledged write is missing and no value was invented.

        :raises AssertionError: naming the keys.
        """
        missing = {k: v for k, v in self.acknowledged.items() if found.get(k) != v}
        if missing:
            raise AssertionError(
                f"lost {len(missing)} of {len(self.acknowledged)} acknowledged writes: {missing}"
            )
        extra = {k: v for k, v in found.items() if k not in self.acknowledged}
        if not extra.items() <= self.unknown.items():
            raise AssertionError(f"a write happened that was refused: {extra}")


class Register(Protocol):
    """Where a counter is stored. See :class:`~braft_core.client.Client`."""

    def kv_put(self, map_name: str, key: str, value: Any, if_revision: int | None = None) -> int:
        """Store a value if the key is at that revision; return the new revision."""

    def kv_entry(self, map_name: str, key: str) -> tuple[Any, int] | None:
        """Return value and revision."""


class CountingClient(_Threads):
    """One caller that counts: each step names the revision that the step before it returned.

    A step that is sent twice causes a ``Conflict`` with its first copy. A lost step makes the next
    one a ``Conflict``. So the history is exact, or this fails.
    """

    def __init__(self, register: Register, map_name: str, key: str = "count") -> None:
        self._register, self._map, self._key = register, map_name, key
        self.value = 0
        #: The revision of each step that was acknowledged or found afterwards, in order.
        self.revisions: list[int] = []
        #: Steps with an unknown outcome that had happened.
        self.happened = 0
        self._doubt = False
        #: Every error raised to the caller.
        self.failures: list[BraftError] = []
        super().__init__([self._step])

    def _step(self) -> None:
        before = self.revisions[-1] if self.revisions else 0
        try:
            revision = self._register.kv_put(self._map, self._key, self.value + 1, before)
        except OutcomeUnknown as error:
            self.failures.append(error)
            self._doubt = True
            self._look(before)
        except Conflict:
            if not self._doubt:
                raise
            # The step in doubt was committed after the last check.
            self._look(before)
        except (NotApplied, Unreachable) as error:
            self.failures.append(error)
            self._end.wait(REFUSED_PAUSE)
        else:
            self._done(revision)
            self._end.wait(PAUSE)

    def _look(self, before: int) -> None:
        """Find out whether the step in doubt happened; nothing else can have changed the value."""
        entry = self._entry()
        if entry is None or entry == (self.value, before):
            return
        value, revision = entry
        if value != self.value + 1 or revision <= before:
            raise AssertionError(
                f"{self.value} at {before} was to become {self.value + 1}, and is {value} at "
                f"{revision}"
            )
        self.happened += 1
        self._done(revision)

    def _entry(self) -> tuple[Any, int] | None:
        """Return what the register holds; ``None`` if the load ends before a node answers."""
        while not self._end.is_set():
            try:
                return self._register.kv_entry(self._map, self._key) or (0, 0)
            except (NotApplied, Unreachable) as error:
                self.failures.append(error)
                self._end.wait(REFUSED_PAUSE)
        return None

    def _done(self, revision: int) -> None:
        self._doubt = False
        self.value += 1
        self.revisions.append(revision)

    def check(self, value: Any) -> None:
        """Check that the register holds the count, and that no step was acknowledged twice.

        :param value: what it holds after the end. One more is right only if the last step was still
            in doubt then.
        :raises AssertionError: if it does not.
        """
        right = {self.value, self.value + 1} if self._doubt else {self.value}
        if value not in right or sorted(set(self.revisions)) != self.revisions:
            raise AssertionError(f"counted {self.value}, found {value}: {self.revisions}")
