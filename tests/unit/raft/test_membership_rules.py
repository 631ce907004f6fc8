"""Configurations that follow from one change, and those that are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.errors import DecodeError, Rejected
from braft_core.raft import (
    Configuration,
    Server,
    Suffrage,
    decode_configuration,
    encode_configuration,
)
from braft_core.raft.confchange import KINDS, next_configuration
from braft_core.raft.quorum import majority

V, N = Suffrage.VOTER, Suffrage.NONVOTER
BASE = Configuration((Server("a", "a:1", V), Server("b", "b:1", V), Server("n", "n:1", N)))


@pytest.mark.parametrize(
    ("kind", "server", "address", "expected"),
    [
        ("add_voter", "c", "c:1", [("a", V), ("b", V), ("n", N), ("c", V)]),
        ("add_nonvoter", "c", "c:1", [("a", V), ("b", V), ("n", N), ("c", N)]),
        ("add_voter", "n", "n:1", [("a", V), ("b", V), ("n", V)]),
        ("add_nonvoter", "a", "a:1", [("a", V), ("b", V), ("n", N)]),
        ("promote", "n", "", [("a", V), ("b", V), ("n", V)]),
        ("demote_voter", "a", "", [("a", N), ("b", V), ("n", N)]),
        ("remove_server", "a", "", [("b", V), ("n", N)]),
        ("remove_server", "n", "", [("a", V), ("b", V)]),
    ],
)
def test_changes(
    kind: str, server: str, address: str, expected: list[tuple[str, Suffrage]]
) -> None:
    changed = next_configuration(BASE, kind, server, address)
    assert [(s.id, s.suffrage) for s in changed.servers] == expected


def test_adding_a_member_again_moves_its_address_and_keeps_its_vote() -> None:
    changed = next_configuration(BASE, "add_nonvoter", "a", "elsewhere:9")
    assert changed.get("a") == Server("a", "elsewhere:9", V)


@pytest.mark.parametrize(
    ("kind", "server", "address", "reason"),
    [
        ("evict", "a", "", "unknown membership change 'evict'; accepted: add_voter"),
        ("add_voter", "c", "", "needs an id and an address"),
        ("add_voter", "c", "a:1", "address a:1 already belongs to server 'a'"),
        ("promote", "x", "", "'x' is not a member"),
        ("remove_server", "x", "", "'x' is not a member"),
    ],
)
def test_senseless_changes_say_why(kind: str, server: str, address: str, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        next_configuration(BASE, kind, server, address)


@pytest.mark.parametrize("kind", ["remove_server", "demote_voter"])
def test_the_last_voter_stays(kind: str) -> None:
    alone = Configuration((Server("a", "a:1", V), Server("n", "n:1", N)))
    with pytest.raises(Rejected, match="last voter"):
        next_configuration(alone, kind, "a")


SERVERS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from([V, N])),
    unique_by=lambda s: s[0],
    min_size=1,
)


@given(SERVERS, st.sampled_from(KINDS), st.sampled_from("abcdefgh"))
def test_majorities_before_and_after_one_change_overlap(
    servers: list[tuple[str, Suffrage]], kind: str, server: str
) -> None:
    before = Configuration(tuple(Server(i, f"{i}:1", s) for i, s in servers))
    try:
        after = next_configuration(before, kind, server, f"{server}:1")
    except Rejected:
        return
    old, new = set(before.voters), set(after.voters)
    assert len(old ^ new) <= 1
    if old and new:
        assert majority(len(old)) + majority(len(new)) > len(old | new)


@given(SERVERS)
def test_configurations_survive_encoding(servers: list[tuple[str, Suffrage]]) -> None:
    before = Configuration(tuple(Server(i, f"{i}:1", s) for i, s in servers))
    assert decode_configuration(encode_configuration(before)) == before


def test_golden_bytes_of_a_configuration() -> None:
    # Built by hand from the public format: "Servers" with maps of Suffrage, ID and Address.
    one = Configuration((Server("n1", "h:1", V),))
    golden = b"\x81\xa7Servers\x91\x83\xa8Suffrage\x00\xa2ID\xa2n1\xa7Address\xa3h:1"
    assert encode_configuration(one) == golden


@given(st.binary(max_size=64))
def test_any_other_bytes_are_one_kind_of_error(data: bytes) -> None:
    try:
        decode_configuration(data)
    except DecodeError:
        return


def test_an_id_twice_is_refused() -> None:
    twice = Configuration((Server("a", "x:1"), Server("a", "y:1")))
    with pytest.raises(DecodeError, match="twice"):
        decode_configuration(encode_configuration(twice))
