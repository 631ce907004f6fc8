"""A user's service under test: how to create, call and observe it, and what is wrong with it.

Owns what one instance alone can show: queries change nothing, answers share nothing with the state,
snapshots can be taken and restored, the user's invariant holds. Knows no servers.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, NamedTuple

from braft_core.abc import CommandContext, Service
from braft_core.errors import BraftError, DecodeError
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.typed_values import from_plain, to_plain
from braft_core.services.envelope import decode_outcome, encode_outcome
from braft_core.services.service import StateMachineService
from braft_core.services.state_machine import StateMachine
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.history import Call
from braft_testing.simulation.patched_time_and_random import local_time

__all__ = [
    "AppliedCommand",
    "ServiceUnderTest",
    "Ticker",
    "Timeline",
    "Watched",
    "clipped",
    "contrast",
    "encoded",
    "shown",
    "shown_state",
    "watch",
]

#: Prefix of a snapshot of typed values, as ``StateMachineService`` writes it.
_TYPED = b"\xc1"
#: Most characters of an answer or a state in a report.
_SHOWN = 400
#: Most lists and dicts of an answer that are changed to test it.
_CONTAINERS = 8
_NOT_DERIVED = (
    "has no query_names(), since it does not derive from StateMachineService: say which of its"
    " operations are queries (queries=...)"
)


#: Called with an instance on a leader, the term, its wall clock (nanoseconds) and the seconds since
#: its last command by its own clock. Returns the next command and its arguments, or ``None``.
Ticker = Callable[[Any, int, int, float], tuple[str, Sequence[Any]] | None]


class AppliedCommand(NamedTuple):
    """A command that took effect."""

    call: Call
    #: A value, or the ``BraftError`` that every instance answered.
    answer: Any
    term: int
    #: When its leader appended it: virtual seconds, which are true on all servers.
    at: float


class Timeline(NamedTuple):
    """What was applied when, and what was wrong with the clocks."""

    commands: list[AppliedCommand]
    #: When a server's wall clock went ahead all at once, virtual seconds in ascending order.
    set_ahead: list[float]
    #: The highest rate of any clock.
    fastest: float


class ServiceUnderTest:
    """A service and its user's description. ``simulate_service`` explains each part."""

    def __init__(
        self,
        service: Callable[[], Service],
        operations: Callable[[random.Random], tuple[str, Sequence[Any]]],
        *,
        invariant: Callable[[Any], object] | None = None,
        state: Callable[[Any], Any] | None = None,
        model: Callable[[], Service] | None = None,
        queries: Iterable[str] | None = None,
        ticker: Ticker | None = None,
        timeline: Callable[[Timeline], object] | None = None,
    ) -> None:
        """Check the service.

        :raises PluginError: if a node would reject the service.
        :raises ValueError: if it is unknown which operations are queries.
        """
        self.service, self.operations = service, operations
        self.invariant, self.state, self.model = invariant, state, model or service
        first = service()
        StateMachine([first], {})
        self.name = first.name
        self.ticker, self.timeline = ticker, timeline
        if self.model().name != self.name:
            raise ValueError(
                f"the model's name is {self.model().name!r}, and the service's {self.name!r};"
                " they must be one, since both get the same commands"
            )
        if queries is not None:
            self.queries = frozenset(queries)
        elif isinstance(first, StateMachineService):
            self.queries = first.query_names()
        else:
            raise ValueError(f"{type(first).__qualname__} {_NOT_DERIVED}")

    def draw(self, rng: random.Random) -> Call:
        """Draw the next operation of a client.

        :raises InvariantBroken: if the user's function does not return one.
        """
        with _report_errors_as("operations() returns a name and arguments", "operations"):
            name, args = self.operations(rng)
            return Call(name, list(args))

    def fingerprint(self, service: Service) -> bytes:
        """Return the state for comparison: the bytes of a snapshot, or what ``state`` returns.

        :raises InvariantBroken: if the service does not provide it.
        """
        if self.state is None:
            with _report_errors_as("a snapshot can be taken and restored", "snapshot"):
                return b"".join(service.snapshot())
        with _report_errors_as("state() returns a plain or typed value", "state"):
            return MsgpackSerializer().dumps(to_plain(_in_order(self.state(service))))

    def check_timeline(self, timeline: Timeline) -> None:
        """Check all that was applied in a run.

        :raises InvariantBroken: whatever the user's function raises.
        """
        if self.timeline is not None:
            self.timeline(timeline)

    def check_invariant(self, service: Service, when: str) -> None:
        """Check the user's invariant.

        :raises InvariantBroken: if it returns ``False`` or raises.
        """
        if self.invariant is None:
            return
        rule = "the invariant of the service"
        try:
            verdict = self.invariant(service)
        except Exception as error:
            reason = f": {error}" if str(error) else ""
            detail = f"{when}: {type(error).__name__}{reason}\n{traceback.format_exc()}"
            raise InvariantBroken(rule, detail) from error
        if verdict is False:
            state = clipped(shown_state(self.fingerprint(service)))
            raise InvariantBroken(rule, f"{when} it says False; the state is {state}")


class Watched(Service):
    """Wraps an instance of the service for the state machine, and watches it.

    The state machine treats any error as an answer. So what is found during a command or a query is
    stored as ``violation``, to be checked afterwards.
    """

    def __init__(
        self, inner: Service, under_test: ServiceUnderTest, clock: Callable[[], float]
    ) -> None:
        self.inner = inner
        #: How many commands were executed.
        self.executed = 0
        self.violation: InvariantBroken | None = None
        self._under_test, self._clock = under_test, clock
        self.state = self._fingerprint()

    def apply(self, command: str, args: Sequence[Any], context: CommandContext) -> Any:
        """Execute a command, and record the new state."""
        self.executed += 1
        call = str(Call(command, list(args)))
        try:
            with local_time(self._clock):
                answer = self.inner.apply(command, args, context)
        finally:
            self._record_violation(self._record_state)
        self._record_violation(lambda: self._check_apart(call, answer))
        return answer

    def query(self, query: str, args: Sequence[Any]) -> Any:
        """Answer a query, and check that it changes nothing."""
        call = str(Call(query, list(args)))
        try:
            with local_time(self._clock):
                return self.inner.query(query, args)
        finally:
            self._record_violation(lambda: self._check_unchanged(call))

    def snapshot(self) -> Iterator[bytes]:
        """Capture now; the chunks are read later."""
        with (
            local_time(self._clock),
            _report_errors_as("a snapshot can be taken and restored", "snapshot"),
        ):
            chunks = self.inner.snapshot()
        return self._read(chunks)

    def restore(self, chunks: Iterator[bytes]) -> None:
        """Replace the state."""
        with (
            local_time(self._clock),
            _report_errors_as("a snapshot can be taken and restored", "restore"),
        ):
            self.inner.restore(chunks)
        self._record_state()

    def _read(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        with (
            local_time(self._clock),
            _report_errors_as("a snapshot can be taken and restored", "snapshot"),
        ):
            read = list(chunks)
        yield from read

    def _fingerprint(self) -> bytes:
        with local_time(self._clock):
            return self._under_test.fingerprint(self.inner)

    def _record_state(self) -> None:
        self.state = self._fingerprint()

    def _record_violation(self, check: Callable[[], None]) -> None:
        try:
            check()
        except InvariantBroken as broken:
            self.violation = self.violation or broken

    def _check_unchanged(self, call: str) -> None:
        after = self._fingerprint()
        if after != self.state:
            old, new = contrast(shown_state(self.state), shown_state(after))
            raise InvariantBroken(
                "a query changes nothing",
                f"before the query {call} the state is {old}, after it {new}",
            )

    def _check_apart(self, call: str, answer: Any) -> None:
        """Change the answer, as a caller may, and check that the state does not change with it."""
        for container in _containers(answer)[:_CONTAINERS]:
            with _changed(container):
                try:
                    reached = self._fingerprint() != self.state
                except InvariantBroken:
                    reached = True  # the added item cannot be captured
            if reached:
                raise InvariantBroken(
                    "an answer shares no objects with the state",
                    f"whoever changes {clipped(repr(container))} in the answer to {call} changes"
                    " the state of this instance alone: answer with a copy",
                )


def watch(under_test: ServiceUnderTest, clock: Callable[[], float]) -> Watched:
    """Create a watched instance, whose server's clock shows ``clock()`` seconds."""

    class Named(Watched):
        name = under_test.name

    with local_time(clock):
        inner = under_test.service()
    return Named(inner, under_test, clock)


def encoded(outcome: Any) -> bytes:
    """Encode an answer so that equal answers have equal bytes; the order of a dict is ignored.

    :raises TypeError: for a value that is neither plain nor typed.
    """
    return encode_outcome(outcome if isinstance(outcome, BraftError) else _in_order(outcome))


def shown(answer: bytes) -> str:
    """Format what :func:`encoded` returned, for people."""
    outcome = decode_outcome(answer)
    if isinstance(outcome, BraftError):
        return f"the error {type(outcome).__name__}({outcome.message!r})"
    return repr(outcome)


def shown_state(state: bytes) -> str:
    """Format a fingerprint for people: as the value that it encodes, if it does."""
    try:
        if state.startswith(_TYPED):
            return repr(from_plain(MsgpackSerializer().loads(state[1:])))
        return repr(MsgpackSerializer().loads(state))
    except DecodeError:
        return repr(state)


def clipped(text: str, start: int = 0) -> str:
    """Return as much of a text as fits into a report."""
    end = start + _SHOWN
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")


def contrast(one: str, other: str) -> tuple[str, str]:
    """Clip two texts to where they begin to differ."""
    start = 0
    if max(len(one), len(other)) > _SHOWN:
        pairs = zip(one, other, strict=False)
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        start = max(0, alike - _SHOWN // 4)
    return clipped(one, start), clipped(other, start)


def _in_order(value: Any) -> Any:
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _in_order(value[key]) for key in sorted(value)}
    if type(value) in (list, tuple):
        return type(value)(_in_order(item) for item in value)
    return value


def _containers(value: Any, room: int = 8) -> list[Any]:
    """Return the lists and dicts in an answer, outer ones first; it may contain itself."""
    found = [value] if type(value) in (list, dict) else []
    if type(value) is dict:
        value = list(value.values())
    if type(value) in (list, tuple) and room:
        for item in value[:_CONTAINERS]:
            found += _containers(item, room - 1)
    return found


@contextmanager
def _changed(container: Any) -> Iterator[None]:
    """Add one item to a list or dict within the block."""
    if type(container) is list:
        container.append("changed by a caller")
        try:
            yield
        finally:
            container.pop()
    else:
        container["changed by a caller"] = True
        try:
            yield
        finally:
            del container["changed by a caller"]


@contextmanager
def _report_errors_as(rule: str, method: str) -> Iterator[None]:
    """Report whatever the user's code raises as a violation of that rule."""
    try:
        yield
    except InvariantBroken:
        raise
    except Exception as error:
        detail = f"{method}() raises {type(error).__name__}: {error}\n{traceback.format_exc()}"
        raise InvariantBroken(rule, detail) from error
