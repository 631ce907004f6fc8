"""Server ids equal those of the Go original byte for byte."""

from __future__ import annotations

import base64
import socket
from datetime import UTC, datetime

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ksuid import Ksuid

from braft_core.compat.go_braft.server_id import (
    RaftID,
    decode_server_id,
    decode_server_id_or_none,
    encode_server_id,
    new_raft_id,
)
from braft_core.errors import DecodeError
from braft_core.identity import new_cluster_id

#: From the README of the original.
ORIGINAL_16000 = (
    "hKJJRLsyZ1UxVmdwM1lWcEdmNTdWSGRmMjVQbTM5b1OoSG9zdG5hbWWvYmluZ29vZGVNQlAubGFuoklQrTE5Mi4x"
    "NjguNi4yNDCkU3FpZKxJaWZmdjJ1akIwVWw"
)
ORIGINAL_15000 = (
    "hKJJRLsyZ1UxUnQ3SWJXdG5lN1l5VlhuQ0QwSnVZYVKoSG9zdG5hbWWvYmluZ29vZGVNQlAubGFuoklQrTE5Mi4x"
    "NjguNi4yNDCkU3FpZKw2WlZBZ0ZiMnh6aDc"
)
#: An older version of the original: ports in separate fields, several addresses, no Sqid.
OLDER = (
    "hqJJRLsyNHdtNGh1WXJaS0dmS3VBdW80OHRaeHVWTUWlUnBvcnTNOpilRHBvcnTNOpmlSHBvcnTNOpqoSG9zdG5h"
    "bWW1YnJhZnQtZDliZmY0YjliLWt6ZGhxoklQkaoxMC40Mi42Ljky"
)


@pytest.mark.parametrize(
    ("year", "shown"), [(1970, 2014), (2013, 2014), (2026, 2026), (2151, 2150), (9999, 2150)]
)
def test_any_wall_clock_makes_an_id(monkeypatch: pytest.MonkeyPatch, year: int, shown: int) -> None:
    now = datetime(year, 1, 2, tzinfo=UTC)
    monkeypatch.setattr("time.time", now.timestamp)
    monkeypatch.setattr("ksuid.ksuid.now", lambda tz: now)
    ids = {new_cluster_id() for _ in range(100)}
    ids.add(new_raft_id("10.0.0.1", (15000, 15001, 15002)).id)
    assert len(ids) == 101
    assert {(len(each), Ksuid.from_base62(each).datetime.year) for each in ids} == {(27, shown)}


def test_a_host_name_that_is_no_text_makes_an_id_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "gr\udcfcn\x1b[31m\nhöst")
    made = new_raft_id("10.0.0.1", (15000, 15001, 15002))
    assert made.hostname == "gr?n?[31m?höst"
    assert decode_server_id(encode_server_id(made)) == made


def test_reads_the_originals_ids() -> None:
    raft_id = decode_server_id(ORIGINAL_16000)
    assert raft_id == RaftID(
        "2gU1Vgp3YVpGf57VHdf25Pm39oS", "bingoodeMBP.lan", "192.168.6.240", "Iiffv2ujB0Ul"
    )
    assert raft_id.ports == (16000, 16001, 16002)
    assert decode_server_id(ORIGINAL_15000).ports == (15000, 15001, 15002)
    assert set(raft_id.as_dict()) == {"id", "hostname", "ip", "sqid"}


@pytest.mark.parametrize("server_id", [ORIGINAL_16000, ORIGINAL_15000])
def test_writes_the_originals_bytes(server_id: str) -> None:
    assert encode_server_id(decode_server_id(server_id)) == server_id


def test_new_ids_differ_and_sort_by_time() -> None:
    first = new_raft_id("10.0.0.1", (15000, 15001, 15002))
    second = new_raft_id("10.0.0.1", (15000, 15001, 15002), hostname="h")
    assert first.id != second.id
    assert len(first.id) == 27
    assert (first.hostname, second.hostname) == (socket.gethostname(), "h")
    assert first.sqid == "6ZVAgFb2xzh7"
    assert decode_server_id(encode_server_id(first)) == first


texts = st.text(max_size=80)


@given(texts, texts, texts, texts)
def test_round_trip(id_: str, hostname: str, ip: str, sqid: str) -> None:
    raft_id = RaftID(id_, hostname, ip, sqid)
    server_id = encode_server_id(raft_id)
    assert "=" not in server_id
    assert decode_server_id(server_id) == raft_id
    assert raft_id.ports is None or len(raft_id.ports) == 3


def packed(value: object) -> str:
    return base64.urlsafe_b64encode(msgpack.packb(value)).decode().rstrip("=")


@pytest.mark.parametrize(
    "server_id",
    [
        "",
        "node-1",
        "a",
        "é",
        OLDER,
        ORIGINAL_16000[:-4],
        ORIGINAL_16000 + "AAAA",
        packed([1]),
        packed({"ID": "x"}),
        packed({"ID": "x", "Hostname": "h", "IP": ["1"], "Sqid": "s"}),
        packed({1: 2}),
    ],
)
def test_ids_of_others(server_id: str) -> None:
    with pytest.raises(DecodeError, match="server id"):
        decode_server_id(server_id)
    assert decode_server_id_or_none(server_id) is None


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_text_decodes_or_is_refused(server_id: str) -> None:
    found = decode_server_id_or_none(server_id)
    assert found is None or decode_server_id(encode_server_id(found)) == found
