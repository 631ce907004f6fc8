"""Peer calls and their errors on the wire."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core import peer
from braft_core.errors import (
    BraftError,
    Busy,
    Conflict,
    DecodeError,
    NotLeader,
    OutcomeUnknown,
    StorageCorrupt,
    StorageFull,
    TooLarge,
    Unreachable,
    WrongCluster,
)
from braft_core.transport.failures import MAX_ERROR_BYTES, decode_error, encode_error
from braft_core.transport.grpc.failures import status_of
from braft_core.transport.peercodec import decode_peer, encode_peer

CLASSES: list[type[Any]] = sorted(
    {*peer.REPLIES.keys(), *peer.REPLIES.values()}, key=lambda c: c.__name__
)
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_BY_ANNOTATION: dict[str, st.SearchStrategy[Any]] = {
    "str": _text,
    "bytes": st.binary(max_size=20),
    "int": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "tuple[bytes, ...]": st.lists(st.binary(max_size=9), max_size=4).map(tuple),
}
values = st.sampled_from(CLASSES).flatmap(
    lambda cls: st.builds(
        cls, **{name: _BY_ANNOTATION[kind] for name, kind in cls.__annotations__.items()}
    )
)


@given(values)
def test_every_value_survives_the_round_trip(value: Any) -> None:
    assert decode_peer(type(value), encode_peer(value)) == value


@given(st.sampled_from(CLASSES), st.binary(max_size=100))
def test_any_bytes_are_a_value_or_a_decode_error(cls: type[Any], data: bytes) -> None:
    try:
        assert isinstance(decode_peer(cls, data), cls)
    except DecodeError:
        return


def test_an_error_survives_with_its_data() -> None:
    error = decode_error(encode_error(NotLeader("ask c", leader="c", n=5, none=None)))
    assert type(error) is NotLeader
    assert (error.message, error.data) == ("ask c", {"leader": "c", "n": 5, "none": None})


@given(st.text(max_size=9000), st.text(max_size=9000))
def test_an_error_never_exceeds_the_limit(message: str, data: str) -> None:
    packed = encode_error(Conflict(message, data=data))
    assert len(packed) <= MAX_ERROR_BYTES
    assert type(decode_error(packed)) is Conflict


def test_data_that_msgpack_does_not_know_travels_as_text() -> None:
    error = decode_error(encode_error(Conflict("c", why={1})))
    assert error.data == {"why": "{1}"}


@given(st.binary(max_size=60))
def test_unreadable_errors_are_errors_too(packed: bytes) -> None:
    assert isinstance(decode_error(packed), BraftError)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Busy(), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (TooLarge(), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (NotLeader(), grpc.StatusCode.UNAVAILABLE),
        (OutcomeUnknown(), grpc.StatusCode.UNKNOWN),
        (Conflict(), grpc.StatusCode.ABORTED),
        (DecodeError(), grpc.StatusCode.INVALID_ARGUMENT),
        (WrongCluster(), grpc.StatusCode.FAILED_PRECONDITION),
        (StorageFull(), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Unreachable(), grpc.StatusCode.DEADLINE_EXCEEDED),
        (StorageCorrupt(), grpc.StatusCode.INTERNAL),
    ],
    ids=lambda value: type(value).__name__,
)
def test_foreign_clients_see_a_fitting_status(error: BraftError, status: grpc.StatusCode) -> None:
    assert status_of(error) is status
