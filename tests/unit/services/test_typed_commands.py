"""Typed arguments and answers in transit, and nodes that cannot decode a command."""

from __future__ import annotations

import dataclasses
import decimal
from typing import Any

import pytest

from braft_core.errors import BraftError, DecodeError, InvalidRequest
from braft_core.raft import Entry, EntryType
from braft_core.serializers.command_types import command_type
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.unsupported import UnsupportedEncoding
from braft_core.services import StateMachineService, command, query
from braft_core.services.envelope import (
    decode_command,
    decode_outcome,
    decode_session_stamp,
    encode_command,
    encode_outcome,
    with_session,
)
from braft_core.services.state_machine import SESSIONS, StateMachine

MSGPACK = MsgpackSerializer()
KNOWN = {MSGPACK.tag: MSGPACK}


@command_type("unit.pay")
@dataclasses.dataclass(frozen=True)
class Pay:
    amount: decimal.Decimal
    to: tuple[str, ...] = ()


@command_type("unit.not-twice")
@dataclasses.dataclass
class NotTwice:
    """A type whose constructor rejects the value that it makes."""

    value: Any

    def __post_init__(self) -> None:
        if self.value == "made":
            raise ValueError("made already")
        self.value = "made"


class Bank(StateMachineService):
    name = "bank"

    def __init__(self) -> None:
        self.payments: list[Pay] = []

    @command(Pay)
    def pay(self, payment: Pay) -> set[decimal.Decimal]:
        self.payments.append(payment)
        return {each.amount for each in self.payments}

    @query
    def all(self) -> list[Pay]:
        return self.payments

    def dump(self) -> Any:
        return self.payments

    def load(self, value: Any) -> None:
        self.payments = value


PAY = Pay(decimal.Decimal("1.50"), ("a", "b"))

SESSION = bytes(range(16))


def entry(data: bytes, index: int = 1) -> Entry:
    return Entry(index, 1, EntryType.COMMAND, data, b"", 10**18)


def typed(*args: Any) -> bytes:
    return encode_command(MSGPACK, "bank", "unit.pay", args)


def test_plain_commands_have_the_bytes_that_they_always_had() -> None:
    data = encode_command(MSGPACK, "kv", "put", ["m", "k", 1])
    assert data == b"\x01\x01\x93\xa2kv\xa3put\x93\xa1m\xa1k\x01"


def test_typed_arguments_come_back_alone_and_in_a_session() -> None:
    data = typed(PAY, (1, 2), {"k": decimal.Decimal(1)})
    assert data[:2] == b"\x03\x01"
    expected = ("bank", "unit.pay", [PAY, [1, 2], {"k": decimal.Decimal(1)}])
    assert decode_command(KNOWN, data) == expected
    placed = with_session(data, (SESSION, 3, 2))
    assert placed[:2] == b"\x07\x01"
    assert decode_session_stamp(placed) == (SESSION, 3, 2)
    assert decode_command(KNOWN, placed) == expected


def test_a_typed_answer_comes_back() -> None:
    answer = {"sum": decimal.Decimal("1.10"), "tags": {"a"}}
    assert decode_outcome(encode_outcome(answer)) == answer
    unknown = decode_outcome(MSGPACK.dumps([2, {"@": ["nobody.knows", 1, {}]}]))
    assert isinstance(unknown, DecodeError)


def test_what_would_not_come_back_is_refused_before_it_is_sent() -> None:
    with pytest.raises(
        TypeError, match=r"bank.put: an argument does not come back: .*made already"
    ):
        encode_command(MSGPACK, "bank", "put", [NotTwice(1)])


def test_a_typed_command_is_applied_once_in_its_session_and_survives_a_snapshot() -> None:
    machine = StateMachine([Bank()], KNOWN)
    session = machine.apply(entry(encode_command(MSGPACK, SESSIONS, "open", [SESSION])))
    placed = with_session(typed(PAY), (session, 1, 1))
    answers = [machine.apply(entry(placed, index)) for index in (2, 3)]
    assert answers == [{decimal.Decimal("1.50")}] * 2
    restored = StateMachine([Bank()], KNOWN)
    restored.restore(machine.snapshot())
    assert restored.query("bank", "all", []) == [PAY]
    assert restored.apply(entry(placed, 4)) == answers[0]
    assert restored.query("bank", "all", []) == [PAY]


def test_an_answer_cannot_reach_into_typed_state() -> None:
    machine = StateMachine([Bank()], KNOWN)
    machine.apply(entry(typed(PAY)))
    machine.query("bank", "all", []).clear()
    assert machine.query("bank", "all", []) == [PAY]


UNREADABLE = [
    (b"\x01\x02\x80", "tag 2"),
    (b"\x05\x63" + SESSION + bytes(7) + b"\x01" + bytes(4) + b"\x80", "tag 99"),
    (b"\x03\x01" + MSGPACK.dumps(["bank", "p", [{"@": ["a.b", 1, {}]}]]), "'a.b'.*registered"),
    (b"\x03\x01" + MSGPACK.dumps(["bank", "p", [{"@": ["unit.pay", 2, {}]}]]), "version 2"),
    (b"\x03\x01" + MSGPACK.dumps(["bank", "p", [{"@": ["newer", 1]}]]), "form 'newer'"),
]


@pytest.mark.parametrize(("data", "words"), UNREADABLE)
def test_a_node_that_cannot_read_a_command_stops_instead_of_going_another_way(
    data: bytes, words: str
) -> None:
    machine = StateMachine([Bank()], KNOWN)
    machine.apply(entry(encode_command(MSGPACK, SESSIONS, "open", [SESSION])))
    with pytest.raises(UnsupportedEncoding, match=words):
        decode_command(KNOWN, data)
    with pytest.raises(UnsupportedEncoding, match=words):
        machine.apply(entry(data, 2))


@pytest.mark.parametrize(("data", "words"), UNREADABLE)
def test_a_leader_that_cannot_read_a_command_refuses_it(data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=f"cannot read the command: .*{words}"):
        StateMachine([Bank()], KNOWN).check_known(data)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x01junk", b"\x03\x01\xc1"])
def test_what_is_no_command_is_answered_alike_and_costs_no_entry(data: bytes) -> None:
    machine = StateMachine([Bank()], KNOWN)
    with pytest.raises(InvalidRequest, match="not a"):
        machine.check_known(data)
    assert isinstance(machine.apply(entry(data)), DecodeError)


@pytest.mark.parametrize("data", [typed(PAY), typed(1)])
def test_what_this_node_can_read_is_not_refused(data: bytes) -> None:
    machine = StateMachine([Bank()], KNOWN)
    machine.check_known(data)
    assert isinstance(machine.apply(entry(data)), BraftError | set)
