"""The proof of a shared secret and the seals of messages, without I/O."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core import proof
from braft_core.errors import DecodeError
from braft_core.proof import Keys
from braft_core.transport.grpc.call_mac import CallMac, ReplayWindow, unpack
from braft_tcp.frame_mac import FrameMac
from braft_tcp.frames import Kind

OLD, NEW, OTHER = b"old-secret-of-nodes", b"new-secret-of-nodes", b"a-stranger-s-secret"
SAID = proof.transcript_of("tcp", b"hello", b"challenge")


def test_both_ends_find_the_secret_that_they_share() -> None:
    for client, server, found in (
        ([OLD], [OLD], OLD),
        ([NEW, OLD], [OLD], OLD),
        ([NEW, OLD], [OLD, NEW], NEW),
        ([OLD], [NEW, OLD], OLD),
    ):
        secret = proof.server_secret(client, SAID, proof.server_proofs(server, SAID))
        assert secret == found
        assert proof.client_secret(server, SAID, proof.client_proof(secret, SAID)) == found


def test_a_proof_without_the_token_is_rejected() -> None:
    assert proof.server_secret([OLD, NEW], SAID, proof.server_proofs([OTHER], SAID)) is None
    assert proof.server_secret([OLD, NEW], SAID, []) is None
    assert proof.client_secret([OLD, NEW], SAID, proof.client_proof(OTHER, SAID)) is None
    assert proof.client_secret([OLD], SAID, b"") is None


def test_a_proof_is_of_one_side_and_one_conversation() -> None:
    (offered,) = proof.server_proofs([OLD], SAID)
    given = proof.client_proof(OLD, SAID)
    assert proof.client_secret([OLD], SAID, offered) is None
    assert proof.server_secret([OLD], SAID, [given]) is None
    for other in (
        proof.transcript_of("grpc", b"hello", b"challenge"),
        proof.transcript_of("tcp", b"hellochallenge", b""),
        proof.transcript_of("tcp", b"hell", b"ochallenge"),
        proof.transcript_of("tcp", b"hello", b"challenge!"),
    ):
        assert proof.client_secret([OLD], other, given) is None
        assert Keys.derive(OLD, other).session != Keys.derive(OLD, SAID).session


def test_frames_are_opened_as_they_were_sent() -> None:
    keys = Keys.derive(OLD, SAID)
    client, server = FrameMac(keys, client=True), FrameMac(keys, client=False)
    for body in (b"", b"x", bytes(1000)):
        for one, other in ((client, server), (server, client)):
            assert other.verify(Kind.CALL, 7, one.sign(Kind.CALL, 7, body)) == body


def test_frames_that_were_changed_repeated_left_out_or_sent_back_are_refused() -> None:
    def ends() -> tuple[FrameMac, FrameMac]:
        keys = Keys.derive(OLD, SAID)
        return FrameMac(keys, client=True), FrameMac(keys, client=False)

    client, server = ends()
    first, second = client.sign(Kind.CALL, 1, b"a"), client.sign(Kind.CALL, 2, b"a")
    for kind, number, body in (
        (Kind.CALL, 1, first[:-1] + b"b"),
        (Kind.CALL, 2, first),
        (Kind.CANCEL, 1, first),
        (Kind.CALL, 2, second),  # the first was omitted
        (Kind.CALL, 1, b""),
        (Kind.GOAWAY, 0, b""),
    ):
        with pytest.raises(DecodeError):
            server.verify(kind, number, body)
    server.verify(Kind.CALL, 1, first)
    with pytest.raises(DecodeError):
        server.verify(Kind.CALL, 1, first)
    with pytest.raises(DecodeError):
        client.verify(Kind.CALL, 2, second)


def test_a_call_of_a_session_is_sealed_with_its_method_and_its_ids() -> None:
    keys = Keys.derive(OLD, SAID)
    told = ("/RaftTransport/RequestVote", "cl", "a", "b")
    _, value = CallMac(keys, 3, client=True).call_metadata(told)
    unpacked = unpack(value)
    assert unpacked is not None
    session, number, tag = unpacked
    assert (session, number) == (keys.session, 3)
    assert CallMac(keys, 3, client=False).verifies_metadata(told, tag)
    assert not CallMac(keys, 4, client=False).verifies_metadata(told, tag)
    assert not CallMac(keys, 3, client=False).verifies_metadata(("/x", *told[1:]), tag)
    assert not CallMac(keys, 3, client=False).verifies_metadata((*told[:3], "c"), tag)
    assert unpack(b"x") is None
    assert unpack("x") is None


def test_messages_of_a_call_are_numbered() -> None:
    keys = Keys.derive(OLD, SAID)
    client, server = CallMac(keys, 1, client=True), CallMac(keys, 1, client=False)
    first, second = client.sign(b"one"), client.sign(b"")
    with pytest.raises(DecodeError):
        server.verify(second)
    assert server.verify(first) == b"one"
    assert server.verify(second) == b""
    with pytest.raises(DecodeError):
        client.verify(first)
    with pytest.raises(DecodeError):
        CallMac(keys, 2, client=False).verify(first)
    _, tag = server.sign_error(b"error")
    assert client.verifies_error(b"error", tag)
    assert not client.verifies_error(b"other", tag)
    assert not client.verifies_error(b"error", None)


@given(st.lists(st.integers(0, 12_000), max_size=60))
def test_a_number_is_good_once(numbers: list[int]) -> None:
    window, used, highest = ReplayWindow(), set(), -1
    for number in numbers:
        expected = number not in used and number > highest - 4096
        assert window.take(number) is expected
        if expected:
            used.add(number)
        highest = max(highest, number)
    leaping = ReplayWindow()
    assert leaping.take(2**64 - 1)
    assert not leaping.take(2**64 - 1)
