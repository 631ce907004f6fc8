"""The sorted set of texts."""

from __future__ import annotations

import gc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.services import distribute, ordered
from braft_core.services.distribute import spread
from braft_core.services.ordered import OrderedKeys, in_order, keys_after


def made_of(keys: list[str]) -> OrderedKeys:
    made = OrderedKeys()
    for key in keys:
        made.add(key)
    return made


_edits = st.lists(st.tuples(st.booleans(), st.integers(0, 1500)), max_size=60)


@given(st.integers(0, 1200), _edits)
def test_as_a_sorted_list(count: int, edits: list[tuple[bool, int]]) -> None:
    # Insert more than a full block in mixed order, then remove and add some.
    keys = {f"{number * 7919 % 1201:04d}" for number in range(count)}
    ordered = made_of([f"{number * 7919 % 1201:04d}" for number in range(count)])
    for adds, number in edits:
        key = f"{number:04d}"
        if adds and key not in keys:
            ordered.add(key)
            keys.add(key)
        elif not adds and key in keys:
            ordered.remove(key)
            keys.remove(key)
    assert list(ordered.after("")) == sorted(keys)
    assert list(ordered.after("0600")) == sorted(key for key in keys if key > "0600")
    assert list(ordered.after("0600x")) == sorted(key for key in keys if key > "0600x")


def test_text_beyond_ascii_is_in_the_order_of_its_utf_8() -> None:
    keys = ["z", "é", "\uffff", "\U00010000", "Z", "zz"]
    assert list(made_of(keys).after("")) == sorted(keys, key=str.encode)


def test_all_removed_and_begun_again() -> None:
    keys = [f"{number:04d}" for number in range(1000)]
    ordered = made_of(keys)
    for key in reversed(keys):
        ordered.remove(key)
    assert list(ordered.after("")) == []
    assert ordered.blocks() == []
    ordered.add("again")
    assert list(ordered.after("")) == ["again"]


def test_a_capture_does_not_change() -> None:
    keys = [f"{number:04d}" for number in range(1000)]
    ordered = made_of(keys)
    captured = ordered.blocks()
    for key in keys[::2]:
        ordered.remove(key)
    ordered.add("0000x")
    assert list(keys_after(captured, "")) == keys


def test_keys_that_come_in_order_fill_the_blocks() -> None:
    captured = made_of([f"{number:05d}" for number in range(25_600)]).blocks()
    assert len(captured) == 200


def test_what_is_removed_leaves_few_blocks_behind() -> None:
    keys = [f"{number:05d}" for number in range(25_600)]
    ordered = made_of(keys)
    for key in keys:
        if not key.endswith("00"):
            ordered.remove(key)
    assert list(ordered.after("")) == keys[::100]
    assert len(ordered.blocks()) <= 20


def test_the_garbage_collector_does_not_follow_the_blocks() -> None:
    captured = made_of([f"{number:05d}" for number in range(25_600)]).blocks()
    gc.collect()
    assert not any(map(gc.is_tracked, captured))


def test_many_texts_are_sorted_in_short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    # Sorting a million of them in one call blocks all threads for 0.2 s.
    texts = {f"{number * 7919 % 100_003:06d}" for number in range(100_000)}
    expected = sorted(texts)
    sizes: list[int] = []

    def watched(some: Iterable[str]) -> list[str]:
        found = sorted(some)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(ordered, "sorted", watched, raising=False)
    assert in_order(texts) == expected
    assert in_order(expected) == expected
    assert in_order(["b", "a", "b"]) == ["a", "b", "b"]
    assert in_order([]) == []
    assert max(sizes) == 16_384


def test_a_large_share_is_spread_as_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [f"{number * 7919 % 40_009:06d}" for number in range(40_000)]
    first = spread(items, ["a", "b", "c"], {})
    second = spread(items[1:], ["b", "c", "d"], first)
    monkeypatch.setattr(distribute, "in_order", sorted)
    assert spread(items, ["a", "b", "c"], {}) == first
    assert spread(items[1:], ["b", "c", "d"], first) == second
