"""Databases of bbolt are read as they were written, and damaged ones are errors, never worse."""

from __future__ import annotations

import io
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braft_core.errors import DecodeError
from braft_etcd import bolt_reader
from braft_etcd.bolt import PAGE_SIZE, write_database
from braft_etcd.bolt_format import META_BODY, checksum
from braft_etcd.bolt_reader import Database

Buckets = dict[bytes, list[tuple[bytes, bytes]]]


def written(buckets: Buckets) -> bytes:
    file = io.BytesIO()
    write_database(file, buckets.items())
    return file.getvalue()


def read(data: bytes) -> Buckets:
    database = Database(io.BytesIO(data))
    return {name: list(database.items(name)) for name in database.names}


_quick = settings(deadline=None, max_examples=40)
_SAMPLE: Buckets = {
    b"empty": [],
    b"key": [(b"%05d" % number, b"v" * (number % 90)) for number in range(200)],
    b"large": [(b"a", b"x" * 9000), (b"b", b""), (b"c", b"y" * 5000)],
}


_items = st.dictionaries(
    st.binary(min_size=1, max_size=40),
    st.sampled_from([b"", b"x", b"y" * 500, b"z" * 3000, b"w" * 9000]),
    max_size=20,
)


@_quick
@given(st.dictionaries(st.binary(min_size=1, max_size=8), _items, max_size=3))
def test_what_was_written_is_read(buckets: dict[bytes, dict[bytes, bytes]]) -> None:
    wanted = {name: sorted(items.items()) for name, items in sorted(buckets.items())}
    assert read(written(wanted)) == wanted


def test_a_tree_of_several_levels() -> None:
    wanted = {b"key": [(b"%08d" % number * 40, b"v") for number in range(600)]}
    assert read(written(wanted)) == wanted


def _page(data: bytearray, number: int) -> memoryview:
    return memoryview(data)[number * PAGE_SIZE : (number + 1) * PAGE_SIZE]


def _set_meta(data: bytearray, number: int, **changes: int) -> None:
    """Change one of the two pages that describe the rest; its checksum stays right."""
    names = "magic version page_size flags root sequence free end transaction".split()
    page = _page(data, number)
    fields = dict(zip(names, META_BODY.unpack_from(page, 16), strict=True)) | changes
    body = META_BODY.pack(*fields.values())
    page[16 : 16 + len(body)] = body
    page[16 + len(body) : 24 + len(body)] = struct.pack("<Q", checksum(body))


def test_the_newer_description_that_is_whole_is_used() -> None:
    data = bytearray(written(_SAMPLE))
    _set_meta(data, 0, transaction=7, root=99)
    with pytest.raises(DecodeError, match="its root is page 99"):
        read(bytes(data))
    _set_meta(data, 1, transaction=8)
    assert read(bytes(data)) == _SAMPLE
    # The newer one was being written when the machine failed.
    torn = bytearray(written(_SAMPLE))
    _set_meta(torn, 0, transaction=9, root=99)
    _page(torn, 0)[40] ^= 1
    assert read(bytes(torn)) == _SAMPLE
    _page(torn, 1)[40] ^= 1
    with pytest.raises(DecodeError, match="checksum of its first page"):
        read(bytes(torn))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 3}, "version 3; accepted: 2"),
        ({"page_size": 5000}, "its pages have 5000 bytes; accepted: 512, "),
        ({"magic": 1}, "does not describe one"),
        ({"root": 1}, "its root is page 1 of"),
        ({"end": 1 << 60}, "it is cut off: it has"),
    ],
)
def test_wrong_descriptions(changes: dict[str, int], said: str) -> None:
    data = bytearray(written(_SAMPLE))
    _set_meta(data, 0, **changes)
    _set_meta(data, 1, **changes)
    with pytest.raises(DecodeError, match=said):
        read(bytes(data))


def test_a_small_bucket_is_read_from_its_value() -> None:
    items = [(b"k", b"vv"), (b"l", b"")]
    heads = [struct.pack("<IIII", 0, 32, 1, 2), struct.pack("<IIII", 0, 19, 1, 0)]
    inline = struct.pack("<QQQHHI", 0, 0, 0, 2, 2, 0) + b"".join(heads) + b"kvvl"
    # A key of the root with the flag of a bucket.
    data = bytearray(written({b"x": []}))
    size = struct.unpack_from("<Q", data, 16 + 16)[0]
    page = _page(data, size)
    page[16:32] = struct.pack("<IIII", 1, 16, 1, len(inline))
    page[32 : 33 + len(inline)] = b"x" + inline
    assert read(bytes(data)) == {b"x": items}
    for at, said in ((33 + 24, "no leaf"), (33 + 26, "room for fewer"), (12, "cut off")):
        bad = bytearray(data)
        if at == 12:
            _page(bad, size)[16 + 12 : 16 + 16] = struct.pack("<I", 20)
        else:
            _page(bad, size)[at] = 200
        with pytest.raises(DecodeError, match=said):
            read(bytes(bad))


def _tree(pages: dict[int, bytes]) -> bytes:
    """Return a database with these pages; 3 is that of the bucket ``b``, 2 names it."""
    last = max(pages)
    data = bytearray(PAGE_SIZE * (last + 1))
    root = struct.pack("<QHHI", 2, 2, 1, 0) + struct.pack("<IIII", 1, 16, 1, 16) + b"b"
    for number, body in (pages | {2: root + struct.pack("<QQ", 3, 0)}).items():
        _page(data, number)[: len(body)] = body
    for number in (0, 1):
        _page(data, number)[:16] = struct.pack("<QHHI", number, 4, 0, 0)
        _set_meta(
            data, number, magic=0xED0CDAED, version=2, page_size=PAGE_SIZE, root=2, end=last + 1
        )
    return bytes(data)


def _branch(number: int, *children: tuple[bytes, int]) -> bytes:
    heads, at = b"", 16 * len(children)
    for index, (key, child) in enumerate(children):
        heads += struct.pack("<IIQ", at - 16 * index, len(key), child)
        at += len(key)
    head = struct.pack("<QHHI", number, 1, len(children), 0)
    return head + heads + b"".join(key for key, _ in children)


def _leaf(number: int, *keys: bytes, following: int = 0) -> bytes:
    heads, at = b"", 16 * len(keys)
    for index, key in enumerate(keys):
        heads += struct.pack("<IIII", 0, at - 16 * index, len(key), 0)
        at += len(key)
    return struct.pack("<QHHI", number, 2, len(keys), following) + heads + b"".join(keys)


def test_such_a_tree_is_read() -> None:
    pages = {3: _branch(3, (b"a", 4), (b"m", 5)), 4: _leaf(4, b"a", b"c"), 5: _leaf(5, b"n")}
    assert read(_tree(pages)) == {b"b": [(b"a", b""), (b"c", b""), (b"n", b"")]}


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ({3: _branch(3, (b"a", 3))}, "page 3 belongs to two places"),
        ({3: _branch(3, (b"a", 4)), 4: _branch(4, (b"a", 3))}, "page 3 belongs to two places"),
        ({3: _branch(3, (b"a", 4), (b"b", 4)), 4: _leaf(4, b"a")}, "page 4 belongs to two places"),
        ({3: _branch(3, (b"a", 99))}, "a page 99 is named, and there are 4"),
        ({3: _branch(3, (b"a", 1))}, "a page 1 is named"),
        ({3: _leaf(4, b"a")}, "page 3 says that it is page 4"),
        ({3: _leaf(3, b"a", following=9)}, "page 3 reaches to page 13, and there are 4"),
        ({3: _leaf(3, b"b", b"a")}, "the key b'a' of page 3 is not in its place"),
        ({3: _leaf(3, b"a", b"a")}, "the key b'a' of page 3 is not in its place"),
        ({3: _leaf(3, b"")}, "the key b'' of page 3 is not in its place"),
        ({3: _branch(3, (b"b", 4)), 4: _leaf(4, b"a")}, "the key b'a' of page 4"),
        (
            {3: _branch(3, (b"a", 4), (b"b", 5)), 4: _leaf(4, b"a", b"b"), 5: _leaf(5, b"c")},
            "the key b'b' of page 4",
        ),
        ({3: _branch(3)}, "page 3 has 0 elements"),
        ({3: struct.pack("<QHHI", 3, 2, 60_000, 0)}, "room for fewer than 60000 elements"),
        ({3: struct.pack("<QHHI", 3, 1, 60_000, 0)}, "not room for as many"),
        ({3: struct.pack("<QHHI", 3, 16, 0, 0)}, "has the kind 16"),
        (
            # Two elements with the same bytes: a file could so be larger than it is.
            {3: struct.pack("<QHHIIIIIIIII", 3, 2, 2, 0, 0, 32, 1, 900, 0, 16, 1, 900) + b"ab"},
            "an element of page 3 is out of its place",
        ),
        ({3: struct.pack("<QHHIIIII", 3, 2, 1, 0, 0, 16, 1, 1 << 31) + b"a"}, "out of its place"),
        ({3: struct.pack("<QHHIIIII", 3, 2, 1, 0, 7, 16, 1, 0) + b"a"}, "has the flags 7"),
        (
            {3: struct.pack("<QHHIIIII", 3, 2, 1, 0, 1, 16, 1, 16) + b"a" + bytes(16)},
            "has a bucket b'a' in it",
        ),
    ],
)
def test_lies_are_named(pages: dict[int, bytes], said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        read(_tree(pages))


def test_a_page_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bolt_reader, "MAX_PAGE", 2 * PAGE_SIZE)
    with pytest.raises(DecodeError, match="bytes; accepted: 8192"):
        read(written(_SAMPLE))


def test_a_tree_of_too_many_open_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bolt_reader, "MAX_PENDING", 2)
    with pytest.raises(DecodeError, match="below too many others"):
        read(written(_SAMPLE))


def test_every_cut_is_an_error() -> None:
    data = written(_SAMPLE)
    for size in [0, 1, 79, 80, 4095, 4096, *range(8192, len(data), 4096), len(data) - 1]:
        with pytest.raises(DecodeError):
            read(data[:size])


@_quick
@given(st.binary(max_size=9000))
def test_random_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read(data)


@_quick
@given(st.integers(0, 1 << 32))
def test_changed_bytes_are_an_error_or_change_no_more_than_values(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(written(_SAMPLE))
    for _ in range(chance.randint(1, 6)):
        # Rather where pages and elements begin, which say where everything is.
        at = chance.randrange(len(data) // PAGE_SIZE) * PAGE_SIZE + chance.choice(
            (chance.randrange(16), chance.randrange(200), chance.randrange(PAGE_SIZE))
        )
        data[at] = chance.choice((0, 1, 2, 255, data[at] ^ 1 << chance.randrange(8)))
    try:
        found = read(bytes(data))
    except DecodeError:
        return
    size = sum(len(key) + len(value) for items in found.values() for key, value in items)
    assert size <= len(data)
    for items in found.values():
        assert [key for key, _ in items] == sorted({key for key, _ in items})
