"""Calls to contacts: probes of many at once, each with its deadline, the last outcome remembered.

Owns the I/O of probing. It must not know what the answers mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from braft_core.abc import Contact
from braft_core.errors import AccessDenied, BraftError, TransportError, Unreachable
from braft_core.peer import PeerReply, PeerRequest, ProbeReply, ProbeRequest

__all__ = ["ProbeLog", "ProbeOutcome", "Prober", "in_turn"]

#: Calls to contacts that are under way at a time.
MOST_CALLS = 16
#: Seconds until a contact that did not answer is probed again: doubled from the first to the second
#: while it does not.
PAUSE_MIN = 5.0
PAUSE_MAX = 60.0
#: Servers whose last answer is remembered, at most.
_MAX_ANSWERED = 1024

_T = TypeVar("_T")

Call = Callable[[str, PeerRequest, float], Awaitable[PeerReply]]


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """How the last probe of a contact ended, at ``at`` (seconds of the given clock)."""

    at: float
    reply: ProbeReply | None = None
    failure: str = ""
    #: How many probes of this contact have failed since the last that did not.
    failures: int = 0
    #: Whether the failure is a refusal for want of the right token.
    denied: bool = False
    #: Whether somebody is there all the same, who refuses or is not understood.
    answered: bool = False
    #: When that was so last.
    answered_at: float = -inf


class ProbeLog:
    """What came of the last probes. Used on the loop alone."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._outcomes: dict[Contact, ProbeOutcome] = {}
        self._answered: dict[str, float] = {}

    def note_answer(self, contact: Contact, reply: ProbeReply) -> None:
        """A contact has answered."""
        self._outcomes[contact] = ProbeOutcome(self._now(), reply=reply)
        self._answered[reply.server_id] = self._now()

    def note_failure(self, contact: Contact, error: BraftError) -> None:
        """A contact has not."""
        before = self._outcomes.get(contact)
        denied = isinstance(error, AccessDenied)
        answered = denied or bool(error.data.get("answered"))
        self._outcomes[contact] = ProbeOutcome(
            self._now(),
            failure=error.message,
            failures=0 if answered else 1 + (before.failures if before is not None else 0),
            denied=denied,
            answered=answered,
            answered_at=self._now() if answered else before.answered_at if before else -inf,
        )

    def answered_at(self, server_id: str) -> float:
        """When that server last answered a probe, wherever it was; -infinity for never."""
        return self._answered.get(server_id, -inf)

    @property
    def outcomes(self) -> dict[Contact, ProbeOutcome]:
        """The last outcome of every contact probed and not forgotten since."""
        return dict(self._outcomes)

    def outcome_at(self, address: str) -> ProbeOutcome | None:
        """How the last probe of ``host:port`` ended, whoever named it."""
        return next((o for c, o in self._outcomes.items() if str(c) == address), None)

    def is_due(self, contact: Contact) -> bool:
        """Whether to probe that contact again: one that does not answer ever more seldom."""
        outcome = self._outcomes.get(contact)
        if outcome is None or not outcome.failures:
            return True
        pause = min(PAUSE_MAX, PAUSE_MIN * 2.0 ** (min(outcome.failures, 8) - 1))
        # The clock that asks ticks a little early.
        return self._now() - outcome.at >= 0.9 * pause

    def may_answer(self, contact: Contact) -> bool:
        """Whether a call may find somebody there: the last probe did, or there was none."""
        outcome = self._outcomes.get(contact)
        return outcome is None or not outcome.failures

    def heard_and_silent(self) -> tuple[set[Contact], set[Contact]]:
        """Return the contacts that answered their last probe, and those that did not."""
        silent = {contact for contact, outcome in self._outcomes.items() if outcome.failures}
        return self._outcomes.keys() - silent, silent

    def forget_except(self, contacts: Iterable[Contact]) -> None:
        """Drop what is remembered about all other contacts."""
        kept = set(contacts)
        self._outcomes = {c: outcome for c, outcome in self._outcomes.items() if c in kept}
        if len(self._answered) > _MAX_ANSWERED:
            newest = sorted(self._answered, key=self.answered_at)[-_MAX_ANSWERED // 2 :]
            self._answered = {server_id: self._answered[server_id] for server_id in newest}


async def in_turn(contacts: Sequence[Contact], ask: Callable[[Contact], Awaitable[_T]]) -> list[_T]:
    """Return what ``ask`` returns for each, with at most :data:`MOST_CALLS` under way at a time."""
    turns = asyncio.Semaphore(MOST_CALLS)

    async def one(contact: Contact) -> _T:
        async with turns:
            return await ask(contact)

    return await asyncio.gather(*map(one, contacts))


class Prober(ProbeLog):
    """Probes contacts. Used on the loop alone; concurrent probes do not wait for each other."""

    def __init__(
        self,
        call: Call,
        request: Callable[[], ProbeRequest],
        now: Callable[[], float],
        timeout: float,
    ) -> None:
        super().__init__(now)
        self._call, self._request, self._timeout = call, request, timeout

    async def probe(self, contact: Contact) -> ProbeReply:
        """Ask who answers there.

        :raises BraftError: nobody did within the deadline, or not with a probe's reply.
        """
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._call(str(contact), self._request(), self._timeout)
            if not isinstance(reply, ProbeReply):
                raise TransportError(f"{contact} answered a probe with {type(reply).__name__}")
        except TimeoutError:
            error = Unreachable(f"{contact}: no answer within {self._timeout:g} s")
            self.note_failure(contact, error)
            raise error from None
        except BraftError as error:
            self.note_failure(contact, error)
            raise
        self.note_answer(contact, reply)
        return reply

    async def probe_all(self, contacts: Iterable[Contact]) -> list[ProbeReply]:
        """Probe all, some at a time; the replies of those that answered, in the order given."""

        async def ask(contact: Contact) -> ProbeReply | None:
            try:
                return await self.probe(contact)
            except BraftError:
                return None

        replies = await in_turn(list(dict.fromkeys(contacts)), ask)
        return [reply for reply in replies if reply is not None]
