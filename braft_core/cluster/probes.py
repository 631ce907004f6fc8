"""Probes of contacts: many at once, each with a deadline, and a log of the last outcomes.

Owns the I/O of probing. Does not interpret the replies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from braft_core.abc import Contact
from braft_core.cluster.timing import DEFAULT_TIMING, ClusterTiming
from braft_core.errors import AccessDenied, BraftError, TransportError, Unreachable
from braft_core.peer import PeerReply, PeerRequest, ProbeReply, ProbeRequest

__all__ = ["ProbeLog", "ProbeOutcome", "Prober", "call_each"]

#: Most calls to contacts that are under way at a time.
MAX_CALLS = 16
#: Most servers whose last reply is remembered.
_MAX_ANSWERED = 1024

_T = TypeVar("_T")

Call = Callable[[str, PeerRequest, float], Awaitable[PeerReply]]


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """How the last probe of a contact ended, at time ``at`` (seconds)."""

    at: float
    reply: ProbeReply | None = None
    failure: str = ""
    #: How many probes of this contact have failed since the last success.
    failures: int = 0
    #: Whether the contact refused our token.
    denied: bool = False
    #: Whether a process answers there, although it refuses us or its protocol differs.
    answered: bool = False
    #: When that was last the case.
    answered_at: float = -inf


class ProbeLog:
    """The outcomes of the last probes. Use on the node's loop only."""

    def __init__(self, now: Callable[[], float], timing: ClusterTiming = DEFAULT_TIMING) -> None:
        self._now = now
        self._timing = timing
        self._outcomes: dict[Contact, ProbeOutcome] = {}
        self._answered: dict[str, float] = {}

    def note_answer(self, contact: Contact, reply: ProbeReply) -> None:
        """Store the reply of a contact."""
        self._outcomes[contact] = ProbeOutcome(self._now(), reply=reply)
        self._answered[reply.server_id] = self._now()

    def note_failure(self, contact: Contact, error: BraftError) -> None:
        """Store the failure of a probe."""
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
        """Return when that server last answered a probe at any address; -infinity for never."""
        return self._answered.get(server_id, -inf)

    @property
    def outcomes(self) -> dict[Contact, ProbeOutcome]:
        """The last outcome of each contact."""
        return dict(self._outcomes)

    def outcome_at(self, address: str) -> ProbeOutcome | None:
        """Return the outcome of the last probe of ``host:port``, whatever named that contact."""
        return next((o for c, o in self._outcomes.items() if str(c) == address), None)

    def is_due(self, contact: Contact) -> bool:
        """Return whether to probe that contact again; the pause doubles while it is silent."""
        outcome = self._outcomes.get(contact)
        if outcome is None or not outcome.failures:
            return True
        timing, doublings = self._timing, min(outcome.failures, 8) - 1
        pause = min(timing.member_retry_max, timing.member_retry_min * 2.0**doublings)
        # Tolerate callers whose tick is slightly early.
        return self._now() - outcome.at >= 0.9 * pause

    def may_answer(self, contact: Contact) -> bool:
        """Return whether a call may succeed: the last probe did, or there was none."""
        outcome = self._outcomes.get(contact)
        return outcome is None or not outcome.failures

    def answered_and_silent(self) -> tuple[set[Contact], set[Contact]]:
        """Return the contacts that answered their last probe, and those that did not."""
        silent = {contact for contact, outcome in self._outcomes.items() if outcome.failures}
        return self._outcomes.keys() - silent, silent

    def forget_except(self, contacts: Iterable[Contact]) -> None:
        """Forget all other contacts."""
        kept = set(contacts)
        self._outcomes = {c: outcome for c, outcome in self._outcomes.items() if c in kept}
        if len(self._answered) > _MAX_ANSWERED:
            newest = sorted(self._answered, key=self.answered_at)[-_MAX_ANSWERED // 2 :]
            self._answered = {server_id: self._answered[server_id] for server_id in newest}


async def call_each(
    contacts: Sequence[Contact], ask: Callable[[Contact], Awaitable[_T]]
) -> list[_T]:
    """Return the results of ``ask`` for each, at most :data:`MAX_CALLS` at a time."""
    turns = asyncio.Semaphore(MAX_CALLS)

    async def one(contact: Contact) -> _T:
        async with turns:
            return await ask(contact)

    return await asyncio.gather(*map(one, contacts))


class Prober(ProbeLog):
    """Probes contacts. Use on the node's loop only; probes run concurrently."""

    def __init__(
        self,
        call: Call,
        request: Callable[[], ProbeRequest],
        now: Callable[[], float],
        timeout: float,
        timing: ClusterTiming = DEFAULT_TIMING,
    ) -> None:
        super().__init__(now, timing)
        self._call, self._request, self._timeout = call, request, timeout

    async def probe(self, contact: Contact) -> ProbeReply:
        """Ask the node at ``contact`` who it is.

        :raises BraftError: if there is no valid reply within the timeout.
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
        """Probe all, some at a time; return the replies in the order of the contacts."""

        async def ask(contact: Contact) -> ProbeReply | None:
            try:
                return await self.probe(contact)
            except BraftError:
                return None

        replies = await call_each(list(dict.fromkeys(contacts)), ask)
        return [reply for reply in replies if reply is not None]
