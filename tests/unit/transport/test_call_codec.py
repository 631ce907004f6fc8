"""Peer calls and their errors on the wire."""

from __future__ import annotations

from dataclasses import replace
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
from braft_core.proto import message_class
from braft_core.transport.call_codec import decode_peer, encode_peer
from braft_core.transport.error_codec import MAX_ERROR_BYTES, decode_error, encode_error
from braft_core.transport.grpc.error_status import status_of

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
_id = st.from_regex(r"[A-Za-z0-9_=-]{1,128}", fullmatch=True)
_address = st.integers(1, 65535).map(lambda port: f"10.0.0.1:{port}")
_printable = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)
#: Fields that hold names.
_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "server_id": _id,
    "address": _address,
    "cluster_id": _id | st.just(""),
    "cluster_name": _printable,
    "leader_address": _address | st.just(""),
    "leader_id": _id | st.just(""),
    "proposer": _id,
    "reason": _printable,
    "kind": _printable,
    "to": _id | st.just(""),
}
values = st.sampled_from(CLASSES).flatmap(
    lambda cls: st.builds(
        cls,
        **{
            name: _BY_NAME.get(name, _BY_ANNOTATION[kind])
            for name, kind in cls.__annotations__.items()
        },
    )
)

JOIN = peer.JoinRequest("n1", "10.0.0.1:15000", "demo", "", voter=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", "unix:/run/docker.sock"),
        ("address", "10.0.0.1:15000\nroot logged in"),
        ("address", "\x1b[2J:1"),
        ("address", ""),
        ("server_id", "x\x1b[31m"),
        ("server_id", "a b"),
        ("server_id", "x" * 129),
        ("server_id", ""),
        ("cluster_id", "\u202e"),
        ("cluster_name", "a\nb"),
        ("cluster_name", "x" * 256),
    ],
)
def test_names_that_cannot_be_one_are_refused(field: str, value: str) -> None:
    changed: dict[str, Any] = {field: value}
    packed = encode_peer(replace(JOIN, **changed))
    with pytest.raises(DecodeError, match=rf"JoinRequest\.{field}: .*accepted: ") as caught:
        decode_peer(peer.JoinRequest, packed)
    assert caught.value.message.isprintable()


def test_every_field_that_names_something_is_checked() -> None:
    good = {"server_id": "a", "address": "h:1", "cluster_name": "demo"}
    for cls in CLASSES:
        texts = [name for name, kind in cls.__annotations__.items() if kind == "str"]
        for name in texts:
            fields = {key: good[key] for key in texts if key in good} | {name: "\x1b"}
            data = message_class(f"braft.v1.{cls.__name__}")(**fields).SerializeToString()
            if name == "reason":
                assert decode_peer(cls, data).reason == r"\x1b"
                continue
            with pytest.raises(DecodeError, match=rf"{cls.__name__}\.{name}: "):
                decode_peer(cls, data)


def test_members_of_other_implementations_may_be_named() -> None:
    removal = peer.ChangeMembershipRequest("remove_server", "127.0.0.1:8300", "", 100)
    assert decode_peer(type(removal), encode_peer(removal)) == removal
    addition = peer.ChangeMembershipRequest("add_voter", "127.0.0.1:8300", "127.0.0.1:8300", 100)
    with pytest.raises(DecodeError, match="accepted: 1 to 128"):
        decode_peer(type(addition), encode_peer(addition))


def test_texts_of_an_error_are_printable() -> None:
    hostile = Conflict("a\nb\x1b[2J", server="\u202e", n=1)
    error = decode_error(encode_error(hostile))
    assert error.message == r"a\nb\x1b[2J"
    assert error.data == {"server": r"\u202e", "n": 1}


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
