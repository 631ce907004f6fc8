"""HPACK: the examples of RFC 7541, the package hpack as reference, and hostile blocks."""

from __future__ import annotations

import time

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from braft_core.http2 import huffman
from braft_core.http2.hpack import EMPTY_TABLE, Decoder, InvalidBlock, encode

_huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


@pytest.mark.parametrize(
    ("blocks", "size"),
    [
        pytest.param(
            (
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ),
            164,
            id="C.3",
        ),
        pytest.param(
            (
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ),
            164,
            id="C.4, Huffman",
        ),
    ],
)
def test_requests_of_the_rfc(blocks: tuple[str, ...], size: int) -> None:
    decoder = Decoder()
    first, second, third = (decoder.decode(bytes.fromhex(block)) for block in blocks)
    common = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]
    host = (b":authority", b"www.example.com")
    assert first == [*common, host]
    assert second == [*common, host, (b"cache-control", b"no-cache")]
    assert third == [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        host,
        (b"custom-key", b"custom-value"),
    ]
    assert decoder.table_size == size


def test_responses_of_the_rfc_evict() -> None:
    decoder = Decoder(max_table_size=256)
    blocks = (
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f"
        "0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335df"
        "dfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    )
    *_, last = (decoder.decode(bytes.fromhex(block)) for block in blocks)
    assert last is not None
    assert dict(last)[b"set-cookie"] == b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
    assert decoder.table_size == 215


_names = st.sampled_from((b"custom", b"content-type", b":path", b"cookie", b"x" * 70))
_fields = st.lists(st.tuples(_names, st.binary(max_size=200)), max_size=8)


@given(st.lists(st.tuples(_fields, st.booleans(), st.integers(0, 4096)), max_size=8))
def test_decodes_what_hpack_encodes(
    blocks: list[tuple[list[tuple[bytes, bytes]], bool, int]],
) -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    for fields, coded, size in blocks:
        encoder.header_table_size = size
        assert decoder.decode(encoder.encode(fields, huffman=coded)) == fields
        assert decoder.table_size == encoder.header_table._current_size


@given(_fields)
def test_hpack_decodes_what_it_encodes(fields: list[tuple[bytes, bytes]]) -> None:
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 0
    decoded = decoder.decode(EMPTY_TABLE + encode(fields), raw=True)
    assert [tuple(field) for field in decoded] == fields
    assert Decoder().decode(encode(fields)) == fields


@given(st.binary(max_size=300))
def test_huffman_agrees_with_hpack(data: bytes) -> None:
    assert huffman.decode(_huffman.encode(data)) == data


@given(st.binary(max_size=60))
def test_any_huffman_string_is_decoded_or_refused(data: bytes) -> None:
    try:
        decoded = huffman.decode(data)
    except huffman.InvalidHuffman:
        return
    assert _huffman.encode(decoded) == data


@pytest.mark.parametrize("data", [b"\xff", b"\xff\xff\xff\xff", b"\x00", b"\x1f\xff"])
def test_wrong_padding_is_refused(data: bytes) -> None:
    with pytest.raises(huffman.InvalidHuffman):
        huffman.decode(data)


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_any_block_is_decoded_or_refused(blocks: list[bytes]) -> None:
    decoder = Decoder(max_table_size=200, max_list_size=400)
    for block in blocks:
        try:
            fields = decoder.decode(block)
        except InvalidBlock:
            return
        assert decoder.table_size <= 200
        if fields is not None:
            assert sum(len(name) + len(value) + 32 for name, value in fields) <= 400


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("80", "index 0"),
        ("be", "index 62"),
        ("3fe21f", "4097 octets"),
        ("8220", "within a header block"),
        ("ff8080808001", "too large"),
        ("0003", "within a string"),
        ("4083", "within a string"),
        ("40", "within a field"),
        ("ff", "within a field"),
        ("00016181ff", "padding"),
    ],
)
def test_malformed_blocks(block: str, message: str) -> None:
    with pytest.raises(InvalidBlock, match=message):
        Decoder().decode(bytes.fromhex(block))


def test_a_bomb_costs_no_memory() -> None:
    decoder = Decoder(max_list_size=16384)
    big = encode([(b"bomb", b"x" * 4000)])
    inserted = b"\x40" + big[1:]
    assert decoder.decode(inserted) == [(b"bomb", b"x" * 4000)]
    began = time.process_time()
    assert decoder.decode(b"\xbe" * 16384) is None  # 64 MiB if it were a list
    assert time.process_time() - began < 1
    assert decoder.decode(b"\xbe") == [(b"bomb", b"x" * 4000)]  # the tables still agree


def test_the_version_tells_of_changes() -> None:
    decoder = Decoder()
    decoder.decode(encode([(b"a", b"b")]))
    assert decoder.version == 0
    decoder.decode(b"\x40\x01a\x01b")
    decoder.decode(b"\x3f\xe1\x1f")
    assert decoder.version == 2
