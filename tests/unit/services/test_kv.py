"""The key-value service."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.abc import CommandContext
from braft_core.errors import Conflict, DecodeError, InvalidArgument, Rejected
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


@pytest.mark.parametrize("data", [b"\x94\xa1a", b"\xc1", b"\x01", b"\x94\xa1m\xa1k\x01\xa1x"])
def test_a_damaged_snapshot_is_refused(data: bytes) -> None:
    kv = KVService()
    run(kv, 1, "put", "m", "k", 1)
    with pytest.raises(DecodeError, match="not a snapshot of kv"):
        kv.restore(iter([data]))


def test_the_old_state_is_let_go_before_a_snapshot_is_read() -> None:
    class Large:
        """What a value is for this test: something whose end can be seen."""

    large = Large()
    gone = weakref.ref(large)
    kv = KVService()
    kv._maps["m"] = {"k": (large, 1)}
    del large
    source = KVService()
    run(source, 1, "put", "m", "other", 2)

    def chunks() -> Iterator[bytes]:
        assert gone() is None
        yield from source.snapshot()

    kv.restore(chunks())
    assert kv.query("get", ["m", "other"]) == [2, 1]
