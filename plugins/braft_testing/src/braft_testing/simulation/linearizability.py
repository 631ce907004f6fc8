"""Linearizability check for registers, counters and sets (Herlihy and Wing 1990).

The search of Wing and Gong with Lowe's improvement. It walks the calls and returns in order of
time, and linearizes any operation whose call precedes the first return still open. It remembers
each pair of (operations linearized, value), so that each is tried once. Objects are checked
separately, since linearizability is local. An operation of unknown outcome may take effect at any
time after its call, or never.

It knows nothing of logs and terms: it uses only what clients saw. It can check any object whose
state is hashable and whose operations are given as a function of it (:func:`find_order`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.history import History, Kind, Operation, Outcome

__all__ = ["Undecided", "check_history", "check_register", "check_revisions", "find_order"]

_MAX_STATES = 1_000_000
_S = TypeVar("_S", bound=Hashable)
_NOT_REGISTERS = frozenset({Kind.ADD, Kind.INSERT, Kind.REMOVE, Kind.LIST})


class Undecided(Exception):
    """The search space is too large; the history is neither accepted nor rejected."""


def check_history(history: History, max_states: int = _MAX_STATES) -> str | None:
    """Check every object; return the first that is not linearizable, or ``None``.

    :raises Undecided: if an object's search exceeds its limit, and no other object fails.
    """
    undecided: Undecided | None = None
    for key, operations in history.by_key().items():
        try:
            if not check_register(operations, max_states=max_states):
                return key
        except Undecided as reason:
            undecided = reason
    if undecided is not None:
        raise undecided
    return None


def check_revisions(history: History) -> None:
    """Check that the revisions of each register, and fencing tokens, grow in real time.

    :raises InvariantBroken: if an answer has an older revision than an answer before its request.
    """
    for operations in history.by_key().values():
        answered = [
            o
            for o in operations
            if o.outcome is Outcome.OK
            and o.revision >= 0
            and o.kind in (Kind.READ, Kind.WRITE, Kind.CAS)
        ]
        by_return = sorted(answered, key=lambda o: o.returned)
        newest, position = None, 0
        for operation in answered:  # in order of invocation
            while by_return[position].returned < operation.invoked:
                before = by_return[position]
                if newest is None or before.revision > newest.revision:
                    newest = before
                position += 1
            if newest is not None and operation.revision < newest.revision:
                raise InvariantBroken("revisions grow", f"{operation}\nafter {newest}")


def check_register(
    operations: Iterable[Operation], initial: int = 0, max_states: int = _MAX_STATES
) -> bool:
    """Return whether the operations on one object with value ``initial`` are linearizable.

    :raises Undecided: after ``max_states`` distinct states.
    """
    relevant = _relevant(list(operations), initial)
    return find_order(relevant, initial, _apply, max_states) is None


def find_order(
    operations: list[Operation],
    initial: _S,
    step: Callable[[Operation, _S], _S | None],
    max_states: int = _MAX_STATES,
) -> Operation | None:
    """Search a sequential order of the operations; return ``None`` if there is one.

    Each operation that returned must have happened between its call and its return; the others may
    have. If there is no such order, return the operation that the longest order found could not
    explain.

    :param operations: in order of invocation.
    :param step: returns the state after an operation, ``None`` if its answer contradicts that.
    :raises Undecided: after ``max_states`` distinct states.
    """
    search = _Search(operations, initial, step, max_states)
    return None if search.run() else operations[search.stuck]


def _relevant(operations: Sequence[Operation], initial: int) -> list[Operation]:
    """Drop failed operations, unanswered reads and unobserved unknown changes.

    An unknown change whose value no answer shows may be assumed not to have happened. Every answer
    except a write's shows the value before it. So nothing answered happened while the register held
    the unseen value, and an order with the change stays valid without it.
    """
    if any(o.kind in _NOT_REGISTERS for o in operations):
        return [
            o
            for o in operations
            if o.outcome is Outcome.OK or (o.outcome is Outcome.UNKNOWN and not o.kind.is_read)
        ]
    seen = {o.seen for o in operations if o.outcome is Outcome.OK and o.kind is not Kind.WRITE}
    # A kept CAS of unknown outcome needs its expected value, so keep the writes of that too.
    grown = True
    while grown:
        grown = False
        for o in operations:
            unknown_cas = o.outcome is Outcome.UNKNOWN and o.kind is Kind.CAS
            if unknown_cas and o.value in seen and o.expected not in seen:
                seen.add(o.expected)
                grown = True
    kept = []
    for operation in operations:
        if operation.outcome is Outcome.FAILED:
            continue
        if operation.outcome is Outcome.UNKNOWN and (
            operation.kind is Kind.READ or operation.value not in seen
        ):
            continue
        kept.append(operation)
    return kept


def _apply(operation: Operation, value: int) -> int | None:
    """Return the value after the operation, ``None`` if its answer contradicts ``value``."""
    answered = operation.outcome is Outcome.OK
    match operation.kind:
        case Kind.WRITE:
            return operation.value
        case Kind.ADD:
            return None if answered and operation.seen != value + 1 else value + 1
        case Kind.INSERT:
            return value | 1 << operation.value
        case Kind.REMOVE:
            there = value >> operation.value & 1
            return None if answered and operation.seen != there else value & ~(1 << operation.value)
    if answered and operation.seen != value:
        return None
    if operation.kind is Kind.CAS and operation.expected == value:
        return operation.value
    return value


class _Search(Generic[_S]):
    """Depth-first search over linearization orders, on a doubly linked list of calls and returns.

    Node ``i`` is the call of operation ``i``, node ``n + i`` its return; unknown operations have no
    return node.
    """

    def __init__(
        self,
        operations: list[Operation],
        initial: _S,
        step: Callable[[Operation, _S], _S | None],
        max_states: int,
    ) -> None:
        self._operations = operations
        self._value = initial
        self._step = step
        #: The operation before whose return the longest order ended, and the length of that order.
        self.stuck = self._longest = 0
        self._max_states = max_states
        self._n = n = len(operations)
        # Calls before returns at one instant: touching intervals count as concurrent.
        events = [(o.invoked, 0, i) for i, o in enumerate(operations)]
        events += [
            (o.returned, 1, n + i) for i, o in enumerate(operations) if o.returned < math.inf
        ]
        events.sort()
        order = [2 * n, *(node for _, _, node in events), 2 * n + 1]
        self._next = [0] * (2 * n + 2)
        self._previous = [0] * (2 * n + 2)
        for left, right in pairwise(order):
            self._next[left] = right
            self._previous[right] = left
        self._open = sum(1 for o in operations if o.returned < math.inf)

    def run(self) -> bool:
        """Search; return True as soon as all answered operations are linearized."""
        head, n = 2 * self._n, self._n
        seen: set[tuple[int, _S]] = set()
        stack: list[tuple[int, _S]] = []
        done = 0
        node = self._next[head]
        while self._open:
            if node < n:
                after = self._step(self._operations[node], self._value)
                if after is not None and (done | 1 << node, after) not in seen:
                    done |= 1 << node
                    seen.add((done, after))
                    if len(seen) > self._max_states:
                        raise Undecided(f"more than {self._max_states} states")
                    stack.append((node, self._value))
                    self._value = after
                    self._lift(node)
                    node = self._next[head]
                else:
                    node = self._next[node]
            else:  # a return that is still open: undo the last choice
                if len(stack) >= self._longest:
                    self.stuck, self._longest = node - n, len(stack)
                if not stack:
                    return False
                node, self._value = stack.pop()
                done &= ~(1 << node)
                self._unlift(node)
                node = self._next[node]
        return True

    def _lift(self, node: int) -> None:
        self._unlink(node)
        if self._operations[node].returned < math.inf:
            self._unlink(self._n + node)
            self._open -= 1

    def _unlift(self, node: int) -> None:
        if self._operations[node].returned < math.inf:
            self._relink(self._n + node)
            self._open += 1
        self._relink(node)

    def _unlink(self, node: int) -> None:
        left, right = self._previous[node], self._next[node]
        self._next[left], self._previous[right] = right, left

    def _relink(self, node: int) -> None:
        left, right = self._previous[node], self._next[node]
        self._next[left] = self._previous[right] = node
