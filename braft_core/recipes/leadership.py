"""``node.leadership()``: act while this node is Raft's leader.

The token is the Raft term. A leader claims it in the store before its body begins, so that
``if_held`` refuses the writes of all earlier leaders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol, Self

from braft_core.errors import BraftError, InvalidRequest, LeadershipLost, NotAcquired
from braft_core.recipes.arguments import wait_of
from braft_core.recipes.body import Body
from braft_core.recipes.interface import RecipeStore
from braft_core.recipes.line import ROOT
from braft_core.recipes.steps import Step, Steps, Transact, arun, run
from braft_core.store import Condition, Key, Once, Put

__all__ = ["Leadership", "RaftTerm", "RaftTerms"]

#: Where the leaders claim their terms.
_KEY: Final = f"{ROOT}leadership".encode()


@dataclass(frozen=True, eq=False)
class RaftTerm:
    """One term in which this node leads."""

    number: int
    #: When this node noticed that it leads, monotonic seconds.
    since: float
    #: Set when it does not lead any more, before a later leader acts.
    lost: Once = field(default_factory=Once)


class RaftTerms(Protocol):
    """The terms in which a node leads. Thread-safe."""

    def wait_for_term(self, deadline: float | None) -> RaftTerm | None:
        """Wait until this node leads, and no earlier leader believes to do so any more.

        :param deadline: monotonic seconds; then return ``None``.
        :raises Stopped: the node was stopped.
        """

    async def await_term(self, deadline: float | None) -> RaftTerm | None:
        """Call :meth:`wait_for_term` asynchronously."""

    def remaining(self, term: RaftTerm) -> float:
        """Return for how many seconds no later leader acts, as far as is known; 0 if one may."""


class Leadership:
    """The leadership of this node, for a ``with`` or ``async with`` statement. Thread-safe.

    The statement begins when this node leads: at once if it does so already for a while, else when
    it is elected next. In an ``async with`` statement the body is cancelled when the node does not
    lead any more, and the statement raises :class:`LeadershipLost`. In a ``with`` statement
    :attr:`lost` is set, and the end of the statement raises it, unless the body raises.

    A later leader acts only when two election timeouts and a heartbeat interval have passed since
    its election. A leader that was replaced steps down before that. So its body learns of the loss
    before another one begins, however late messages are, unless clocks run at very different rates
    or this process is stopped. For that case, make writes conditional with ``if_held``.

    The end of the statement does not end the leadership of the node.
    """

    def __init__(
        self,
        store: RecipeStore,
        terms: Callable[[], RaftTerms],
        monotonic: Callable[[], float],
        *,
        wait: float | None = None,
        cancel: bool = True,
    ) -> None:
        self._store, self._find_terms, self._monotonic = store, terms, monotonic
        self._wait, self._cancel = wait_of(wait), cancel
        self._body = Body()
        self._used = False
        self._terms: RaftTerms | None = None
        self._term: RaftTerm | None = None

    def __repr__(self) -> str:
        return f"<Leadership term={self.token}>"

    @property
    def token(self) -> int:
        """The fencing token: the Raft term; 0 before the body."""
        return 0 if self._term is None else self._term.number

    @property
    def lost(self) -> Once:
        """Set when this node leads no more: ``lost.is_set()``, ``lost.wait(s)``, ``await lost``.

        :raises InvalidRequest: before the body.
        """
        return self._held().lost

    @property
    def remaining(self) -> float:
        """For how many seconds no later leader acts, as far as is known; 0 if one may."""
        if self._term is None or self._terms is None or self._term.lost.is_set():
            return 0.0
        return self._terms.remaining(self._term)

    def check(self) -> None:
        """Raise unless no later leader can act at this moment.

        :raises LeadershipLost: this node leads no more, or was stopped for a while.
        :raises InvalidRequest: before the body.
        """
        self._held()
        if self.remaining <= 0:
            raise self._lost_error()

    def fence(self) -> Condition:
        """Return the condition that holds in the store until a later leader has claimed its term.

        :raises InvalidRequest: before the body.
        """
        return Key(_KEY).value == _encoded(self._held().number)

    def refused(self) -> BraftError:
        """Take note that a write was refused, since a later leader acts; return the error."""
        self._held().lost.set()
        return self._lost_error("a later leader has taken over")

    # -- the statement ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        run(self._beginning(), self._store)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self.lost.is_set():
            raise self._lost_error()

    async def __aenter__(self) -> Self:
        await arun(self._beginning(), self._store)
        if self._cancel:
            self._body.begin(self.lost)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        is_ours = self._body.end(kind)
        if self.lost.is_set() and (kind is None or is_ours):
            raise self._lost_error() from error

    # -- inside ----------------------------------------------------------------------------------

    def _beginning(self) -> Steps[None]:
        if self._used:
            raise InvalidRequest(f"{self!r} was used before; make another one")
        self._used = True
        terms = self._terms = self._find_terms()
        deadline = None if self._wait is None else self._monotonic() + self._wait
        while True:
            term = yield _AwaitTerm(terms, deadline)
            if term is None:
                raise NotAcquired(
                    f"this node does not lead within {self._wait:g} s", name="", wait=self._wait
                )
            if (yield from self._claiming(term)):
                self._term = term
                return

    def _claiming(self, term: RaftTerm) -> Steps[bool]:
        """Claim a term in the store; return whether this node leads in it."""
        claim = _encoded(term.number)
        try:
            done = yield Transact([Key(_KEY).value > claim], [], [Put(_KEY, claim)])
        except BraftError:
            if term.lost.is_set():
                return False
            raise
        if done.succeeded:  # a later leader has claimed its term: this one does not know it yet
            term.lost.set()
        return not term.lost.is_set()

    def _held(self) -> RaftTerm:
        if self._term is None:
            raise InvalidRequest(f"{self!r} is not held yet; use it in a with statement")
        return self._term

    def _lost_error(self, why: str = "this node does not lead any more") -> LeadershipLost:
        return LeadershipLost(f"the term {self.token} is over: {why}", name="", token=self.token)


@dataclass(frozen=True, slots=True)
class _AwaitTerm(Step):
    terms: RaftTerms
    deadline: float | None

    def do(self, store: RecipeStore) -> RaftTerm | None:
        return self.terms.wait_for_term(self.deadline)

    async def ado(self, store: RecipeStore) -> RaftTerm | None:
        return await self.terms.await_term(self.deadline)


def _encoded(term: int) -> bytes:
    """Return a term so that later ones are larger as bytes."""
    return term.to_bytes(8, "big")
