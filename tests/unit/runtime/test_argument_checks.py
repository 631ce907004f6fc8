"""A node checks arguments when it is called, and errors name them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from braft_core.errors import InvalidRequest
from braft_core.runtime.argument_checks import (
    MAX_SECONDS,
    member_address,
    member_id,
    new_member_id,
    peer_seconds,
    seconds,
)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (None, 5.0),
        (2, 2.0),
        (0.25, 0.25),
        (math.inf, MAX_SECONDS),
        (10**400, MAX_SECONDS),
    ],
    ids=lambda given: repr(given)[:20],
)
def test_a_timeout(given: Any, taken: float) -> None:
    assert seconds(given, 5.0) == taken
    assert type(seconds(given, 5.0)) is float


@pytest.mark.parametrize("given", [math.nan, "5", b"5", True, [1], 1j, 0, -1, -0.5, -math.inf])
def test_what_is_no_timeout(given: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"timeout is .*; accepted: seconds, a number above 0"):
        seconds(given, 5.0)


def test_a_peer_s_timeout() -> None:
    given = (1500, 0, -1, 2**63 - 1, -(2**63))
    assert [peer_seconds(each) for each in given] == [1.5, 0, 0, MAX_SECONDS, 0]


@pytest.mark.parametrize("given", ["", "gr\udcfcn", "x" * 513, b"x", None, 7])
def test_what_is_no_server_id(given: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"server id is .*; accepted: 1 to 512"):
        member_id(given)


def test_what_cannot_be_shown_is_refused_all_the_same() -> None:
    with pytest.raises(InvalidRequest, match="server id is a int; accepted"):
        member_id(10**5000)


def test_a_server_id() -> None:
    assert member_id("grün") == "grün"
    assert member_id("", may_be_empty=True) == ""
    assert new_member_id("server-1") == "server-1"
    with pytest.raises(InvalidRequest, match="accepted: 1 to 128"):
        new_member_id("grün")
    with pytest.raises(InvalidRequest):
        member_id(None, may_be_empty=True)


@pytest.mark.parametrize(
    "given",
    ["", "a", ":1", "a:", "a:0", "a:65536", "a:1x", "a:²", "a:" + "1" * 5000, "\udcfc:1", 1],
)
def test_what_is_no_address(given: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"address is .*; accepted: host:port"):
        member_address(given)


@pytest.mark.parametrize("given", ["a:1", "10.0.0.1:15000", "[::1]:65535"])
def test_an_address(given: str) -> None:
    assert member_address(given) == given
