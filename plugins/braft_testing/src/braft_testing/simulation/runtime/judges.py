"""The judges: what must hold of what clients saw, and of what the nodes hold in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.history import History, Outcome
from braft_testing.simulation.linearizability import (
    Undecided,
    check_history,
    check_revisions,
)
from braft_testing.simulation.runtime.clients import Note
from braft_testing.simulation.runtime.node import SimulatedNode

__all__ = ["check_calls", "check_ledger", "check_registers", "check_states", "left_in_queues"]


def check_ledger(notes: Sequence[Note], accounts: dict[str, list[int]]) -> None:
    """Compare every answer about the ledger with what it holds in the end.

    The ledger only grows, so its final order is the order of all commands, and a read is right if
    it saw a prefix of that: of everything that was acknowledged before, and nothing later.

    :raises InvariantBroken: an answer was not true.
    """
    for account in sorted({note.account for note in notes}):
        held = accounts.get(account, [])
        mine = [note for note in notes if note.account == account]
        _check_commands([note for note in mine if note.kind == "note"], held)
        _check_reads(mine, held)


def _check_commands(notes: Sequence[Note], held: Sequence[int]) -> None:
    counts = Counter(held)
    place = {token: number for number, token in enumerate(held, 1)}
    for note in notes:
        times = counts.pop(note.token, 0)
        if times > 1:
            raise InvariantBroken("a command takes effect once", f"{note} did {times} times")
        if note.outcome is Outcome.OK and not times:
            raise InvariantBroken("acknowledged writes are there", f"{note} is not")
        if note.outcome is Outcome.FAILED and times:
            raise InvariantBroken("what was refused is not applied", f"{note} was")
        if note.outcome is Outcome.OK and place[note.token] != note.position:
            at = place[note.token]
            raise InvariantBroken("a caller gets its own answer", f"{note} is number {at}")
    if counts:
        raise InvariantBroken("the ledger holds what was sent", f"it holds {sorted(counts)} too")
    _check_order([note for note in notes if note.token in place], place)


def _check_order(notes: Sequence[Note], place: dict[int, int]) -> None:
    """Check that a command that was answered precedes every one that was sent later."""
    answered = sorted(
        (note for note in notes if note.outcome is Outcome.OK), key=lambda note: note.returned
    )
    newest, done = 0, 0
    for note in sorted(notes, key=lambda note: note.invoked):
        while done < len(answered) and answered[done].returned < note.invoked:
            newest = max(newest, place[answered[done].token])
            done += 1
        if place[note.token] < newest:
            raise InvariantBroken(
                "linearizability", f"{note} took effect before what was answered before it"
            )


def _check_reads(notes: Sequence[Note], held: Sequence[int]) -> None:
    written = {note.token: note for note in notes if note.kind == "note"}
    for read in notes:
        if read.kind == "note" or read.outcome is not Outcome.OK:
            continue
        count = len(read.seen)
        if list(held[:count]) != read.seen:
            raise InvariantBroken("a read shows what was committed", f"{read}")
        if any(written[token].invoked > read.returned for token in read.seen):
            raise InvariantBroken("a read shows nothing of the future", f"{read}")
        if read.kind == "stale":
            _check_bound(read, [written[token] for token in held[count:]])
            continue
        for token in held[count:]:
            note = written[token]
            if note.outcome is Outcome.OK and note.returned < read.invoked:
                raise InvariantBroken("linearizability", f"{read}\ndid not see\n{note}")
        seen = len(read.seen)
        for other in notes:
            earlier = other.kind == "tokens" and other.outcome is Outcome.OK
            if earlier and other.returned < read.invoked and len(other.seen) > seen:
                raise InvariantBroken("linearizability", f"{read}\ndid not see what\n{other} saw")


def _check_bound(read: Note, missing: Sequence[Note]) -> None:
    """Check that a stale read has everything that was acknowledged longer ago than its bound."""
    for note in missing:
        if (
            read.bound is not None
            and note.outcome is Outcome.OK
            and note.returned < read.invoked - read.bound
        ):
            raise InvariantBroken("a stale read keeps its bound", f"{read}\ndid not see\n{note}")


def check_registers(history: History) -> bool:
    """Check what the clients saw of the registers; return ``False`` if it takes too long.

    :raises InvariantBroken: there is no order that explains it.
    """
    check_revisions(history)
    try:
        key = check_history(history, 200_000)
    except Undecided:
        return False
    if key is not None:
        seen = "\n".join(str(o) for o in history.by_key()[key][-20:])
        raise InvariantBroken("linearizability", f"register {key}: no order explains\n{seen}")
    return True


def check_states(nodes: Sequence[SimulatedNode]) -> None:
    """Check that nodes which applied the same entries have the same state."""
    states: dict[int, tuple[str, bytes]] = {}
    for node in nodes:
        name, state = states.setdefault(node.applied, (node.name, node.state()))
        if state != node.state():
            raise InvariantBroken(
                "states are equal", f"{name} and {node.name} differ at entry {node.applied}"
            )


def check_calls(waiting: Iterable[str]) -> None:
    """Check that no call waits for its answer."""
    listed = list(waiting)
    if listed:
        raise InvariantBroken("every call is answered", "; ".join(listed[:5]))


def left_in_queues(nodes: Sequence[SimulatedNode]) -> str:
    """Return the first queue of requests that is not empty, "" if all are."""
    for node in nodes:
        server = node.server
        driver, forwarder, sessions = server.replica.driver, server._forwarder, server.sessions
        left = {
            "inbox": driver._inbox,
            "requests": driver._requests,
            "commands": driver._commands,
            "queries": driver._queries,
            "proposals": [*driver._pending.undecided()],
            "reads": driver._reads,
            "forwarded commands": forwarder._commands,
            "forwarded queries": forwarder._queries,
            "retries": server.retries._waiting[False],
            "immediate retries": server.retries._waiting[True],
            "openings": sessions._opening,
            "parked": server._parked._parked,
            "reads ahead": server.applier._ahead,
        }
        for name, queue in left.items():
            if queue:
                return f"{node.name}: {len(queue)} {name}"
    return ""
