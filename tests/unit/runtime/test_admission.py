"""The commands that the leader admits into its log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from braft_core.abc import CommandContext
from braft_core.cluster.member_capabilities import MemberCapabilities
from braft_core.errors import InvalidRequest, NotSupported
from braft_core.raft import Configuration, Server
from braft_core.runtime.admission import CommandAdmission
from braft_core.runtime.requests import Command
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.capabilities import Capabilities, Need
from braft_core.services.cluster import ClusterService, agreement_command
from braft_core.services.envelope import encode_command, read_need, with_session
from braft_core.services.kv import KVService
from braft_core.services.state_machine import StateMachine

MSGPACK = MsgpackSerializer()
MEMBERS = Configuration((Server("a", "h:1"), Server("b", "h:2"), Server("c", "h:3")))
CLUSTER = ClusterService()
MACHINE = StateMachine([KVService(), CLUSTER], {1: MSGPACK})
KNOWN = MACHINE.capabilities
POORER = replace(KNOWN, services={"$cluster": KNOWN.services["$cluster"]})


class Bench:
    """The command admission of server a."""

    def __init__(self, machine: StateMachine = MACHINE) -> None:
        self.cluster, self.member_capabilities = ClusterService(), MemberCapabilities()
        self.gate = CommandAdmission("a", machine, self.cluster, self.member_capabilities)
        self._index = 0

    def agree(self, agreed: Capabilities) -> None:
        self._index += 1
        self.cluster.apply("agree", [agreed.encode()], CommandContext(self._index, 1, 0))

    def admit(self, *data: bytes) -> tuple[list[Command], list[Command], list[Command]]:
        """Return the admitted commands, the waiting ones, and all of them."""
        commands = [Command(each, 10) for each in data]
        passed, waiting = self.gate.admit(MEMBERS, commands)
        return passed, waiting, commands


@pytest.fixture
def bench() -> Bench:
    return Bench()


PUT = encode_command(MSGPACK, "kv", "put", ["m", "k", 1])
PUT_ONCE = with_session(PUT, (bytes(16), 1, 1))


def test_what_is_agreed_passes_though_nobody_has_declared_anything(bench: Bench) -> None:
    bench.agree(KNOWN)
    passed, waiting, commands = bench.admit(PUT, PUT_ONCE, PUT)
    assert (passed, waiting) == (commands, [])
    assert bench.admit(PUT)[0] != []


def test_before_the_members_have_declared_themselves_commands_wait(bench: Bench) -> None:
    bench.member_capabilities.learn("b", KNOWN.encode())
    passed, waiting, commands = bench.admit(PUT)
    assert (passed, waiting) == ([], commands)
    assert "c at h:3 has not said yet" in bench.gate.waiting
    bench.member_capabilities.learn("c", KNOWN.encode())
    assert bench.admit(PUT)[1] != []
    assert "the members are agreeing" in bench.gate.waiting
    bench.agree(KNOWN)
    assert bench.admit(PUT)[0] != []
    assert bench.gate.waiting == ""


def test_the_agreement_itself_passes(bench: Bench) -> None:
    assert bench.admit(agreement_command(KNOWN))[0] != []


def test_what_a_member_lacks_is_refused_and_the_member_is_named(bench: Bench) -> None:
    bench.member_capabilities.learn("b", KNOWN.encode())
    bench.member_capabilities.learn("c", POORER.encode())
    bench.agree(POORER)
    passed, waiting, (command,) = bench.admit(PUT)
    assert (passed, waiting) == ([], [])
    with pytest.raises(NotSupported, match="member c at h:3 lacks service 'kv'") as refused:
        command.blocking.result(0)
    assert refused.value.data == {"member": "c", "address": "h:3", "lacks": "service 'kv'"}
    assert not refused.value.safe_to_retry


def test_what_the_leader_itself_lacks_is_refused_too() -> None:
    bench = Bench(StateMachine([CLUSTER], {1: MSGPACK}))
    bench.agree(POORER)
    _, _, (command,) = bench.admit(PUT)
    with pytest.raises(NotSupported, match="member a at h:1 lacks service 'kv'"):
        command.blocking.result(0)


def test_a_member_that_was_given_less_since_ends_the_admission(bench: Bench) -> None:
    bench.agree(KNOWN)
    assert bench.admit(PUT)[0] != []
    bench.member_capabilities.learn("c", POORER.encode())
    _, _, (command,) = bench.admit(PUT)
    with pytest.raises(NotSupported):
        command.blocking.result(0)
    bench.member_capabilities.learn("c", KNOWN.encode())
    assert bench.admit(PUT)[0] != []


def test_many_that_wait_are_judged_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def counted(known: Any, data: bytes) -> Need:
        read.append(data)
        return read_need(known, data)

    monkeypatch.setattr("braft_core.runtime.admission.read_need", counted)
    for _ in range(3):
        assert len(bench.admit(*[PUT] * 100)[1]) == 100
    assert len(read) == 1
    for member in "bc":
        bench.member_capabilities.learn(member, KNOWN.encode())
    bench.agree(KNOWN)
    assert len(bench.admit(*[PUT] * 100)[0]) == 100


def test_who_is_no_member_keeps_nobody_from_anything(bench: Bench) -> None:
    bench.agree(KNOWN)
    bench.member_capabilities.learn("z", POORER.encode())
    assert bench.admit(PUT)[0] != []


@pytest.mark.parametrize("data", [b"", b"\x01\x01junk", b"\x09\x01\x90", b"\x01\xfa\x90"])
def test_what_the_leader_cannot_read_is_refused(bench: Bench, data: bytes) -> None:
    bench.agree(KNOWN)
    _, _, (command,) = bench.admit(data)
    with pytest.raises(InvalidRequest, match="the leader cannot read the command"):
        command.blocking.result(0)


def test_an_agreement_is_no_reason_to_let_a_wrong_one_pass(bench: Bench) -> None:
    bench.agree(KNOWN)
    _, _, (command,) = bench.admit(encode_command(MSGPACK, "kv", "putt", []))
    with pytest.raises(NotSupported, match=r"lacks command kv\.putt"):
        command.blocking.result(0)
