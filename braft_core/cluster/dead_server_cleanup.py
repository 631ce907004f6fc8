"""The removal of dead voters, carried out: looks, remembers, removes.

Owns the I/O around :mod:`.autopilot`, which decides. Used on the node's loop alone.
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

#: Seconds before a removal that failed is tried again.
RETRY = 1.0
#: Between two probes while a voter is silent: as a share of ``dead_after``, and at least, seconds.
PROBES_UNTIL_DEAD = 6
SHORTEST_INTERVAL = 0.25


class DeadServerCleanup:
    """Looks on every tick; removes one voter at a time.

    :param changing: held during every change of the membership.
    """

    def __init__(
        self,
        ports: CleanupHost,
        probes: ProbeLog,
        book: AddressBook,
        changing: asyncio.Lock,
        once: Callable[[str, Callable[[], Any]], None],
    ) -> None:
        self._ports, self._probes, self._book = ports, probes, book
        self._changing, self._once = changing, once
        self._rules = ports.settings.autopilot
        self._autopilot = Autopilot(self._rules)
        self._retry_at = -inf
        #: Whose removal this node has recorded and not yet carried out.
        self._recorded = ""
        self._decided_at = ports.now()
        #: What the last look came to.
        self.decision = Decision(Verdict.FOLLOWS, "this node has not looked yet")
        #: The same for status pages, with what is remembered. Replaced, never changed: any thread.
        self.report: dict[str, Any] = {}

    def tick(self, now: float, view: RaftView) -> None:
        """Look, and begin a removal if it is time for one."""
        decision = self._look(now, view)
        if decision.key != self.decision.key:
            self._decided_at = now
            self._tell(decision)
        self.decision = decision
        self.report = self._describe(now, view)
        removes = decision.verdict is Verdict.REMOVE and self._rules.mode == "on"
        if removes and now >= self._retry_at and not self._changing.locked():
            self._once("remove", self._remove)

    def interval(self, otherwise: float) -> float:
        """Seconds between two rounds of probes: fewer while it must be found out who is dead."""
        if not self.decision.silent:
            return otherwise
        return min(otherwise, max(SHORTEST_INTERVAL, self._rules.dead_after / PROBES_UNTIL_DEAD))

    def was_removed_as_dead(self, server_id: str) -> bool:
        """Whether that server was once removed because it was dead."""
        return any(removal.server_id == server_id for removal in self._ports.removals())

    def may_rejoin(self, server_id: str) -> bool:
        """Whether that server was removed because it was dead, and by nobody on purpose since."""
        return any(r.server_id == server_id and r.may_rejoin for r in self._ports.removals())

    def _look(self, now: float, view: RaftView) -> Decision:
        own_id = self._ports.identity.server_id
        others = [s for s in view.configuration.servers if s.id != own_id]
        probed = {server.id: self._probed(now, server) for server in others}
        counted = [r for r in self._ports.removals() if r.server_id != self._recorded]
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
        """How often in a row that server was not found at that address."""
        outcome = self._probes.outcome_at(address)
        if outcome is None:
            return 0
        if outcome.reply is not None:
            # Somebody else has moved in.
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
                for r in self._ports.removals()
                if view.configuration.get(r.server_id) is None
            ],
        }

    def _tell(self, decision: Decision) -> None:
        if decision.verdict in (Verdict.OFF, Verdict.FOLLOWS, Verdict.HEALTHY):
            level = logging.DEBUG if not self.decision.silent else logging.INFO
        else:
            level = logging.WARNING
        dry = self._rules.mode == "dry-run" and decision.verdict is Verdict.REMOVE
        note = "; nothing is done, since BRAFT_AUTOPILOT is dry-run" if dry else ""
        _log.log(level, "autopilot: %s: %s%s", decision.verdict.value, decision.reason, note)

    async def _remove(self) -> None:
        """Remember first, and then remove: a removal that is not remembered would not count.

        The other way round, one that is remembered and does not happen, only makes the next one
        wait, should somebody else lead by then.
        """
        subject, reason = self.decision.subject, self.decision.reason
        if subject is None:
            return
        try:
            async with self._changing:
                if self._still(subject) and self._recorded != subject.id:
                    voters = len(self._ports.raft_view().configuration.voters)
                    await self._ports.record_removal(subject, voters, reason)
                    self._recorded = subject.id
                if self._still(subject):
                    await self._ports.change_membership("remove_server", subject.id, "")
                    who = short_id(subject.id)
                    _log.warning("removed the dead member %s at %s", who, subject.address)
                    self._recorded = ""
        except BraftError:
            self._retry_at = self._ports.now() + RETRY
            raise

    def _still(self, subject: Server) -> bool:
        decision = self._look(self._ports.now(), self._ports.raft_view())
        return decision.verdict is Verdict.REMOVE and decision.subject == subject
