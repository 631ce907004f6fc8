"""Members compare state digests with each other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from braft_core.cluster.state_comparison import StateComparison
from braft_core.peer import ProbeRequest
from braft_core.raft.types import Configuration, Server, Suffrage
from braft_core.services.digests import Checkpoint, Digest, encode_checkpoints

CODE, OTHER_CODE = b"c" * 8, b"d" * 8


def members(voters: str, learners: str = "") -> Configuration:
    servers = [Server(i, f"{i}:1") for i in voters]
    servers += [Server(i, f"{i}:1", Suffrage.NONVOTER) for i in learners]
    return Configuration(tuple(servers))


def digests(values: Mapping[int, str], code: bytes = CODE) -> list[Checkpoint]:
    """Return checkpoints of service kv; ``values`` has a letter for the state at each index."""
    return [
        Checkpoint(index, {"kv": Digest(code, value.encode() * 16)})
        for index, value in values.items()
    ]


class Member:
    """The comparison of member ``a``."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.table = StateComparison("a")

    def knows(self, **known: Mapping[int, str]) -> StateComparison:
        return self.learns(CODE, known)

    def learns(self, code: bytes, known: Mapping[str, Mapping[int, str]]) -> StateComparison:
        for server_id, values in known.items():
            if server_id == "a":
                self.table.set_own(digests(values, code))
            else:
                self.table.learn(server_id, encode_checkpoints(digests(values, code)))
        self.table.compare(self.configuration)
        return self.table


def test_equal_digests_are_no_news() -> None:
    table = Member(members("abc")).knows(a={5: "x"}, b={5: "x"}, c={5: "x"})
    assert (table.message, table.own_fault) == ("", "")


def test_the_minority_is_named_with_service_and_index() -> None:
    table = Member(members("abc")).knows(a={5: "x"}, b={5: "x"}, c={5: "y"})
    assert table.message == (
        "the states of kv differ at entry 5: c at c:1 diverged from the majority, a at a:1 and b "
        "at b:1"
    )
    assert table.own_fault == ""


def test_the_one_that_knows_that_it_is_in_the_minority_says_so() -> None:
    table = Member(members("abc")).knows(a={5: "y"}, b={5: "x"}, c={5: "x"})
    assert "a at a:1 diverged" in table.message
    assert "service 'kv' is not that of the majority at entry 5" in table.own_fault


@pytest.mark.parametrize(
    ("voters", "known"),
    [
        ("ab", {"a": "x", "b": "y"}),
        ("abc", {"a": "x", "b": "y"}),
        ("abc", {"a": "x", "b": "y", "c": "z"}),
        ("abcd", {"a": "x", "b": "y", "c": "x", "d": "y"}),
        ("abcde", {"a": "y", "b": "x", "c": "x"}),
    ],
)
def test_without_a_majority_nobody_is_at_fault(voters: str, known: Mapping[str, str]) -> None:
    table = Member(members(voters)).knows(**{i: {5: value} for i, value in known.items()})
    assert "no majority of the voters agrees" in table.message
    assert table.own_fault == ""


def test_learners_are_compared_and_do_not_count() -> None:
    member = Member(members("abc", learners="ef"))
    table = member.knows(a={5: "x"}, b={5: "x"}, e={5: "y"}, f={5: "y"})
    assert "e at e:1 and f at f:1 diverged" in table.message
    table = Member(members("bcd", learners="a")).knows(a={5: "y"}, b={5: "x"}, c={5: "x"})
    assert table.own_fault


def test_only_equal_indexes_and_equal_code_are_compared() -> None:
    member = Member(members("abc"))
    assert member.knows(a={5: "x"}, b={6: "y"}, c={7: "z"}).message == ""
    member.knows(a={8: "x"})
    assert member.learns(OTHER_CODE, {"b": {8: "y"}, "c": {8: "y"}}).message == ""


def test_an_alarm_lasts_until_a_later_index_is_equal() -> None:
    member = Member(members("abc"))
    assert member.knows(a={5: "y"}, b={5: "x"}, c={5: "x"}).own_fault
    # The others no longer have that index, and this member has no later checkpoint.
    assert member.knows(b={9: "x"}, c={9: "x"}).own_fault
    assert member.knows(a={5: "y", 9: "y"}).own_fault
    table = member.knows(a={9: "y", 12: "x"}, b={12: "x"}, c={12: "x"})
    assert (table.message, table.own_fault) == ("", "")


def test_a_member_that_is_silent_stays_under_suspicion() -> None:
    member = Member(members("abc"))
    member.knows(a={5: "x"}, b={5: "x"}, c={5: "y"})
    table = member.knows(a={5: "x", 9: "x"}, b={5: "x", 9: "x"})
    assert "c at c:1 diverged" in table.message
    member.configuration = members("ab")
    table.compare(member.configuration)
    assert table.message == ""


def test_a_verdict_stands_though_its_majority_leaves() -> None:
    member = Member(members("abc"))
    table = member.knows(a={5: "x"}, b={5: "x"}, c={5: "y"})
    member.configuration = members("ac")
    table.compare(member.configuration)
    assert table.message.endswith("c at c:1 diverged from the majority, a at a:1 and b")
    table = member.knows(a={5: "x", 9: "x"}, c={5: "y", 9: "y"})
    assert table.message.endswith("c at c:1 diverged from the majority, a at a:1 and b")
    table = member.knows(a={12: "x"}, c={12: "x"})
    assert table.message == ""

    diverged = Member(members("abc"))
    assert diverged.knows(a={5: "y"}, b={5: "x"}, c={5: "x"}).own_fault
    diverged.configuration = members("ac")
    diverged.table.compare(diverged.configuration)
    assert diverged.table.own_fault


def test_a_replaced_state_has_no_past() -> None:
    member = Member(members("abc"))
    table = member.knows(a={5: "y"}, b={5: "x"}, c={5: "x"})
    table.forget_own()
    table.compare(member.configuration)
    assert (table.message, table.own_fault, table.encoded_own) == ("", "", b"")


def test_a_difference_is_logged_once_until_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    member = Member(members("abc"))
    with caplog.at_level(logging.ERROR):
        for index in (5, 9, 13):
            table = member.knows(a={index: "x"}, b={index: "x"}, c={index: "y"})
            assert "at entry 5: " in table.message
        assert len(caplog.records) == 1
        member.knows(a={15: "x"}, b={15: "y"}, c={15: "y"})
        assert len(caplog.records) == 2, "another one diverges"
        member.knows(a={17: "x"}, b={17: "x"}, c={17: "x"})
        member.knows(a={19: "x"}, b={19: "x"}, c={19: "y"})
        assert len(caplog.records) == 3


def test_a_users_service_is_named_before_what_braft_keeps_of_its_answers() -> None:
    table = StateComparison("a")

    def told(value: bytes) -> list[Checkpoint]:
        names = ("$sessions", "counter")
        return [Checkpoint(5, {name: Digest(CODE, value * 16) for name in names})]

    table.set_own(told(b"y"))
    table.learn("b", encode_checkpoints(told(b"x")))
    table.learn("c", encode_checkpoints(told(b"x")))
    table.compare(members("abc"))
    assert table.own_fault.startswith("this node's state of service 'counter'")
    assert table.message.startswith("the states of counter and $sessions differ at entry 5: a at")


def test_only_members_learn_digests_with_probes(play: Any, wait: Any) -> None:
    addresses = ["10.0.0.1:15000", "10.0.0.2:15000", "10.0.0.3:15000"]

    async def scenario(net: Any) -> None:
        net.addresses = list(addresses)
        hosts = [net.host(i, a, expect=3) for i, a in zip("abc", addresses, strict=True)]
        for host in hosts:
            await host.boot()
        await wait(lambda: all(host.member_of for host in hosts), 30)
        for host, value in zip(hosts, "xxy", strict=True):
            host.state_comparison.set_own(digests({7: value}))
        await wait(lambda: all("c at" in h.state_comparison.message for h in hosts), 30)
        assert [bool(host.state_comparison.own_fault) for host in hosts] == [False, False, True]
        cluster_id = hosts[0].member_of
        for asked_for, told in ((cluster_id, True), ("", False), ("another", False)):
            request = ProbeRequest("z", "c", asked_for, "10.0.0.9:15000")
            assert bool((await hosts[0].membership.on_call(request)).digests) is told

    play(scenario)


def test_digests_of_other_nodes_and_invalid_ones_change_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    member = Member(members("abc"))
    table = member.knows(a={5: "x"}, b={5: "x"}, z={5: "y"}, y={5: "y"})
    assert table.message == ""
    for data in (b"\xff", b"nonsense", b"\x92\x01\x90", b""):
        table.learn("b", data)
        table.learn("a", encode_checkpoints(digests({5: "q"})))  # ours: ignored
    table.compare(member.configuration)
    assert table.message == ""
    assert len([r for r in caplog.records if "cannot decode" in r.getMessage()]) == 1
