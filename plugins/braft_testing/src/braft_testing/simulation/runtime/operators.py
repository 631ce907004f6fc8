"""Changes of the membership: operators ask for them, and in the end for all nodes as voters."""

from __future__ import annotations

import concurrent.futures
import random
from dataclasses import dataclass
from typing import Any

from braft_core.errors import BraftError
from braft_core.raft.types import Configuration, Suffrage
from braft_testing.simulation.runtime.node import Life, SimulatedNode, Surroundings
from braft_testing.simulation.trace import Trace

__all__ = ["Operators"]

#: Between two attempts at the same change.
_AGAIN = 1.0


@dataclass(slots=True)
class _Change:
    """A request of an operator."""

    life: Life
    what: str
    future: concurrent.futures.Future[Any]


class Operators:
    """Ask running nodes for changes. They see what any node knows, and nothing else."""

    def __init__(
        self, rng: random.Random, around: Surroundings, nodes: list[SimulatedNode], trace: Trace
    ) -> None:
        self._rng, self._around, self._nodes, self._trace = rng, around, nodes, trace
        self._changes: list[_Change] = []
        self._next = 0.0
        #: Nodes that an operator removed: they do not return by themselves.
        self.removed: set[str] = set()

    # -- views -------------------------------------------------------------------------------

    def leader(self) -> SimulatedNode | None:
        """Return the running node that leads the latest term."""
        leaders = [node for node in self._nodes if node.life and node.server.is_leader]
        return max(leaders, key=lambda node: node.server.replica.core.current_term, default=None)

    def configuration(self) -> Configuration | None:
        """Return the configuration that the leader uses."""
        leader = self.leader()
        return None if leader is None else leader.server.configuration

    def lost(self) -> list[str]:
        """Return the members whose data no node has any more."""
        configuration, known = self.configuration(), {node.server_id for node in self._nodes}
        return [s.id for s in configuration.servers if s.id not in known] if configuration else []

    def may_lose(self, node: SimulatedNode) -> bool:
        """Return whether the cluster can go on if the data of ``node`` is lost."""
        leader = self.leader()
        if leader is None or self.lost():
            return False
        core = leader.server.replica.core
        settled = core.log.configuration_index <= core.commit_index
        voters = core.configuration.voters
        return settled and len(voters) >= (3 if node.server_id in voters else 2)

    # -- changes -----------------------------------------------------------------------------

    def change(self, kind: str, server_id: str, address: str = "") -> None:
        """Ask any node for a change."""
        lives = [node.life for node in self._nodes if node.life is not None]
        if not lives:
            return
        life = self._rng.choice(lives)
        what = f"{kind} {server_id} {address}".strip()
        self._trace.add(f"{life.process.name} is asked to {what}")
        if kind == "remove_server":
            self.removed.add(server_id)
        admin = life.threads._server.admin
        work = _told(admin.change(kind, server_id, address, life._settings.request_timeout))
        try:
            future = life.platform.loops[0].submit(work)
        except BraftError:
            return
        future.add_done_callback(lambda done: self._answered(what, done))
        self._changes.append(_Change(life, what, future))

    def _answered(self, what: str, done: concurrent.futures.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._trace.add(f"{what}: {done.result()}")

    def random_change(self, kind: str) -> None:
        """Ask for a change of any member."""
        configuration = self.configuration()
        if configuration is not None and configuration.servers:
            self.change(kind, self._rng.choice(configuration.servers).id)

    def remove_lost(self) -> None:
        """Remove, now and then, a member whose data is lost."""
        now = self._around.scheduler.now
        if now >= self._next and (lost := self.lost()):
            self._next = now + _AGAIN
            self.change("remove_server", lost[0])

    def restore(self) -> str:
        """Ask for what is missing until all nodes vote; return what that is, "" if nothing.

        Nodes that no operator removed join and return by themselves.
        """
        configuration = self.configuration()
        if configuration is None:
            return "there is no leader"
        self.remove_lost()
        missing = ""
        for node in self._nodes:
            known = configuration.get(node.server_id)
            if known is not None and known.suffrage is Suffrage.VOTER:
                continue
            missing = missing or f"{node.name} {'is a learner' if known else 'is no member'}"
            now = self._around.scheduler.now
            if node.server_id in self.removed and now >= self._next:
                self._next = now + _AGAIN
                self.change("add_voter", node.server_id, node.address)
        return missing or ("a member is lost" if self.lost() else "")

    # -- judgement ---------------------------------------------------------------------------

    def waiting(self) -> list[str]:
        """Return the changes that running nodes have not answered."""
        return [c.what for c in self._changes if c.life.process.alive and not c.future.done()]

    def failures(self) -> list[str]:
        """Return the answers that no operator may get."""
        done = [c for c in self._changes if c.future.done() and not c.future.cancelled()]
        failed = [(c.what, c.future.exception()) for c in done]
        return [f"{what}: {error!r}" for what, error in failed if not _expected(error)]


def _expected(error: BaseException | None) -> bool:
    return error is None or isinstance(error, BraftError)


async def _told(work: Any) -> str:
    """Await a change; return what its operator reads."""
    try:
        await work
    except BraftError as error:
        return f"{type(error).__name__}: {error.message}"
    return "done"
