"""The key-value service."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.abc import CommandContext
from braft_core.errors import Conflict, DecodeError, InvalidArgument, Rejected
from braft_core.pagination import DEFAULT_PAGE_SIZE
from braft_core.services.kv import KVService


def run(kv: KVService, index: int, name: str, *args: Any) -> Any:
    return kv.apply(name, args, CommandContext(index, 1, 0))


def test_put_and_get() -> None:
    kv = KVService()
    assert run(kv, 5, "put", "colors", "sky", "blue") == 5
    assert run(kv, 6, "put", "colors", "sky", ["grey", {"shade": 7}]) == 6
    assert kv.query("get", ["colors", "sky"]) == [["grey", {"shade": 7}], 6]


def test_none_is_a_value() -> None:
    kv = KVService()
    run(kv, 1, "put", "m", "k", None)
    assert kv.query("get", ["m", "k"]) == [None, 1]


def test_what_is_not_there() -> None:
    kv = KVService()
    run(kv, 1, "put", "m", "k", 1)
    assert kv.query("get", ["m", "x"]) is None
    assert kv.query("get", ["x", "k"]) is None
    with pytest.raises(Rejected, match="there is no map 'x'"):
        kv.query("list", ["x"])


def test_delete() -> None:
    kv = KVService()
    run(kv, 1, "put", "m", "k", 1)
    assert run(kv, 2, "delete", "m", "k") is True
    assert run(kv, 3, "delete", "m", "k") is False
    assert kv.query("maps", []) == []


def test_list_and_maps() -> None:
    kv = KVService()
    run(kv, 1, "put", "b", "k", 1)
    run(kv, 2, "put", "a", "k", 2)
    run(kv, 3, "put", "b", "j", 3)
    assert kv.query("maps", []) == ["a", "b"]
    assert kv.query("list", ["b"]) == {"k": 1, "j": 3}


def test_conditions_hold() -> None:
    kv = KVService()
    assert run(kv, 3, "put_if", "m", "k", "new", 0) == 3
    assert run(kv, 4, "put_if", "m", "k", "newer", 3) == 4
    assert run(kv, 5, "delete_if", "m", "k", 4) is True
    assert run(kv, 6, "delete_if", "m", "k", 0) is False


@pytest.mark.parametrize("call", [("put_if", "m", "k", "x"), ("delete_if", "m", "k")])
@pytest.mark.parametrize("expected", [0, 2, 4])
def test_conditions_that_do_not_hold(call: tuple[str, ...], expected: int) -> None:
    kv = KVService()
    run(kv, 3, "put", "m", "k", "old")
    with pytest.raises(Conflict) as caught:
        run(kv, 9, *call, expected)
    assert caught.value.data["revision"] == 3
    assert kv.query("get", ["m", "k"]) == ["old", 3]


@pytest.mark.parametrize("expected", [-1, True, "3", 3.0, None])
def test_a_revision_is_a_number(expected: Any) -> None:
    with pytest.raises(InvalidArgument, match="expected_revision"):
        run(KVService(), 1, "put_if", "m", "k", 1, expected)


@pytest.mark.parametrize("name", ["x", "\u00e4" * 512, "x" * 1024, "a/b c", "\U0001f600"])
def test_names_that_are_accepted(name: str) -> None:
    kv = KVService()
    run(kv, 1, "put", name, name, 1)
    assert kv.query("get", [name, name]) == [1, 1]


@pytest.mark.parametrize(
    "name", ["", "x" * 1025, "\u00e4" * 513, "a\0b", "\udc80", None, 3, b"bytes", ["x"]]
)
@pytest.mark.parametrize(
    ("call", "what"),
    [
        (("put", None, "k", 1), "map name"),
        (("put", "m", None, 1), "key"),
        (("put_if", None, "k", 1, 0), "map name"),
        (("delete", "m", None), "key"),
        (("delete_if", "m", None, 0), "key"),
    ],
)
def test_names_that_are_refused(call: tuple[Any, ...], what: str, name: Any) -> None:
    kv = KVService()
    with pytest.raises(InvalidArgument) as caught:
        run(kv, 1, call[0], *(name if arg is None else arg for arg in call[1:]))
    assert caught.value.message.startswith(f"{what} {name!r}"[:60])
    assert kv.query("maps", []) == []


@pytest.mark.parametrize("call", [("get", "", "k"), ("get", "m", "a\0"), ("list", "")])
def test_queries_check_names_too(call: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument, match="is not accepted"):
        KVService().query(call[0], call[1:])


def test_a_value_that_is_not_plain_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="the value of key 'k' is not accepted"):
        run(KVService(), 1, "put", "m", "k", {1, 2})


calls = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "put_if"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["x", "y", "z"]),
        st.integers(0, 8),
    ),
    max_size=30,
)


@given(calls)
def test_it_does_what_a_naive_twin_does(steps: list[tuple[str, str, str, int]]) -> None:
    kv, twin = KVService(), dict[tuple[str, str], tuple[int, int]]()
    for index, (name, map_name, key, number) in enumerate(steps, start=1):
        present = twin.get((map_name, key))
        if name == "delete":
            assert run(kv, index, name, map_name, key) is (present is not None)
            twin.pop((map_name, key), None)
        elif name == "put":
            assert run(kv, index, name, map_name, key, number) == index
            twin[map_name, key] = (number, index)
        elif number == (present[1] if present else 0):
            assert run(kv, index, name, map_name, key, number, number) == index
            twin[map_name, key] = (number, index)
        else:
            with pytest.raises(Conflict):
                run(kv, index, name, map_name, key, number, number)
    for map_name in ("a", "b"):
        for key in ("x", "y", "z"):
            found = twin.get((map_name, key))
            assert kv.query("get", [map_name, key]) == (None if found is None else [*found])
    assert kv.query("maps", []) == sorted({map_name for map_name, _ in twin})


# ------------------------------------------------------------------ snapshots


def test_many_keys_survive_a_snapshot_however_it_is_cut() -> None:
    source, target = KVService(), KVService()
    for index in range(1, 1001):
        run(source, index, "put", f"map{index % 3}", f"key{index}", {"n": index, "b": b"\0"})
    data = b"".join(source.snapshot())
    target.restore(iter(data[at : at + 777] for at in range(0, len(data), 777)))
    assert target.query("maps", []) == ["map0", "map1", "map2"]
    assert target.query("list", ["map1"]) == source.query("list", ["map1"])
    assert target.query("get", ["map1", "key1000"]) == [{"n": 1000, "b": b"\0"}, 1000]
    assert b"".join(target.snapshot()) == data


def test_the_deepest_value_that_a_command_can_carry_survives_a_snapshot() -> None:
    value: Any = 1
    for _ in range(126):
        value = [value]
    source, target = KVService(), KVService()
    run(source, 1, "put", "m", "k", value)
    target.restore(source.snapshot())
    assert target.query("get", ["m", "k"]) == [value, 1]


@pytest.mark.parametrize(
    "data",
    [
        b"\x94\xa1a",
        b"\xc1",
        b"\x01",
        b"\x94\xa1m\xa1k\x01\xa1x",
        b"\x94\xa1m\xa1k\x01\x00",
        b"\x94\xa1m\xa1k\x01\xff",
    ],
)
def test_a_damaged_snapshot_is_refused(data: bytes) -> None:
    kv = KVService()
    run(kv, 1, "put", "m", "k", 1)
    with pytest.raises(DecodeError, match="not a snapshot of kv"):
        kv.restore(iter([data]))


def test_the_old_state_is_let_go_before_a_snapshot_is_read() -> None:
    class Large:
        """A value whose deallocation the test can observe."""

    large = Large()
    gone = weakref.ref(large)
    kv = KVService()
    kv._values["m\0k"] = large
    del large
    source = KVService()
    run(source, 1, "put", "m", "other", 2)

    def chunks() -> Iterator[bytes]:
        assert gone() is None
        yield from source.snapshot()

    kv.restore(chunks())
    assert kv.query("get", ["m", "other"]) == [2, 1]


def test_a_snapshot_depends_on_the_contents_alone() -> None:
    one, other = KVService(), KVService()
    for number in range(600):
        run(one, number + 1, "put", f"m{number % 3}", f"k{number}", [number])
    for number in reversed(range(600)):
        run(other, number + 1, "put", f"m{number % 3}", f"k{number}", [number])
        run(other, 999, "put", "m0", "passing", number)
        run(other, 999, "delete", "m0", "passing")
    restored = KVService()
    restored.restore(other.snapshot())
    data = b"".join(one.snapshot())
    assert b"".join(other.snapshot()) == data
    assert b"".join(restored.snapshot()) == data


def test_a_snapshot_whose_rows_are_in_no_order_is_read() -> None:
    rows = [["m", "b", [1], 3], ["a", "k", None, 1], ["m", "a", "x", 2]]
    kv = KVService()
    kv.restore(iter([b"".join(map(msgpack.packb, rows))]))
    assert kv.query("maps", []) == ["a", "m"]
    assert kv.query("list", ["m"]) == {"a": "x", "b": [1]}
    assert kv.query("get", ["m", "b"]) == [[1], 3]


def test_a_snapshot_has_small_chunks_and_shows_the_captured_state() -> None:
    kv = KVService()
    for number in range(5_000):
        run(kv, number + 1, "put", "m", f"k{number}", [number, "x" * 20])
    captured = kv.snapshot()
    for number in range(5_000):
        run(kv, 20_000 + number, "put", "m", f"k{number}", "later")
    run(kv, 40_000, "delete", "m", "k0")
    chunks = list(captured)
    assert max(map(len, chunks)) < 2 * (64 << 10)
    old = KVService()
    old.restore(iter(chunks))
    assert len(old.query("list", ["m"])) == 5_000
    assert old.query("get", ["m", "k4999"]) == [[4999, "x" * 20], 5_000]


def test_the_interpreter_is_not_held_while_a_large_snapshot_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One call of C code decodes each fed piece, and no other thread runs meanwhile.
    source, target = KVService(), KVService()
    value: list[Any] = [[] for _ in range(300_000)]
    run(source, 1, "put", "m", "k", value)
    fed = watch_feeds(monkeypatch)
    target.restore(source.snapshot())
    assert target.query("get", ["m", "k"]) == [value, 1]
    assert len(fed) > 8
    assert max(fed) <= 64 << 10


def watch_feeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the sizes of the pieces that unpackers are fed."""
    fed: list[int] = []

    class Watched(msgpack.Unpacker):  # type: ignore[misc]  # it has no type information
        def feed(self, data: bytes) -> None:
            fed.append(len(data))
            super().feed(data)

    monkeypatch.setattr(msgpack, "Unpacker", Watched)
    return fed


# ------------------------------------------------------------------ the garbage collector


def test_the_garbage_collector_has_nothing_to_do_with_the_state() -> None:
    # A full collection visits all containers without a break: with a million lists it blocked
    # every thread for 0.4 s.
    def followed(count: int) -> int:
        kv = KVService()
        for number in range(count):
            run(kv, number + 1, "put", "m", f"k{number}", [{"a": [number]}, [], ()])
            run(kv, number + 1, "put", f"m{number}", "k", number)
        gc.collect()
        assert not gc.is_tracked(kv._values)
        assert not gc.is_tracked(kv._revisions)
        return len(gc.get_objects())

    few = followed(10)
    assert followed(5_000) - few < 100


# ------------------------------------------------------------------ pages


def pages_of(kv: KVService, map_name: str, limit: int) -> list[dict[str, Any]]:
    found = [kv.query("page", [map_name, "", limit])]
    while found[-1]["next"] is not None:
        found.append(kv.query("page", [map_name, found[-1]["next"], limit]))
    return [page["items"] for page in found]


@pytest.mark.parametrize(("limit", "count"), [(1, 7), (3, 3), (7, 1), (8, 1), (100_000, 1)])
def test_pages_hold_every_key_once_in_order(limit: int, count: int) -> None:
    kv = KVService()
    for number in (5, 3, 1, 6, 0, 4, 2):
        run(kv, number + 1, "put", "m", f"k{number}", [number])
        run(kv, number + 1, "put", "l", f"k{number}", "of another map")
        run(kv, number + 1, "put", "m\x01", f"k{number}", "of another map")
    pages = pages_of(kv, "m", limit)
    assert len(pages) == count
    assert [entry for page in pages for entry in page.items()] == [
        (f"k{number}", [number]) for number in range(7)
    ]


def test_a_page_may_begin_anywhere_and_has_a_default_limit() -> None:
    kv = KVService()
    for number in range(DEFAULT_PAGE_SIZE + 1):
        run(kv, number + 1, "put", "m", f"k{number:05d}", number)
    page = kv.query("page", ["m"])
    assert (len(page["items"]), page["next"]) == (
        DEFAULT_PAGE_SIZE,
        f"k{DEFAULT_PAGE_SIZE - 1:05d}",
    )
    assert kv.query("page", ["m", "k00003x", 2])["items"] == {"k00004": 4, "k00005": 5}
    assert kv.query("page", ["m", "j", 1]) == {"items": {"k00000": 0}, "next": "k00000"}
    assert kv.query("page", ["m", "z"]) == {"items": {}, "next": None}


def test_a_page_of_large_values_ends_early_and_yet_goes_on() -> None:
    kv = KVService()
    for number in range(8):
        run(kv, number + 1, "put", "m", f"k{number}", [b"x" * (3 << 18)])
    pages = pages_of(kv, "m", 1000)
    assert [list(page) for page in pages] == [["k0", "k1", "k2"], ["k3", "k4", "k5"], ["k6", "k7"]]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=40), st.integers(1, 9))
def test_a_key_that_stays_is_on_one_page_whatever_changes_meanwhile(
    changes: list[tuple[bool, int]], limit: int
) -> None:
    kv = KVService()
    for number in range(0, 40, 4):
        run(kv, 1, "put", "m", f"stay{number:02d}", number)
    rest, seen, after = iter(changes), [], ""
    while after is not None:
        page = kv.query("page", ["m", after, limit])
        seen += page["items"]
        after = page["next"]
        for adds, number in [change for change, _ in zip(rest, range(3), strict=False)]:
            key = f"stay{number:02d}x"
            run(kv, 2, *(("put", "m", key, 0) if adds else ("delete", "m", key)))
    stayed = [key for key in seen if not key.endswith("x")]
    assert stayed == [f"stay{number:02d}" for number in range(0, 40, 4)]
    assert seen == sorted(set(seen))


def test_pages_of_a_map_that_is_not_there_or_goes_meanwhile() -> None:
    kv = KVService()
    with pytest.raises(Rejected, match="there is no map 'm'"):
        kv.query("page", ["m"])
    run(kv, 1, "put", "m", "a", 1)
    run(kv, 2, "put", "m", "b", 2)
    after = kv.query("page", ["m", "", 1])["next"]
    run(kv, 3, "delete", "m", "a")
    run(kv, 4, "delete", "m", "b")
    assert kv.query("page", ["m", after, 1]) == {"items": {}, "next": None}


@pytest.mark.parametrize("query", [("page", "m"), ("maps_page",)])
@pytest.mark.parametrize("limit", [0, -1, 100_001, True, "5", 1.0, None])
def test_a_limit_that_is_none_is_refused(query: tuple[str, ...], limit: Any) -> None:
    name, *args = query
    with pytest.raises(InvalidArgument, match=r"limit .* a number of keys from 1 to 100000"):
        KVService().query(name, [*args, "", limit])


@pytest.mark.parametrize("after", ["a\0b", "x" * 1025, 5, None, b"k"])
def test_a_continuation_that_is_no_key_is_refused(after: Any) -> None:
    with pytest.raises(InvalidArgument, match="after "):
        KVService().query("page", ["m", after])


def test_pages_of_maps() -> None:
    kv = KVService()
    for number in range(5):
        run(kv, 1, "put", f"m{number}", "k", 1)
    run(kv, 1, "put", "m1", "another", 1)
    run(kv, 1, "delete", "m3", "k")
    assert kv.query("maps_page", ["", 2]) == {"maps": ["m0", "m1"], "next": "m1"}
    assert kv.query("maps_page", ["m1", 2]) == {"maps": ["m2", "m4"], "next": None}
    assert kv.query("maps_page", []) == {"maps": ["m0", "m1", "m2", "m4"], "next": None}
    assert kv.query("list", ["m1"]) == {"another": 1, "k": 1}
