"""Texts in order."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from braft_core.services.ordered import OrderedKeys, keys_after


def made_of(keys: list[str]) -> OrderedKeys:
    made = OrderedKeys()
    for key in keys:
        made.add(key)
    return made


_edits = st.lists(st.tuples(st.booleans(), st.integers(0, 1500)), max_size=60)


@given(st.integers(0, 1200), _edits)
def test_as_a_sorted_list(count: int, edits: list[tuple[bool, int]]) -> None:
    # A full block and more, in an order that is none, and then some of them go and come.
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
