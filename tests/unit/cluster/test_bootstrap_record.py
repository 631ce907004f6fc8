"""The bootstrap record on disk: it reads back unchanged, and damage is an error."""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.cluster.bootstrap_record import (
    EMPTY_RECORD,
    BootstrapRecord,
    decode_record,
    encode_record,
)
from braft_core.errors import DecodeError
from braft_core.peer import BootstrapProposal

#: Written by 0.1; every later version must read it.
GOLDEN = bytes.fromhex("930194a163a178c401ffa16192a179a17a")

proposals = st.builds(BootstrapProposal, st.text(), st.text(), st.binary(), st.text())
records = st.builds(
    BootstrapRecord, st.none() | proposals, st.lists(st.text(), max_size=4).map(tuple)
)


@given(records)
def test_a_record_survives_the_disk(record: BootstrapRecord) -> None:
    assert decode_record(encode_record(record)) == record


def test_golden_bytes() -> None:
    record = BootstrapRecord(BootstrapProposal("c", "x", b"\xff", "a"), ("y", "z"))
    assert encode_record(record) == GOLDEN
    assert decode_record(GOLDEN) == record


@given(st.binary())
def test_any_bytes_give_a_record_or_one_kind_of_error(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        assert isinstance(decode_record(data), BootstrapRecord)


@pytest.mark.parametrize(
    "value",
    [[2, None, []], [1, None], [1, ["c", "x", "text", "a"], []], [1, None, [b"y"]], {"1": 2}, 7],
)
def test_what_is_not_a_record_of_this_version_is_refused(value: object) -> None:
    with pytest.raises(DecodeError, match="not a bootstrap record"):
        decode_record(msgpack.packb(value))


def test_cut_records_are_refused() -> None:
    whole = encode_record(EMPTY_RECORD)
    for length in range(len(whole)):
        with pytest.raises(DecodeError):
            decode_record(whole[:length])
