"""The terms in which this node leads, for callers that act while it does.

A leader that was replaced leads on for an election timeout and a heartbeat interval at most,
counted from the election of the next one (:func:`braft_core.raft.election.check_quorum`). So a
new leader's callers wait for that, and for an election timeout more: clocks differ, and turns of a
loop are late. Then every earlier leader has reported its loss.
"""

from __future__ import annotations

from collections.abc import Callable

from braft_core.errors import Stopped
from braft_core.raft import Role
from braft_core.recipes.leadership import RaftTerm
from braft_core.runtime import clock
from braft_core.runtime.argument_checks import MAX_SECONDS
from braft_core.runtime.conditions import StateCondition

__all__ = ["LeadershipTerms"]


class LeadershipTerms:
    """Changed on the loop. What is marked *any thread* may be called from anywhere.

    :param checked_at: returns when the node last found that it leads, monotonic seconds.
    """

    def __init__(
        self,
        condition: StateCondition,
        election_timeout: float,
        heartbeat_interval: float,
        checked_at: Callable[[], float],
    ) -> None:
        self._condition = condition
        self._wait = 2 * election_timeout + heartbeat_interval
        # An earlier leader is certain of its term for an election timeout after its last check.
        # Half of it is left for clocks that differ.
        self._certain = election_timeout / 2
        self._checked_at = checked_at
        self._current: RaftTerm | None = None
        self._stopped = False

    def on_role(self, role: Role, term: int) -> None:
        """Take a change of the role or term of this node."""
        current = self._current
        if current is not None and (role is not Role.LEADER or term != current.number):
            self.end()
        if role is Role.LEADER and self._current is None and not self._stopped:
            self._current = RaftTerm(term, clock.monotonic())

    def end(self) -> None:
        """End the current term, if there is one."""
        current, self._current = self._current, None
        if current is not None:
            current.lost.set()

    def stop(self) -> None:
        """End the current term; there will be no other one."""
        self._stopped = True
        self.end()
        self._condition.notify()

    # -- any thread ------------------------------------------------------------------------------

    def wait_for_term(self, deadline: float | None) -> RaftTerm | None:
        """See :meth:`braft_core.recipes.leadership.RaftTerms.wait_for_term`."""
        while True:
            self._condition.wait_for(self._may_go_on, self._until(deadline))
            term = self._term()
            lost = term is not None and term.lost.wait(self._left(term, deadline))
            if term is not None and not lost and self._left(term, None) <= 0:
                return term
            if deadline is not None and clock.monotonic() >= deadline:
                return None

    async def await_term(self, deadline: float | None) -> RaftTerm | None:
        """Call :meth:`wait_for_term` asynchronously."""
        while True:
            await self._condition.await_for(self._may_go_on, self._until(deadline))
            term = self._term()
            lost = term is not None and await term.lost.await_for(self._left(term, deadline))
            if term is not None and not lost and self._left(term, None) <= 0:
                return term
            if deadline is not None and clock.monotonic() >= deadline:
                return None

    def remaining(self, term: RaftTerm) -> float:
        """See :meth:`braft_core.recipes.leadership.RaftTerms.remaining`."""
        if term is not self._current:
            return 0.0
        return max(self._checked_at() + self._certain - clock.monotonic(), 0.0)

    def _term(self) -> RaftTerm | None:
        if self._stopped:
            raise Stopped("the node was stopped")
        return self._usable()

    def _usable(self) -> RaftTerm | None:
        """Return the current term, unless a later leader's claim in the store has ended it."""
        current = self._current
        return None if current is None or current.lost.is_set() else current

    def _may_go_on(self) -> bool:
        return self._stopped or self._usable() is not None

    def _until(self, deadline: float | None) -> float:
        latest = clock.monotonic() + MAX_SECONDS
        return latest if deadline is None else min(deadline, latest)

    def _left(self, term: RaftTerm, deadline: float | None) -> float:
        """Return for how long to wait until the term may be used, or until the deadline."""
        now = clock.monotonic()
        left = term.since + self._wait - now
        return max(left if deadline is None else min(left, deadline - now), 0.0)
