"""Entries in, outcomes out: no command may raise, or damage the state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from braft_core.abc import CommandContext, Service
from braft_core.errors import (
    CommandFailed,
    Conflict,
    DecodeError,
    InvalidArgument,
    NotLeader,
    PluginConflict,
    PluginError,
    Rejected,
    SessionExpired,
    UnknownCommand,
    UnknownService,
)
from braft_core.raft.types import Entry, EntryType
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.unsupported import UnsupportedEncoding
from braft_core.services import StateMachineService, command, query
from braft_core.services.envelope import SessionStamp, encode_command, with_session
from braft_core.services.state_machine import StateMachine

MSGPACK = MsgpackSerializer()


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


RAISED: dict[str, BaseException] = {
    "value": ValueError("bad"),
    "unspeakable": Unspeakable(),
    "not_leader": NotLeader("pretends that nothing happened"),
    "rejected": Rejected("no", why="because"),
    "conflict": Conflict("no", revision=3),
    "odd_rejected": Rejected("no", odd={1}),
    "memory": MemoryError(),
    "interrupt": KeyboardInterrupt(),
}


class Counter(StateMachineService):
    name = "counter"

    def __init__(self) -> None:
        self.seen: list[int] = []

    @command
    def add(self, context: CommandContext, amount: int) -> list[int]:
        self.seen.append(amount)
        return self.seen

    @command
    def fail(self, what: str) -> None:
        raise RAISED[what]

    @command
    def leak(self) -> object:
        return {"set": object()}

    @command
    def tuple(self) -> object:
        return (1, (2, {"a": (3,)}))

    @query
    def all(self) -> list[int]:
        return self.seen

    @query
    def broken(self) -> None:
        raise ValueError("bad")

    @query
    def refuses(self) -> None:
        raise Conflict("no")

    def dump(self) -> list[int]:
        return self.seen

    def load(self, value: list[int]) -> None:
        self.seen = value


class Other(Counter):
    name = "other"


def make(*services: Service) -> StateMachine:
    return StateMachine(services or (Counter(), Other()), {1: MSGPACK})


def call(name: str, *args: Any, service: str = "counter", index: int = 1) -> Entry:
    return Entry(index, 1, EntryType.COMMAND, encode_command(MSGPACK, service, name, args))


def all_of(machine: StateMachine, entries: list[Entry]) -> list[Any]:
    outcomes: list[Any] = []
    machine.apply_many(entries, outcomes)
    return outcomes


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        (call("add", 1, service="nobody", index=2), "there is no service 'nobody'"),
        (call("nothing", index=2), "service 'counter' has no command 'nothing'"),
        (call("add", 1, 2, 3, index=2), r"counter.add was given 3 argument\(s\); accepted: 1"),
        (call("open", 1, 2, service="$sessions", index=2), "accepted: 1"),
        (Entry(2, 1, EntryType.COMMAND, b"\x09\x01\x90"), "a command of format 9"),
        (Entry(2, 1, EntryType.COMMAND, b"\x01\xfa\x90"), "serializer with tag 250"),
        (Entry(2, 1, 9, b""), "an entry of type 9"),
    ],
)
def test_what_this_node_cannot_execute_is_neither_answered_nor_skipped(
    lacking: Entry, words: str
) -> None:
    machine, outcomes = make(), list[Any]()
    before = b"".join(machine.snapshot())
    with pytest.raises(UnsupportedEncoding, match=words):
        machine.apply_many([call("add", 1), lacking, call("add", 9, index=3)], outcomes)
    assert outcomes == [[1]]
    assert machine.query("counter", "all", []) == [1]
    with pytest.raises(UnsupportedEncoding, match=words):
        make().apply(lacking)
    assert before == b"".join(make().snapshot())


def test_a_service_without_a_list_of_commands_answers_for_itself() -> None:
    class Anything(Counter):
        def command_signatures(self) -> None:  # type: ignore[override]
            return None

    machine = StateMachine([Anything()], {1: MSGPACK})
    machine.check_call("counter", "nothing", 7)
    assert isinstance(machine.apply(call("nothing")), UnknownCommand)
    assert machine.capabilities.services["counter"] is None


def test_each_service_gets_its_commands_and_queries() -> None:
    machine = make()
    assert machine.names == ("counter", "other")
    assert machine.apply(call("add", 1)) == [1]
    assert machine.apply(call("add", 5, service="other")) == [5]
    assert machine.query("counter", "all", []) == [1]
    assert machine.query("other", "all", []) == [5]


def test_many_entries_have_one_outcome_each_and_only_commands_do_anything() -> None:
    machine = make()
    entries = [
        Entry(1, 1, EntryType.NOOP, b""),
        call("add", 1, index=2),
        Entry(3, 1, EntryType.CONFIGURATION, b"\x01\x01junk"),
        call("fail", "conflict", index=4),
        Entry(5, 1, EntryType.BARRIER, b""),
        Entry(6, 1, EntryType.COMMAND, b"\x01\x01junk"),
        call("add", 2, index=7),
    ]
    outcomes = all_of(machine, entries)
    assert outcomes[0] is outcomes[2] is outcomes[4] is None
    assert outcomes[1] == [1]
    assert isinstance(outcomes[3], Conflict)
    assert isinstance(outcomes[5], DecodeError)
    assert outcomes[6] == [1, 2]


def test_an_unknown_service_lists_the_known_ones() -> None:
    with pytest.raises(UnknownService) as refused:
        make().check_call("nobody", "add", 1)
    assert refused.value.message == "there is no service 'nobody'; this node has counter, other"
    assert refused.value.data == {"service": "nobody", "known": ["counter", "other"]}
    with pytest.raises(UnknownService, match="nobody"):
        make().query("nobody", "all", [])


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("value", "ValueError", "counter.fail raised ValueError: bad"),
        ("unspeakable", "Unspeakable", "(its message cannot be shown)"),
        ("not_leader", "NotLeader", "counter.fail raised NotLeader: pretends"),
        ("odd_rejected", "TypeError", "{1} of type set is not a plain value"),
    ],
)
def test_a_command_that_raises_is_answered(what: str, kind: str, message: str) -> None:
    outcome = make().apply(call("fail", what))
    assert type(outcome) is CommandFailed
    assert message in outcome.message
    assert outcome.data == {"type": kind, "service": "counter", "command": "fail"}


@pytest.mark.parametrize("what", ["rejected", "conflict"])
def test_a_rejection_is_the_answer_as_it_is(what: str) -> None:
    outcome = make().apply(call("fail", what))
    assert outcome is RAISED[what]
    assert outcome.__traceback__ is None


@pytest.mark.parametrize("what", ["memory", "interrupt"])
def test_what_concerns_the_node_is_raised(what: str) -> None:
    with pytest.raises(type(RAISED[what])):
        make().apply(call("fail", what))


def test_answers_are_plain_values() -> None:
    outcome = make().apply(call("leak"))
    assert type(outcome) is CommandFailed
    assert "not a plain value" in outcome.message
    assert make().apply(call("tuple")) == [1, [2, {"a": [3]}]]


def test_an_answer_cannot_reach_into_the_state() -> None:
    machine = make()
    machine.apply(call("add", 1)).append("mine")
    machine.query("counter", "all", []).append("mine")
    assert machine.query("counter", "all", []) == [1]


def test_a_query_raises_its_errors() -> None:
    with pytest.raises(CommandFailed, match=r"counter\.broken raised ValueError: bad"):
        make().query("counter", "broken", [])
    with pytest.raises(Conflict):
        make().query("counter", "refuses", [])
    with pytest.raises(UnknownCommand):
        make().query("counter", "nothing", [])


def test_two_services_of_one_name_are_refused() -> None:
    with pytest.raises(PluginConflict, match="'counter'"):
        make(Counter(), Counter())


class Bare(Service):
    """Implements the base class directly."""

    def apply(self, command: str, args: Sequence[Any], context: CommandContext) -> Any:
        return None

    def query(self, query: str, args: Sequence[Any]) -> Any:
        return None

    def snapshot(self) -> Iterator[bytes]:
        return iter((b"a" * 3_000_000, b"", b"b"))

    def restore(self, chunks: Iterator[bytes]) -> None:
        self.first = next(chunks)


class Late(Bare):
    name = "late"

    def snapshot(self) -> Iterator[bytes]:
        yield b""


def test_a_service_without_a_name_is_refused() -> None:
    with pytest.raises(PluginError, match="Bare has no name"):
        make(Bare())


def test_a_snapshot_that_is_captured_late_is_refused() -> None:
    with pytest.raises(PluginError, match=r"snapshot\(\) must capture"):
        make(Late())


# ------------------------------------------------------------------ snapshots


class Big(Bare):
    name = "big"


def filled() -> StateMachine:
    machine = make(Counter(), Big(), Other())
    machine.apply(call("add", 1))
    machine.apply(call("add", 2, service="other"))
    machine.apply(call("anything", service="big"))
    return machine


@pytest.mark.parametrize("size", [1, 7, 100_000, 10_000_000])
def test_a_snapshot_restores_however_it_is_cut(size: int) -> None:
    source = make() if size < 10 else filled()
    if size < 10:
        source.apply(call("add", 1))
        source.apply(call("add", 2, service="other"))
    data = b"".join(source.snapshot())
    target = make(Counter(), Big(), Other())
    target.apply(call("add", 9))
    target.restore(data[at : at + size] for at in range(0, len(data), size))
    assert target.query("counter", "all", []) == [1]
    assert target.query("other", "all", []) == [2]


def test_pieces_are_bounded() -> None:
    assert max(map(len, filled().snapshot())) <= 1 << 20


@pytest.mark.parametrize("kept", [0, 5, 9, 12, -1])
def test_a_snapshot_that_is_cut_off_is_refused(kept: int) -> None:
    machine = make()
    machine.apply(call("add", 1))
    data = b"".join(machine.snapshot())
    with pytest.raises(DecodeError):
        make().restore([data[:kept]])


@pytest.mark.parametrize(
    "data",
    [
        b"not a snapshot, but long enough",
        b"braft-sm\x02" + bytes(2),
        b"braft-sm\x01\x00\x02\xff\xff" + bytes(6),
        b"braft-sm\x01\x00\x07counter\xff\xff\xff\xff",
        b"braft-sm\x01" + bytes(2) + b"more",
    ],
)
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        make().restore([data])


def test_a_service_that_nobody_used_is_not_in_a_snapshot() -> None:
    """Otherwise nodes without that service could not read it during an upgrade."""
    newer, older = make(Counter(), Other()), make(Counter())
    for machine in (newer, older):
        machine.apply(call("add", 1))
    data = b"".join(newer.snapshot())
    assert data == b"".join(older.snapshot())
    older.restore([data])
    assert older.query("counter", "all", []) == [1]


def test_a_service_that_was_restored_is_in_the_next_snapshot() -> None:
    machine = filled()
    target = make(Counter(), Big(), Other())
    target.restore(machine.snapshot())
    assert b"".join(target.snapshot()) == b"".join(machine.snapshot())


def test_a_snapshot_of_a_service_that_is_not_here_is_refused() -> None:
    with pytest.raises(UnsupportedEncoding, match="'big'"):
        make().restore(filled().snapshot())


def test_what_is_checked_can_be_restored_and_changes_nothing() -> None:
    machine = make()
    before = list(machine.snapshot())
    chunks = list(filled().snapshot())
    machine.check_snapshot(chunks)
    assert list(machine.snapshot()) == before
    whole = b"".join(chunks)
    for cut in (0, 5, 10, len(whole) // 2, len(whole) - 2, len(whole) - 1):
        with pytest.raises(DecodeError):
            machine.check_snapshot([whole[:cut]])


def test_a_service_that_fails_to_check_refuses_the_snapshot() -> None:
    class Careless(Counter):
        def check_snapshot(self, chunks: Iterator[bytes]) -> None:
            raise ZeroDivisionError

    machine = StateMachine([Careless()], {1: MSGPACK})
    machine.apply(call("add", 1, index=1))
    with pytest.raises(DecodeError, match="ZeroDivisionError"):
        machine.check_snapshot(machine.snapshot())


def test_the_state_of_a_service_that_is_missing_here_passes_the_check() -> None:
    other = StateMachine([Odd()], {1: MSGPACK})
    other.apply(call("add", 1, service="odd", index=1))
    make().check_snapshot(other.snapshot())


# --------------------------------------------------------------------------------------------
# Sessions (tests/unit/services/test_sessions.py has the rules of the table)


def once(index: int, place: SessionStamp, name: str, *args: Any, service: str = "counter") -> Entry:
    data = with_session(encode_command(MSGPACK, service, name, args), place)
    return Entry(index, 1, EntryType.COMMAND, data, b"", 10**18)


S1, S2, S7 = (bytes((number,)) * 16 for number in (1, 2, 7))


def counting() -> tuple[StateMachine, Counter]:
    """Return a state machine with the session S1."""
    counter = Counter()
    machine = StateMachine([counter], {1: MSGPACK})
    assert machine.apply(call("open", S1, service="$sessions", index=1)) == S1
    return machine, counter


def test_a_repeated_command_of_a_session_is_answered_and_not_applied() -> None:
    machine, counter = counting()
    first = once(2, SessionStamp(S1, 1, 1), "add", 5)
    assert all_of(machine, [first, first, once(3, SessionStamp(S1, 2, 1), "add", 6)]) == [
        [5],
        [5],
        [5, 6],
    ]
    assert machine.apply(first._replace(index=9, term=4)) == [5], "the answer of then, not of now"
    assert counter.seen == [5, 6]


def test_a_repeated_failure_is_not_run_again() -> None:
    machine, _ = counting()
    answers = [
        machine.apply(once(index, SessionStamp(S1, 1, 1), "fail", "conflict")) for index in (2, 3)
    ]
    assert [type(answer) for answer in answers] == [Conflict, Conflict]
    assert answers[1].data == {"revision": 3}


def test_without_a_session_a_repeated_command_is_another_one() -> None:
    machine, counter = counting()
    all_of(machine, [call("add", 5, index=2), call("add", 5, index=3)])
    assert counter.seen == [5, 5]


def test_a_command_of_no_session_is_not_applied() -> None:
    machine, counter = counting()
    assert isinstance(machine.apply(once(2, SessionStamp(S7, 1, 1), "add", 5)), SessionExpired)
    assert isinstance(machine.apply(call("x", index=3)._replace(data=b"\x02\x01")), DecodeError)
    assert counter.seen == []


def test_sessions_are_opened_and_closed_by_commands() -> None:
    machine, counter = counting()
    assert machine.apply(call("open", S2, service="$sessions", index=2)) == S2
    assert machine.apply(call("close", S1, service="$sessions", index=3)) is True
    assert machine.apply(call("close", S1, service="$sessions", index=4)) is False
    assert isinstance(machine.apply(once(5, SessionStamp(S1, 1, 1), "add", 5)), SessionExpired)
    assert machine.apply(once(6, SessionStamp(S2, 1, 1), "add", 5)) == [5]
    with pytest.raises(UnsupportedEncoding, match="shut"):
        machine.apply(call("shut", service="$sessions", index=7))
    assert counter.seen == [5]


@pytest.mark.parametrize(
    "args",
    [[b"short"], [bytes(8)], [bytes(17)], ["text"], [-1], [300], [1 << 64], [None], [[1]]],
    ids=repr,
)
@pytest.mark.parametrize("name", ["open", "close"])
def test_what_is_no_id_of_a_session_opens_and_closes_none(name: str, args: list[Any]) -> None:
    machine, _ = counting()
    try:
        entry = call(name, *args, service="$sessions", index=2)
    except TypeError:  # the number is too large for a command
        return
    outcome = machine.apply(entry)
    assert outcome is False or isinstance(outcome, InvalidArgument)
    assert machine.apply(once(3, SessionStamp(S1, 1, 1), "add", 5)) == [5]


def test_a_command_may_end_its_own_session() -> None:
    machine, _ = counting()
    closing = once(2, SessionStamp(S1, 1, 1), "close", S1, service="$sessions")
    assert machine.apply(closing) is True
    assert isinstance(machine.apply(closing), SessionExpired)


def test_no_service_can_take_the_name_of_the_sessions() -> None:
    class Thief(Counter):
        name = "$sessions"

    with pytest.raises(PluginError, match="is reserved"):
        StateMachine([Thief()], {1: MSGPACK})


def test_a_repetition_is_known_after_a_snapshot() -> None:
    machine, _ = counting()
    machine.apply(once(2, SessionStamp(S1, 1, 1), "add", 5))
    chunks = list(machine.snapshot())
    machine.apply(once(3, SessionStamp(S1, 2, 1), "add", 6))
    counter = Counter()
    other = StateMachine([counter], {1: MSGPACK})
    other.apply(call("open", S1, service="$sessions", index=1))
    other.apply(call("open", S2, service="$sessions", index=2))
    other.restore(chunks)
    assert other.apply(once(3, SessionStamp(S1, 1, 1), "add", 5)) == [5]
    assert isinstance(other.apply(once(4, SessionStamp(S2, 1, 1), "add", 5)), SessionExpired)
    assert counter.seen == [5]


def test_a_snapshot_from_before_sessions_has_none() -> None:
    before = list(StateMachine([Counter()], {1: MSGPACK}).snapshot())
    assert b"$sessions" not in b"".join(before)
    machine, _ = counting()
    machine.restore(before)
    assert isinstance(machine.apply(once(2, SessionStamp(S1, 1, 1), "add", 5)), SessionExpired)


class NoStock(Rejected):
    """A service's own error with its own constructor."""

    def __init__(self, item: str, *, wanted: int) -> None:
        super().__init__(f"no {item}", item=item, wanted=wanted)


class Forgetful(Rejected):
    """An error that does not call its base's constructor."""

    def __init__(self, item: str) -> None:
        self.item = item


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


class Odd(Counter):
    """Commands with answers that are hard to store."""

    name = "odd"

    @command
    def sell(self, item: str) -> None:
        raise NoStock(item, wanted=1)

    @command
    def forget(self) -> None:
        raise Forgetful("tea")

    @command
    def deep(self) -> list[Any]:
        self.seen.append(1)
        return nested(128)

    @command
    def wide(self) -> int:
        return 1 << 70


def odd() -> StateMachine:
    """Return a state machine with the session S1."""
    machine = StateMachine([Odd()], {1: MSGPACK})
    machine.apply(call("open", S1, service="$sessions", index=1))
    return machine


def test_a_large_error_of_a_services_own_class_is_kept() -> None:
    machine = odd()
    first, again = (
        machine.apply(once(index, SessionStamp(S1, 1, 1), "sell", "x" * 5000, service="odd"))
        for index in (2, 3)
    )
    assert type(first) is NoStock
    assert again.code == Rejected.code
    assert again.message == first.message[:256]


def test_an_error_that_forgets_its_base_is_an_answer() -> None:
    outcome = odd().apply(once(2, SessionStamp(S1, 1, 1), "forget", service="odd"))
    assert type(outcome) is CommandFailed
    assert "odd.forget raised AttributeError" in outcome.message


def test_an_answer_as_deep_as_values_may_be_is_given_and_not_applied_again() -> None:
    machine = odd()
    first, again = (
        machine.apply(once(index, SessionStamp(S1, 1, 1), "deep", service="odd"))
        for index in (2, 3)
    )
    assert first == nested(128)
    assert isinstance(again, Rejected)
    assert "applied; its answer was not kept" in again.message
    assert machine.query("odd", "all", []) == [1]


def test_an_answer_of_more_than_64_bits_goes_through_a_snapshot() -> None:
    machine, other = odd(), odd()
    asked = once(2, SessionStamp(S1, 1, 1), "wide", service="odd")
    assert all_of(machine, [asked, asked]) == [1 << 70, 1 << 70]
    other.restore(machine.snapshot())
    assert other.apply(asked) == 1 << 70
