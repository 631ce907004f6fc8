"""Limits: the fields of a message before it is parsed, and concurrent callers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.errors import DecodeError
from braft_core.file_descriptors import inbound_connection_limit
from braft_core.peer import ProposeReply, ProposeRequest
from braft_core.transport.address_quota import AddressQuota
from braft_core.transport.call_codec import decode_peer, encode_peer
from braft_core.transport.size_limits import MAX_COMMANDS, has_more_fields


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(0, 1 << 40), st.integers(0, 25))
def test_the_fields_of_a_message_are_counted(
    commands: list[bytes], timeout: int, most: int
) -> None:
    data = encode_peer(ProposeRequest(tuple(commands), timeout))
    assert has_more_fields(data, most) == (len(commands) + (timeout > 0) > most)


@given(st.binary(max_size=400), st.integers(0, 50))
def test_any_bytes_can_be_counted(data: bytes, most: int) -> None:
    assert has_more_fields(data, most) in (True, False)


@pytest.mark.parametrize("kind", [ProposeRequest, ProposeReply])
def test_a_call_of_millions_of_parts_is_refused_before_it_is_parsed(kind: type) -> None:
    with pytest.raises(DecodeError, match=f"more than {MAX_COMMANDS} parts"):
        decode_peer(kind, b"\x0a\x00" * (1 << 20))


def test_a_call_of_as_many_commands_as_a_node_sends_is_taken() -> None:
    request = ProposeRequest((b"x",) * 1024, 100)
    assert decode_peer(ProposeRequest, encode_peer(request)) == request


def test_a_crowd_has_a_bound_for_each_and_for_all() -> None:
    quota = AddressQuota(2, 3)
    assert [quota.acquire(who) for who in ("a", "a", "a", "b", "c")] == [
        True,
        True,
        False,
        True,
        False,
    ]
    quota.release("a")
    assert quota.in_use("a") == 1
    assert quota.acquire("c")
    assert len(quota) == 3


@pytest.mark.parametrize(
    ("limit", "connections"), [(64, 8), (256, 32), (1024, 224), (65536, 4096), (1 << 20, 4096)]
)
def test_each_listener_has_a_quarter_of_the_descriptors(limit: int, connections: int) -> None:
    assert inbound_connection_limit(limit) == connections
