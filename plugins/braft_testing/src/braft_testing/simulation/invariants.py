"""The rules of Raft, checked after every step on all servers at once, from outside.

An omniscient observer: it sees every core, every disk, every sent message. Each rule is checked
incrementally, where it can first be broken. It must not trust what a core believes: the majority
behind a commit is counted on the simulated disks, the configuration in force is read from the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from braft_core.raft.messages import Message
from braft_core.raft.ready import Ready
from braft_core.raft.types import Configuration, Entry, EntryType, HardState, Role
from braft_testing.simulation.core import Core
from braft_testing.simulation.disk import Disk, LogImage, configuration_of
from braft_testing.simulation.durability_invariants import DurabilityInvariants
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.state_agreement import StateAgreement
from braft_testing.simulation.state_machine import is_unique

__all__ = ["CoreObservation", "Invariants"]


@dataclass(slots=True)
class CoreObservation:
    """What was last seen of one life of a server."""

    term: int
    commit_index: int = 0
    #: Last index handed out for applying.
    handed: int = 0
    #: The term in which it was seen to lead, 0 for none.
    leading: int = 0
    #: Index and term of its last entry, and index of the last compacted one.
    last_index: int = 0
    last_term: int = 0
    compacted: int = 0
    #: Whether the present input is a TimeoutNow. (It names no term, so it may be late.)
    timeout_now: bool = False
    #: The term of the last campaign that a TimeoutNow started.
    transfer_term: int = 0


@dataclass(slots=True)
class _Leadership:
    """One leadership: the server, its life, and the terms of its log when it was elected."""

    server: str
    life: int
    terms: list[int]


@dataclass(slots=True)
class Invariants:
    """All rules of one run. Methods raise :class:`InvariantBroken`."""

    disks: dict[str, Disk] = field(default_factory=dict)
    #: Entry ``i`` of the one history that all servers agree on is ``committed[i - 1]``.
    committed: list[Entry] = field(default_factory=list)
    leaderships: dict[int, _Leadership] = field(default_factory=dict)
    max_term: int = 0
    truncations: int = 0
    #: How many snapshots of others were restored.
    installed: int = 0
    _entries: dict[tuple[int, int], tuple[Entry, int]] = field(default_factory=dict)
    _durability: DurabilityInvariants = field(default_factory=DurabilityInvariants)
    _commands: dict[bytes, int] = field(default_factory=dict)
    state_agreement: StateAgreement = field(init=False)
    #: Highest index that a leader of this term committed.
    _commits: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state_agreement = StateAgreement(self.committed)

    # -- a server's state ----------------------------------------------------------------

    def observe(self, server: str, life: int, core: Core, observed: CoreObservation) -> None:
        """Check a core after any input."""
        term = core.current_term
        if term != observed.term:
            if term < observed.term:
                raise InvariantBroken(
                    "the term never decreases", f"{server}: {observed.term} then {term}"
                )
            if core.role is Role.CANDIDATE:
                self._check_stored(server, observed.term)
            observed.term = term
            if core.role is Role.CANDIDATE:
                if observed.timeout_now:
                    observed.transfer_term = term
                else:
                    self._durability.campaign(server, term, core.configuration.voters)
            self.max_term = max(self.max_term, term)
        log = core.log
        if log.compacted_index != observed.compacted:
            self._compacted(server, core, observed)
        elif log.term_at(observed.last_index) != observed.last_term:
            self._truncated(server, core, observed)
        observed.last_index = last = core.last_index
        observed.last_term = log.term_at(last) or 0
        role = core.role
        if role is Role.LEADER:
            if observed.leading != term:
                observed.leading = term
                self._elected(server, life, core)
        elif observed.leading != term:
            observed.leading = 0
        if core.commit_index != observed.commit_index:
            self._commit_moved(server, core, observed)
        if core.role is not Role.LEADER:
            observed.leading = 0  # only now: a leader may commit its removal and step down at once

    def _check_stored(self, server: str, term: int) -> None:
        """Check that the vote of ``term`` was durable before a campaign in the next term."""
        stored = self.disks[server].durable.hard_state
        if stored.term < term:
            raise InvariantBroken(
                "no campaign before the last vote is durable",
                f"{server} leaves term {term}, but its disk says {stored}",
            )

    def _elected(self, server: str, life: int, core: Core) -> None:
        term = core.current_term
        other = self.leaderships.get(term)
        if other is not None:
            raise InvariantBroken(
                "election safety",
                f"{server} (life {life}) and {other.server} (life {other.life}) lead term {term}",
            )
        stored = self.disks[server].durable.hard_state
        if stored != HardState(term, server):
            raise InvariantBroken(
                "one vote per term", f"{server} leads term {term}, but its disk says {stored}"
            )
        self._durability.vote(server, term, server)
        self._durability.elected(server, term, core.configuration.voters)
        last = core.last_index
        cut = core.log.compacted_index
        terms = [entry.term for entry in self.committed[:cut]]
        terms += [entry.term for entry in core.log.slice(cut + 1, last + 1)]
        self.leaderships[term] = _Leadership(server, life, terms)
        for earlier, index in self._commits.items():
            if earlier < term and (
                index > last or terms[index - 1] != self.committed[index - 1].term
            ):
                raise InvariantBroken(
                    "leader completeness",
                    f"{server} leads term {term} without the entry {index} committed in"
                    f" term {earlier}",
                )

    def _compacted(self, server: str, core: Core, observed: CoreObservation) -> None:
        """Check a compaction: the log was cut behind a snapshot, or replaced by one."""
        cut = core.log.compacted_index
        term = core.log.term_at(cut)
        if cut > len(self.committed) or term != self.committed[cut - 1].term:
            raise InvariantBroken(
                "only committed entries are compacted", f"{server} cuts at {cut}, of term {term}"
            )
        observed.compacted = cut
        if (
            cut <= observed.last_index
            and core.log.term_at(observed.last_index) == observed.last_term
        ):
            return
        if cut < observed.last_index:
            self._truncated(server, core, observed)
        elif observed.leading == core.current_term:
            raise InvariantBroken("leader append-only", f"{server} leads term {observed.leading}")

    def _truncated(self, server: str, core: Core, observed: CoreObservation) -> None:
        """Check that an input truncated no committed entry.

        One case is allowed. A server that knows no later leader may drop entries for an earlier
        one, although the later one has committed them meanwhile.
        """
        self.truncations += 1
        if observed.leading == core.current_term:
            raise InvariantBroken("leader append-only", f"{server} leads term {observed.leading}")
        image = self.disks[server].volatile
        heard = [index for term, index in self._commits.items() if term <= core.current_term]
        held = min(max(heard, default=0), image.last_index)
        while held and image.term_at(held) != self.committed[held - 1].term:
            held -= 1
        for index in (held, observed.commit_index):
            cut = core.log.compacted_index
            if index > cut and core.log.term_at(index) != self.committed[index - 1].term:
                raise InvariantBroken(
                    "committed entries are never dropped",
                    f"{server} drops {index}, which is committed",
                )

    def _commit_moved(self, server: str, core: Core, observed: CoreObservation) -> None:
        old, new = observed.commit_index, core.commit_index
        if new < old:
            raise InvariantBroken("the commit index never decreases", f"{server}: {old} then {new}")
        if new > core.last_index:
            raise InvariantBroken(
                "commit index within the log", f"{server}: {new} of {core.last_index}"
            )
        observed.commit_index = new
        # The contents of a received snapshot were checked when it was stored.
        fresh = core.log.slice(max(old, core.log.compacted_index) + 1, new + 1)
        if observed.leading:
            self._check_majority(server, core, new)
            self._commits[observed.leading] = new
            self._check_later_leaders(observed.leading, fresh)
        elif new > len(self.committed):
            raise InvariantBroken(
                "only leaders advance the commit index",
                f"{server} commits {new}, leaders only {len(self.committed)}",
            )
        for entry in fresh:
            self._check_committed(server, entry)

    def _check_committed(self, server: str, entry: Entry) -> None:
        if entry.index <= len(self.committed):
            known = self.committed[entry.index - 1]
            if known != entry:
                raise InvariantBroken("state machine safety", f"{server}: {entry} versus {known}")
            return
        self.committed.append(entry)
        self.state_agreement.note_committed(entry)
        if entry.type == EntryType.COMMAND and is_unique(entry.data):
            first = self._commands.setdefault(entry.data, entry.index)
            if first != entry.index:
                raise InvariantBroken(
                    "no command is committed twice", f"{entry.data!r} at {first} and {entry.index}"
                )

    def _check_majority(self, server: str, core: Core, index: int) -> None:
        term = core.log.term_at(index)
        if term != core.current_term:
            raise InvariantBroken(
                "only entries of the current term are committed by counting",
                f"{server} in term {core.current_term} commits {index} of term {term}",
            )
        configuration = self._configuration(server, core)
        if configuration != core.configuration:
            raise InvariantBroken(
                "the latest configuration is in use",
                f"{server} uses {core.configuration}, its log says {configuration}",
            )
        voters = configuration.voters
        holders = [v for v in voters if self.disks[v].durable.term_at(index) == term]
        if 2 * len(holders) <= len(voters):
            raise InvariantBroken(
                "committed entries are durable on a majority",
                f"{server} commits {index} of term {term}, durable on {holders} of {voters}",
            )

    def _configuration(self, server: str, core: Core) -> Configuration:
        """Return the latest configuration in the log, written or about to be written."""
        image = self.disks[server].volatile
        for entry in reversed(core.log.slice(image.last_index + 1, core.last_index + 1)):
            if entry.type == EntryType.CONFIGURATION:
                return configuration_of(entry)
        return image.configurations[-1][1]

    def _check_later_leaders(self, term: int, fresh: Sequence[Entry]) -> None:
        for later, leadership in self.leaderships.items():
            if later > term:
                for entry in fresh:
                    if (
                        entry.index > len(leadership.terms)
                        or leadership.terms[entry.index - 1] != entry.term
                    ):
                        raise InvariantBroken(
                            "leader completeness",
                            f"term {term} commits {entry.index}, which {leadership.server},"
                            f" leader of term {later}, does not hold",
                        )

    # -- batches -------------------------------------------------------------------------

    def check_ready(self, server: str, core: Core, observed: CoreObservation, ready: Ready) -> None:
        """Check a batch before any part of it is carried out."""
        image = self.disks[server].volatile
        if ready.snapshot is not None:
            observed.handed = ready.snapshot.index
            self.installed += 1
        for entry in ready.entries:
            self._check_log_matching(server, image, ready, entry)
        if observed.leading and ready.entries:
            self._check_configuration_change(server, core, observed, ready)
        for entry in ready.committed:
            self._check_handed(server, core, observed, entry)

    def _check_log_matching(self, server: str, image: LogImage, ready: Ready, entry: Entry) -> None:
        first = ready.entries[0].index
        if entry.index == first:
            begins = ready.snapshot
            before = image.term_at(first - 1) if begins is None else begins.term
        else:
            before = ready.entries[entry.index - first - 1].term
        if entry.term < before:
            raise InvariantBroken("terms grow along the log", f"{server}: {before}, then {entry}")
        known = self._entries.setdefault((entry.index, entry.term), (entry, before))
        if known != (entry, before):
            raise InvariantBroken(
                "log matching", f"{server}: {entry} after term {before} versus {known}"
            )

    def _check_configuration_change(
        self, server: str, core: Core, observed: CoreObservation, ready: Ready
    ) -> None:
        own = [
            e
            for e in ready.entries
            if e.type == EntryType.CONFIGURATION and e.term == observed.leading
        ]
        if not own:
            return
        image = self.disks[server].volatile
        kept = ready.entries[0].index
        earlier = [pair for pair in image.configurations if pair[0] < kept]
        known = earlier + [(e.index, configuration_of(e)) for e in own]
        pending = [index for index, _ in known if index > core.commit_index]
        if len(pending) > 1:
            raise InvariantBroken(
                "one configuration change at a time", f"{server}: {pending} are uncommitted"
            )
        old, new = set(known[-2][1].voters), set(known[-1][1].voters)
        if len(old ^ new) > 1:
            raise InvariantBroken(
                "one voter at a time", f"{server}: {known[-2][1].voters} to {known[-1][1].voters}"
            )
        if not new:
            raise InvariantBroken("a configuration has voters", f"{server}: {known[-1]}")
        if self._commits.get(observed.leading) is None:
            raise InvariantBroken(
                "no configuration change before a commit in the leader's term",
                f"{server} in {observed.leading}",
            )

    def _check_handed(
        self, server: str, core: Core, observed: CoreObservation, entry: Entry
    ) -> None:
        if entry.index != observed.handed + 1:
            raise InvariantBroken(
                "entries are applied in order",
                f"{server}: {entry.index} handed out after {observed.handed}",
            )
        if entry.index > core.commit_index or entry != self.committed[entry.index - 1]:
            raise InvariantBroken("only committed entries are applied", f"{server}: {entry}")
        if self.disks[server].durable.term_at(entry.index) != entry.term:
            raise InvariantBroken("only durable entries are applied", f"{server}: {entry}")
        observed.handed = entry.index

    # -- messages ------------------------------------------------------------------------

    def check_sent(self, server: str, message: Message, request: Message | None) -> None:
        """Check a message as it leaves; ``request`` is what it answers, if it is a response."""
        self._durability.check(self.disks[server].durable, message, request)
