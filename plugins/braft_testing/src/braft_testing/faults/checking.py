"""Check the recorded calls for broken guarantees.

Four rules, each of which finds what others may miss:

- Every key's history is linearizable (the search of :mod:`..simulation.linearizability`).
- Revisions are log indexes: each write has one, no two writes share one, and they grow with time. A
  read that shows a revision older than a finished write's is therefore stale.
- A counter holds at least the acknowledged increments, and at most those plus the increments with
  an unknown outcome.
- At the end a journal has each acknowledged entry, and none that was rejected.

Pure. Values put on a key are used once, except on counters, whose keys begin with ``counter``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from braft_testing.faults.recording import ABSENT, Action, Call
from braft_testing.simulation.history import Kind, Operation, Outcome
from braft_testing.simulation.linearizability import Undecided, check_register

__all__ = [
    "COUNTER",
    "Verdict",
    "Violation",
    "by_key",
    "check_calls",
    "check_counter",
    "check_journal",
    "check_revisions",
    "operations",
]

COUNTER = "counter"
_MAX_STATES = 300_000


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken guarantee: which one, on which key, and how."""

    rule: str
    key: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.key}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result: keys checked, violations, and keys whose search exceeded its limit."""

    keys: int
    violations: tuple[Violation, ...]
    undecided: tuple[str, ...]


def by_key(calls: Iterable[Call]) -> dict[str, list[Call]]:
    """Group the calls by key, in order of invocation."""
    keys: dict[str, list[Call]] = {}
    for call in calls:
        keys.setdefault(call.key, []).append(call)
    return keys


def check_calls(calls: Iterable[Call], max_states: int = _MAX_STATES) -> Verdict:
    """Apply all rules to each register and counter (journals: :func:`check_journal`)."""
    violations: list[Violation] = []
    undecided: list[str] = []
    keys = by_key(calls)
    for key, history in keys.items():
        violations += check_revisions(key, history)
        if key.startswith(COUNTER):
            violations += check_counter(key, history)
        try:
            if not check_register(operations(history), ABSENT, max_states):
                sentence = f"no order of its {len(history)} calls explains the answers"
                violations.append(Violation("linearizable", key, sentence))
        except Undecided:
            undecided.append(key)
    return Verdict(len(keys), tuple(violations), tuple(undecided))


# --------------------------------------------------------------------------------------------
# Linearizability


def operations(history: Sequence[Call]) -> list[Operation]:
    """Convert the calls of one key to operations on a register that holds the value.

    A put_if compares revisions; since a value is written once, it stands for its revision. A delete
    is a write of ``ABSENT``; one that found nothing is a read of it. A conflict with a revision of
    unknown value carries no information and is left out.
    """
    values = _values_by_revision(history)
    found = [o for o in (_operation(call, values) for call in history) if o is not None]
    return [_bounded(o, found) for o in found]


def _values_by_revision(history: Iterable[Call]) -> dict[int, int]:
    values = {ABSENT: ABSENT}
    for call in history:
        if call.outcome is not Outcome.OK or call.conflict or call.revision is None:
            continue
        if call.action is Action.GET and call.seen is not None:
            values[call.revision] = call.seen
        elif call.action in (Action.PUT, Action.PUT_IF):
            values[call.revision] = call.value
    return values


def _operation(call: Call, values: Mapping[int, int]) -> Operation | None:
    same = Operation(
        call.number,
        call.client,
        Kind.WRITE,
        call.key,
        call.value,
        invoked=call.invoked,
        returned=call.returned if call.outcome is Outcome.OK else math.inf,
        outcome=call.outcome,
    )
    if call.action is Action.GET:
        return replace(same, kind=Kind.READ, seen=call.seen or ABSENT)
    if call.action is Action.PUT:
        return same
    if call.action is Action.DELETE:
        nothing = call.outcome is Outcome.OK and call.seen == ABSENT
        return replace(same, kind=Kind.READ if nothing else Kind.WRITE, value=ABSENT)
    if not call.conflict:
        return replace(same, kind=Kind.CAS, expected=call.expected, seen=call.expected)
    seen = values.get(call.revision or ABSENT)
    return None if seen is None else replace(same, kind=Kind.READ, seen=seen)


def _bounded(operation: Operation, all_of_key: Sequence[Operation]) -> Operation:
    """Limit when a write of unknown outcome can have happened, if later answers show that.

    An answer that shows the written value came after the write. A counter only grows: after an
    answer that shows the sum or more, an increment to it cannot happen any more. This changes no
    verdict, but keeps the search small.
    """
    if operation.outcome is not Outcome.UNKNOWN or operation.value == ABSENT:
        return operation
    counter = operation.key.startswith(COUNTER)
    seen_by = (
        other.returned
        for other in all_of_key
        if other.outcome is Outcome.OK
        and other.kind is not Kind.WRITE
        and (other.seen >= operation.value if counter else other.seen == operation.value)
    )
    # The increment may have been too late from the start, if another one had reached the sum.
    return replace(operation, returned=max(operation.invoked, min(seen_by, default=math.inf)))


# --------------------------------------------------------------------------------------------
# Revisions


def check_revisions(key: str, history: Sequence[Call]) -> list[Violation]:
    """Check that revisions are unique per write and never go backwards in time."""
    return [*_shared_revisions(key, history), *_backwards(key, history)]


def _shared_revisions(key: str, history: Iterable[Call]) -> Iterable[Violation]:
    value_of: dict[int, int] = {}
    revision_of: dict[int, int] = {}
    for call in history:
        if call.outcome is not Outcome.OK or call.conflict or not call.revision:
            continue
        value = call.seen if call.action is Action.GET else call.value
        if value is None:
            continue
        other = value_of.setdefault(call.revision, value)
        if other != value:
            sentence = f"revision {call.revision} belongs to {other} and to {value}: {call}"
            yield Violation("revisions", key, sentence)
        known = revision_of.setdefault(value, call.revision)
        if known != call.revision:
            sentence = f"{value} was written at {known} and again at {call.revision}: {call}"
            yield Violation("doubled", key, sentence)


def _backwards(key: str, history: Sequence[Call]) -> Iterable[Violation]:
    """Find calls that show an older revision than a call that had ended before they began."""
    answered = [c for c in history if c.outcome is Outcome.OK and c.revision]
    by_end = sorted(answered, key=lambda c: c.returned)
    newest: Call | None = None
    ended = 0
    for call in sorted(answered, key=lambda c: c.invoked):
        while ended < len(by_end) and by_end[ended].returned < call.invoked:
            if newest is None or (by_end[ended].revision or 0) > (newest.revision or 0):
                newest = by_end[ended]
            ended += 1
        if newest is not None and (call.revision or 0) < (newest.revision or 0):
            yield Violation("stale", key, f"{call} although before it {newest}")


# --------------------------------------------------------------------------------------------
# Counters and journals


def check_counter(key: str, history: Sequence[Call]) -> list[Violation]:
    """Check that each sum was acknowledged once and that the last one seen includes all of them."""
    violations: list[Violation] = []
    increments = [call for call in history if call.action is Action.PUT_IF]
    acknowledged: dict[int, Call] = {}
    for call in increments:
        if call.took_effect:
            other = acknowledged.setdefault(call.value, call)
            if other is not call:
                sentence = f"two increments to {call.value} were acknowledged: {other}; {call}"
                violations.append(Violation("counter", key, sentence))
    unknown = sum(1 for call in increments if call.outcome is Outcome.UNKNOWN)
    reads = [c for c in history if c.action is Action.GET and c.outcome is Outcome.OK]
    if reads:
        total = max(reads, key=lambda c: c.invoked).seen or 0
        count = sum(1 for call in increments if call.took_effect)
        if not count <= total <= count + unknown:
            sentence = f"holds {total}, but {count} increments were acknowledged"
            violations.append(Violation("counter", key, f"{sentence} and {unknown} are unknown"))
    return violations


def check_journal(
    map_name: str, calls: Iterable[Call], items: Mapping[str, object]
) -> list[Violation]:
    """Compare the journal at the end with the answers to its writers; each key is put once."""
    violations: list[Violation] = []
    rest = dict(items)
    for call in calls:
        found = rest.pop(call.key, None)
        if call.outcome is Outcome.OK and found != call.value:
            rule, sentence = "lost", f"acknowledged, but the journal has {found!r}: {call}"
        elif call.outcome is Outcome.FAILED and found is not None:
            rule, sentence = "refused", f"refused, but the journal has {found!r}: {call}"
        elif found not in (None, call.value):
            rule, sentence = "altered", f"the journal has {found!r}: {call}"
        else:
            continue
        violations.append(Violation(rule, f"{map_name}/{call.key}", sentence))
    for key, value in rest.items():
        violations.append(Violation("invented", f"{map_name}/{key}", f"no call wrote {value!r}"))
    return violations
