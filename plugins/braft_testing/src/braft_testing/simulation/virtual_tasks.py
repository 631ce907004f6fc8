"""Run coroutines of the membership code in virtual time: no event loop, no threads.

An awaited condition is checked in every turn of the server. A crash discards what is in progress.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, cast

from braft_core.cluster.interface import PeerView, RaftView
from braft_core.errors import BraftError, InvariantViolation, NotLeader, OutcomeUnknown
from braft_core.raft.types import Configuration, Role
from braft_testing.simulation.bootstrap import address_of

if TYPE_CHECKING:
    from braft_testing.simulation.core import Core
    from braft_testing.simulation.process import Process

__all__ = ["Condition", "VirtualTasks", "raft_view", "wait_until_applied"]

#: Virtual seconds after which a change has failed.
_CHANGE_TIMEOUT = 2.0


class Condition:
    """Awaitable that ends when ``ready`` returns true."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.ready = ready

    def __await__(self) -> Generator[Condition, None, None]:
        """Let other coroutines run until the condition holds."""
        while not self.ready():
            yield self


class VirtualTasks:
    """The coroutines in progress of one life of a server; each name once at a time.

    :param failed: called with the error of a coroutine that failed.
    """

    def __init__(self, failed: Callable[[BraftError], None]) -> None:
        self._failed = failed
        self._running: dict[str, Coroutine[Condition, None, None]] = {}
        self._awaited: dict[str, Condition] = {}

    def once(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Start a coroutine unless one of that name is in progress."""
        if name not in self._running:
            self._running[name] = cast(Coroutine[Condition, None, None], work())
            self._step(name)

    def resume_ready(self) -> None:
        """Continue those whose condition is met."""
        for name in [name for name, until in self._awaited.items() if until.ready()]:
            self._step(name)

    def _step(self, name: str) -> None:
        try:
            self._awaited[name] = self._running[name].send(None)
            return
        except StopIteration:
            pass
        except InvariantViolation:
            raise
        except BraftError as refusal:
            self._failed(refusal)
        del self._running[name]
        self._awaited.pop(name, None)


async def wait_until_applied(
    live: Process, index: int, term: int, now: Callable[[], float]
) -> None:
    """Return once the entry is applied here; ``now`` is the clock of the server.

    :raises OutcomeUnknown: if another entry took its index, or it takes too long.
    :raises NotLeader: if leadership was lost.
    """
    core, frontend, deadline = live.core, live.frontend, now() + _CHANGE_TIMEOUT

    def leads() -> bool:
        return core.role is Role.LEADER and core.current_term == term

    await Condition(lambda: frontend.applied >= index or not leads() or now() >= deadline)
    if frontend.applied >= index:
        if core.log.term_at(index) not in (term, None):
            raise OutcomeUnknown("another entry came first")
    elif not leads():
        raise NotLeader("leadership was lost")
    else:
        raise OutcomeUnknown("it takes too long")


def raft_view(core: Core) -> RaftView:
    """Return the state of the core, as the membership code sees it."""
    leads = core.role is Role.LEADER
    changed_at, configuration = core.log.configuration_entry_at(core.last_index)
    members = (m._replace(address=address_of(m.id)) for m in configuration.servers)
    peers: dict[str, Any] = {
        p.server_id: PeerView(p.silent_for, p.match_index) for p in core.peers()
    }
    if not leads:
        peers = {core.leader: PeerView(core.leader_silent_for)} if core.leader else {}
    return RaftView(
        configuration=Configuration(tuple(members)),
        leader_id=core.leader,
        leader_address=address_of(core.leader) if core.leader else "",
        is_leader=leads,
        term=core.current_term,
        has_quorum=leads and core.log.term_at(core.commit_index) == core.current_term,
        change_pending=changed_at > core.commit_index,
        last_index=core.last_index,
        peers=peers,
    )
