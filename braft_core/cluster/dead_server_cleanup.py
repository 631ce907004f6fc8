"""Removal of dead voters: evaluates the rules, records the removal, changes the configuration.

Owns the I/O around :mod:`.autopilot`, which decides. Use on the node's loop only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from math import inf
from typing import Any

from braft_core.cluster.address_book import AddressBook
from braft_core.cluster.autopilot import MIN_FAILURES, Autopilot, Decision, ProbeEvidence, Verdict
from braft_core.cluster.interface import CleanupHost, RaftView
from braft_core.cluster.probes import ProbeLog
from braft_core.compat.go_braft.server_id import short_id
from braft_core.errors import BraftError
from braft_core.raft.types import Server

__all__ = ["DeadServerCleanup"]

_log = logging.getLogger(__name__)

#: Rounds of probes within ``dead_after`` while a voter is silent.
PROBES_UNTIL_DEAD = 6


class DeadServerCleanup:
    """Evaluates the rules on every tick; removes one voter at a time.

    :param changing: a lock that is held during every membership change.
    :param once: runs work in the background unless work of that name is under way.
    """

    def __init__(
        self,
        host: CleanupHost,
        probes: ProbeLog,
        book: AddressBook,
        changing: asyncio.Lock,
        once: Callable[[str, Callable[[], Any]], None],
    ) -> None:
        self._host, self._probes, self._book = host, probes, book
        self._changing, self._once = changing, once
        self._rules = host.settings.autopilot
        self._autopilot = Autopilot(self._rules)
        self._retry_at = -inf
        #: The server whose removal this node has recorded and not yet committed.
        self._recorded = ""
        self._decided_at = host.now()
        #: The last decision.
        self.decision = Decision(Verdict.FOLLOWS, "no evaluation yet")
        #: The decision and the removed servers for status pages. Replaced, never changed, so any
        #: thread may read it.
        self.report: dict[str, Any] = {}

    def tick(self, now: float, view: RaftView) -> None:
        """Evaluate the rules, and begin a removal if they allow one."""
        decision = self._evaluate(now, view)
        if decision.key != self.decision.key:
            self._decided_at = now
            self._log_decision(decision)
        self.decision = decision
        self.report = self._describe(now, view)
        removes = decision.verdict is Verdict.REMOVE and self._rules.mode == "on"
        if removes and now >= self._retry_at and not self._changing.locked():
            self._once("remove", self._remove)

    def interval(self, otherwise: float) -> float:
        """Return the seconds between two rounds of probes: shorter while a voter is silent."""
        if not self.decision.silent:
            return otherwise
        shortest = self._host.settings.timing.silent_probe_interval
        return min(otherwise, max(shortest, self._rules.dead_after / PROBES_UNTIL_DEAD))

    def was_removed_as_dead(self, server_id: str) -> bool:
        """Return whether that server was once removed as dead."""
        return any(removal.server_id == server_id for removal in self._host.removals())

    def may_rejoin(self, server_id: str) -> bool:
        """Return whether that server was removed as dead, and not by an operator since."""
        return any(r.server_id == server_id and r.may_rejoin for r in self._host.removals())

    def _evaluate(self, now: float, view: RaftView) -> Decision:
        own_id = self._host.identity.server_id
        others = [s for s in view.configuration.servers if s.id != own_id]
        probed = {server.id: self._probed(now, server) for server in others}
        counted = [r for r in self._host.removals() if r.server_id != self._recorded]
        return self._autopilot.evaluate(now, own_id, view, probed, counted)

    def _probed(self, now: float, server: Server) -> ProbeEvidence:
        addresses = {server.address, self._book.get(server.id)} - {""}
        failures = min((self._failures(server.id, address) for address in addresses), default=0)
        outcomes = [o for address in sorted(addresses) if (o := self._probes.outcome_at(address))]
        return ProbeEvidence(
            now - self._probes.answered_at(server.id),
            failures,
            incompatible=next((o.failure for o in outcomes if o.answered), ""),
            incompatible_age=now - max((o.answered_at for o in outcomes), default=-inf),
        )

    def _failures(self, server_id: str, address: str) -> int:
        """Return how many consecutive probes did not find that server at that address."""
        outcome = self._probes.outcome_at(address)
        if outcome is None:
            return 0
        if outcome.reply is not None:
            # Another server uses the address now.
            return MIN_FAILURES if outcome.reply.server_id != server_id else 0
        return outcome.failures

    def _describe(self, now: float, view: RaftView) -> dict[str, Any]:
        decision = self.decision
        return {
            "mode": self._rules.mode,
            "verdict": decision.verdict.value,
            "reason": decision.reason,
            "since": round(now - self._decided_at, 1),
            "subject": decision.subject.id if decision.subject is not None else "",
            "silent": {i: None if s == inf else round(s, 1) for i, s in decision.silent.items()},
            "removed": [
                {"id": r.server_id, "address": r.address, "reason": r.reason}
                for r in self._host.removals()
                if view.configuration.get(r.server_id) is None
            ],
        }

    def _log_decision(self, decision: Decision) -> None:
        if decision.verdict in (Verdict.OFF, Verdict.FOLLOWS, Verdict.HEALTHY):
            level = logging.DEBUG if not self.decision.silent else logging.INFO
        else:
            level = logging.WARNING
        dry = self._rules.mode == "dry-run" and decision.verdict is Verdict.REMOVE
        note = "; nothing is done, since BRAFT_AUTOPILOT is dry-run" if dry else ""
        _log.log(level, "autopilot: %s: %s%s", decision.verdict.value, decision.reason, note)

    async def _remove(self) -> None:
        """Record the removal first, then commit it: an unrecorded removal would not be counted.

        A recorded removal that does not happen only delays the next one under another leader.
        """
        subject, reason = self.decision.subject, self.decision.reason
        if subject is None:
            return
        try:
            async with self._changing:
                if self._still_removes(subject) and self._recorded != subject.id:
                    voters = len(self._host.raft_view().configuration.voters)
                    await self._host.record_removal(subject, voters, reason)
                    self._recorded = subject.id
                if self._still_removes(subject):
                    await self._host.change_membership("remove_server", subject.id, "")
                    who = short_id(subject.id)
                    _log.warning("removed the dead member %s at %s", who, subject.address)
                    self._recorded = ""
        except BraftError:
            self._retry_at = self._host.now() + self._host.settings.timing.retry_interval
            raise

    def _still_removes(self, subject: Server) -> bool:
        decision = self._evaluate(self._host.now(), self._host.raft_view())
        return decision.verdict is Verdict.REMOVE and decision.subject == subject
