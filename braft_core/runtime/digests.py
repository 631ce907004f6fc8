"""State digests of a running node: capture the state, hash it, act on a difference.

The leader commits checkpoints. Each node captures its services when it applies one, on the applier
thread, which is cheap. Another thread hashes the capture, in pieces with long pauses, so that
neither the consensus loop nor callers wait. A node whose state
is not that of the majority serves no reads, takes no snapshots and does not lead; see
:mod:`braft_core.cluster.state_comparison`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from braft_core.cluster.interface import MembershipHost
from braft_core.cluster.state_comparison import StateComparison
from braft_core.errors import BraftError
from braft_core.raft import Configuration
from braft_core.runtime import clock
from braft_core.runtime.applier import Applier
from braft_core.runtime.components import Components
from braft_core.runtime.platform import THREADS, Platform
from braft_core.runtime.requests import Command, Query
from braft_core.runtime.workers import Spawned
from braft_core.services.cluster import checkpoint_command
from braft_core.services.digests import KEPT, Checkpoint, Digest, new_hash
from braft_core.services.envelope import read_need
from braft_core.services.state_machine import StateMachine

__all__ = ["Digester", "StateDigests", "is_due"]

_log = logging.getLogger(__name__)
#: Least distance between checkpoints, as a multiple of the cost of the last one.
_APART: Final = 100.0
#: How long the hashing pauses, as a multiple of the work before.
_PAUSE: Final = 3.0

Captured = list[tuple[str, bytes, Iterator[bytes]]]


def is_due(now: float, last: float, interval: float, cost: float) -> bool:
    """Return whether the next checkpoint may be committed.

    :param last: when the last one was applied.
    :param interval: the setting; 0 for never.
    :param cost: seconds of the processor that the last one took.
    """
    return interval > 0 and now - last >= max(interval, _APART * cost)


class _Capture(NamedTuple):
    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index
    captured: Captured
    #: Seconds that commands had to wait for it.
    seconds: float
    #: Of the state that it is of.
    generation: int


class Digester:
    """Captures states on the applier thread, and hashes them on another one.

    One capture is hashed at a time and one may wait: a newer one takes its place.

    :param on_digest: called from the hashing thread with each result and its generation.
    :param stretch: seconds of work after which the hashing pauses.
    """

    def __init__(
        self,
        machine: StateMachine,
        name: str,
        on_digest: Callable[[Checkpoint, int], None],
        stretch: float,
        platform: Platform = THREADS,
    ) -> None:
        self._stretch, self._platform = stretch, platform
        self._machine, self._name, self._on_digest = machine, name, on_digest
        self._lock = threading.Lock()
        self._waiting: _Capture | None = None
        self._thread: Spawned | None = None
        self._stopped = threading.Event()
        #: Rises whenever the state is replaced.
        self.generation = 0
        #: Seconds of the processor that the last checkpoint took.
        self.cost = 0.0
        #: The entry of the last checkpoint, and when it was applied.
        self.last_index, self.last_at = 0, clock.monotonic()

    def capture(self, index: int) -> None:
        """*Applier.* Capture the state as it is after ``index``."""
        begin = clock.thread_time()
        captured = self._machine.capture_digests()
        spent = clock.thread_time() - begin
        self.last_index, self.last_at = index, clock.monotonic()
        with self._lock:
            self._waiting = _Capture(index, captured, spent, self.generation)
            if self._thread is None and not self._stopped.is_set():
                self._thread = self._platform.spawn(self._name, self._run)

    def forget(self) -> None:
        """*Applier.* Drop the captures of a state that was replaced."""
        with self._lock:
            self.generation += 1
            self._waiting = None
            self.last_index = 0

    def stop(self, timeout: float) -> None:
        """End the hashing."""
        with self._lock:
            self._stopped.set()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)

    # -- on the hashing thread -------------------------------------------------------------------

    def _run(self) -> None:
        while (capture := self._next()) is not None:
            found = self._hash_all(capture)
            if found is not None:
                self._on_digest(found, capture.generation)

    def _next(self) -> _Capture | None:
        with self._lock:
            capture, self._waiting = self._waiting, None
            if capture is None or self._stopped.is_set():
                self._thread = None
                return None
            return capture

    def _hash_all(self, capture: _Capture) -> Checkpoint | None:
        begin = clock.thread_time()
        digests: dict[str, Digest] = {}
        # Release each once it is hashed: a capture keeps its state in memory.
        capture.captured.reverse()
        while capture.captured:
            name, code, chunks = capture.captured.pop()
            try:
                value = self._hash(chunks, capture.generation)
            except Exception:  # noqa: BLE001 - a service's failure is not the node's
                _log.exception("service %r has no digest of its state", name)
                continue
            if value is None:
                return None
            digests[name] = Digest(code, value)
        self.cost = capture.seconds + clock.thread_time() - begin
        _log.debug("state digests at entry %d took %.3f s", capture.index, self.cost)
        return Checkpoint(capture.index, digests)

    def _hash(self, chunks: Iterator[bytes], generation: int) -> bytes | None:
        hashed, begin = new_hash(), clock.thread_time()
        for chunk in chunks:
            hashed.update(chunk)
            spent = clock.thread_time() - begin
            if spent >= self._stretch:
                if self._stopped.wait(_PAUSE * spent) or generation != self.generation:
                    return None
                begin = clock.thread_time()
        value: bytes = hashed.digest()
        return value


class _Server(Protocol):
    """What state digests need of the server."""

    @property
    def components(self) -> Components:
        """The components of the node."""

    @property
    def applier(self) -> Applier:
        """Runs the services."""

    @property
    def configuration(self) -> Configuration:
        """The configuration in use."""

    @property
    def is_leader(self) -> bool:
        """Whether this node believes that it leads."""

    def submit(self, request: Command | Query) -> None:
        """Take a request."""

    def update_campaign_enabled(self) -> None:
        """Campaign only if the state here is that of the cluster."""


class StateDigests:
    """Everything about state digests of one node that lives on the loop."""

    def __init__(self, server: _Server, ports: MembershipHost) -> None:
        self._server, self._ports = server, ports
        components = server.components
        self.comparison = StateComparison(components.server_id)
        self._digester = Digester(
            components.machine,
            f"braft-{components.ports.raft}-digest",
            self._on_digest,
            components.timing.digest_stretch,
            components.platform,
        )
        self._interval = components.settings.digest_interval
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if self._interval > 0:
            components.cluster.call_at_checkpoints(self._digester.capture)
            server.applier.call_when_replaced(self._on_replaced)

    def start(self) -> None:
        """Start committing checkpoints when they are due."""
        self._loop = asyncio.get_running_loop()
        if self._task is None and self._interval > 0:
            self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """Stop checkpoints and hashing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._digester.stop, self._server.components.timing.thread_join)

    def shown(self) -> list[dict[str, object]]:
        """Return this node's digests for ``GET /raft``, the newest first."""
        return [
            {"index": index, "services": {name: each.text for name, each in digests.items()}}
            for index, digests in reversed(self.comparison.own)
        ]

    def compare(self) -> None:
        """Compare all digests that are known, and act on it if this node has diverged."""
        comparison, before = self.comparison, self.comparison.own_fault
        comparison.compare(self._server.configuration)
        if comparison.own_fault != before:
            self._server.applier.distrust(comparison.own_fault)
            self._server.update_campaign_enabled()

    # -- from other threads ----------------------------------------------------------------------

    def _on_digest(self, checkpoint: Checkpoint, generation: int) -> None:
        """Add a digest. Hashing thread."""
        self._call(lambda: self._add(checkpoint, generation))

    def _on_replaced(self) -> None:
        """Forget the digests of a state that was replaced. Applier."""
        self._digester.forget()
        self._call(self._forget)

    def _call(self, action: Callable[[], None]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(action)

    def _add(self, checkpoint: Checkpoint, generation: int) -> None:
        if generation != self._digester.generation:
            return
        own = self.comparison.own
        if not own or own[-1].index < checkpoint.index:
            self.comparison.set_own([*own, checkpoint][-KEPT:])
            self.compare()

    def _forget(self) -> None:
        self.comparison.forget_own()
        self.compare()

    # -- the leader's side -----------------------------------------------------------------------

    async def _run(self) -> None:
        check = min(self._server.components.timing.digest_check, self._interval)
        while True:
            await asyncio.sleep(check)
            try:
                if self._is_due():
                    await self._commit()
            except BraftError as error:
                _log.debug("no checkpoint could be committed: %s", error)

    def _is_due(self) -> bool:
        server, digester = self._server, self._digester
        if not server.is_leader or server.applier.applied_index <= digester.last_index:
            return False
        if not is_due(clock.monotonic(), digester.last_at, self._interval, digester.cost):
            return False
        # An empty cluster stays empty, and every member must know the command.
        need = read_need(server.components.machine.serializers, checkpoint_command())
        return not self._ports.raft_view().empty and not self._ports.agreed.missing(need)

    async def _commit(self) -> None:
        server = self._server
        timeout = server.components.settings.request_timeout
        command = Command(checkpoint_command(), timeout, asyncio.get_running_loop())
        server.submit(command)
        await command.awaitable
