"""Whom an event is for: as a comparison with each range would find it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from braft_core.runtime.interests import Interests, Span

keys = st.binary(min_size=1, max_size=3).map(lambda data: bytes(b % 3 for b in data)) | (
    st.sampled_from([b"\xff", b"\xff\xff", b"a\xff", b"a\xff\x01", b"b", b"\0", b"\xfe"])
)
ends = st.sampled_from([b"", b"\0"]) | keys
spans = st.builds(Span, keys, ends)


@given(watched=st.lists(spans, max_size=12), removed=st.sets(st.integers(0, 11)), key=keys)
def test_an_event_finds_those_who_want_it(
    watched: list[Span], removed: set[int], key: bytes
) -> None:
    interests: Interests[int] = Interests()
    for number, span in enumerate(watched):
        interests.add(number, span)
    for number in removed & set(range(len(watched))):
        interests.remove(number, watched[number])
        interests.remove(number, watched[number])
    left = {number: span for number, span in enumerate(watched) if number not in removed}
    assert sorted(interests) == sorted(left)
    wanted = {number for number, span in left.items() if span.has(key)}
    assert set(interests.take(key)) == wanted
    assert interests.take(key) == []
    assert sorted(interests) == sorted(set(left) - wanted)
    assert sorted(interests.clear()) == sorted(set(left) - wanted)
    assert list(interests) == []


@given(span=spans, key=keys)
def test_the_prefix_of_a_range_is_that_of_its_keys(span: Span, key: bytes) -> None:
    prefix = span.prefix
    if prefix is not None and span.end:
        assert span.has(key) == key.startswith(prefix)


def test_what_is_a_prefix() -> None:
    assert Span(b"a", b"b").prefix == b"a"
    assert Span(b"a\xff", b"b").prefix == b"a\xff"
    assert Span(b"a/", b"a0").prefix == b"a/"
    assert Span(b"\0", b"\0").prefix == b""
    assert Span(b"a", b"c").prefix is None
    assert Span(b"a", b"\0").prefix is None
    assert Span(b"\xff", b"\xff\xff").prefix is None


def test_nothing_is_left_of_watchers_that_are_gone() -> None:
    interests: Interests[int] = Interests()
    for number in range(10, 90):
        interests.add(number, Span(b"%d" % number, b""))
        interests.add(1_000 + number, Span(b"%d" % number, b"%d" % (number + 1)))
    for number in range(10, 50):
        interests.remove(number, Span(b"%d" % number, b""))
        interests.remove(1_000 + number, Span(b"%d" % number, b"%d" % (number + 1)))
    for number in range(50, 90):
        interests.take(b"%d" % number)
    assert (interests._keys, interests._prefixes, interests._ranges) == ({}, {}, {})
