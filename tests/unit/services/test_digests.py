"""Digests as bytes between nodes; equal states have equal digests, whatever their history."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braft_core import StateMachineService, command, query
from braft_core.abc import CommandContext, Service
from braft_core.errors import DecodeError, PluginError, Rejected
from braft_core.raft.types import Entry, EntryType
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.canonical import canonical_chunks
from braft_core.services.capabilities import NONE
from braft_core.services.cluster import (
    CLUSTER,
    ClusterService,
    agreement_command,
    checkpoint_command,
    is_agreement,
    is_internal,
)
from braft_core.services.digests import (
    KEPT,
    MAX_BYTES,
    Checkpoint,
    Digest,
    code_of,
    decode_checkpoints,
    encode_checkpoints,
    new_hash,
)
from braft_core.services.distribute import DistributeService
from braft_core.services.envelope import encode_command, with_session
from braft_core.services.kv import KVService
from braft_core.services.members import MEMBERS, MembersService
from braft_core.services.state_machine import SESSIONS, StateMachine

MSGPACK = MsgpackSerializer()


class Tags(StateMachineService):
    """A state whose dump has an order that depends on the hash seed."""

    name = "tags"

    def __init__(self) -> None:
        self.tags: dict[str, int] = {}

    @command
    def tag(self, words: list[str]) -> int:
        for word in set(words):
            self.tags[word] = self.tags.get(word, 0) + 1
        if "" in self.tags:
            del self.tags[""]
            raise Rejected("an empty tag")
        return len(self.tags)

    @query
    def known(self) -> int:
        return len(self.tags)

    def dump(self) -> Any:
        return {"tags": self.tags, "words": {frozenset(self.tags)}}

    def load(self, value: Any) -> None:
        self.tags = dict(sorted(value["tags"].items()))


def machine() -> StateMachine:
    services: list[Service] = [KVService(), DistributeService(), Tags()]
    return StateMachine([*services, MembersService(), ClusterService()], {MSGPACK.tag: MSGPACK})


def digests(of: StateMachine) -> dict[str, str]:
    found = {}
    for name, _, chunks in of.capture_digests():
        hashed = new_hash()
        for chunk in chunks:
            hashed.update(chunk)
        found[name] = hashed.hexdigest()
    return found


# ------------------------------------------------------------------------------------------------
# Equal states


words = st.text("abcü", min_size=1, max_size=3)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def _call(service: str, name: str, *arguments: st.SearchStrategy[Any]) -> Any:
    return st.tuples(st.just(service), st.just(name), st.tuples(*arguments).map(list))


texts = st.lists(words, max_size=3)
calls = st.one_of(
    _call("kv", "put", words, words, values),
    _call("kv", "put_if", words, words, values, st.integers(0, 9)),
    _call("kv", "delete", words, words),
    _call("distribute", "distribute", st.dictionaries(words, values, max_size=3)),
    _call("distribute", "add", words, values),
    _call("distribute", "set_nodes", texts),
    _call("tags", "tag", st.lists(words | st.just(""), max_size=3)),
    _call(MEMBERS, "record_removal", words, words, st.integers(1, 5), words),
    _call(MEMBERS, "forbid_rejoin", words),
    _call(SESSIONS, "open", st.binary(min_size=16, max_size=16)),
    _call(CLUSTER, "agree", st.just(NONE.encode())),
)
#: A call, with the position of an open session and a command number, or neither.
steps = st.lists(
    st.tuples(calls, st.none() | st.tuples(st.integers(0, 5), st.integers(1, 4))), max_size=25
)


def log_of(steps: Sequence[Any]) -> list[Entry]:
    entries: list[Entry] = []
    opened: list[bytes] = []
    for index, ((service, name, args), place) in enumerate(steps, 1):
        data = encode_command(MSGPACK, service, name, args)
        if service == SESSIONS:
            opened.append(args[0])
        elif opened and place is not None:
            data = with_session(data, (opened[place[0] % len(opened)], place[1], 1))
        entries.append(Entry(index, 1, EntryType.COMMAND, data, appended_at=index * 10**9))
    return entries


@settings(max_examples=60, deadline=None)
@given(steps, st.sets(st.integers(0, 25), max_size=4))
def test_equal_logs_give_equal_digests_however_often_a_machine_was_restored(
    steps: list[Any], restored: set[int]
) -> None:
    straight, winding = machine(), machine()
    for entry in log_of(steps):
        straight.apply(entry)
        winding.apply(entry)
        if entry.index in restored:
            snapshot = list(winding.snapshot())
            winding = machine()
            winding.restore(snapshot)
            assert digests(winding) == digests(straight)
    assert digests(winding) == digests(straight)


def test_every_service_has_a_digest_and_what_is_written_changes_it() -> None:
    one = machine()
    before = digests(one)
    assert set(before) == {SESSIONS, "kv", "distribute", "tags", MEMBERS, CLUSTER}
    calls: list[tuple[str, str, list[Any]]] = [
        ("kv", "put", ["m", "k", 1]),
        ("distribute", "add", ["item"]),
        ("tags", "tag", [["x"]]),
        (MEMBERS, "record_removal", ["id", "address", 3, "dead"]),
        (SESSIONS, "open", [bytes(16)]),
    ]
    log = [encode_command(MSGPACK, *call) for call in calls] + [agreement_command(NONE)]
    for index, data in enumerate(log, 1):
        one.apply(Entry(index, 1, EntryType.COMMAND, data, appended_at=index))
    after = digests(one)
    assert {name for name in before if before[name] != after[name]} == set(before)


_PROGRAM = """
import json, sys
sys.path.insert(0, {root!r})
from tests.unit.services import test_digests as t
one = t.machine()
for index, (service, name, args) in enumerate(t.WORK, 1):
    data = t.encode_command(t.MSGPACK, service, name, args)
    data = data if name == "open" else t.with_session(data, (bytes(16), index, 1))
    one.apply(t.Entry(index, 1, t.EntryType.COMMAND, data, appended_at=index))
print(json.dumps(t.digests(one)))
"""
WORK: Sequence[tuple[str, str, list[Any]]] = [
    (SESSIONS, "open", [bytes(16)]),
    ("kv", "put", ["m", "k", {"b": 1, "a": [None, 2.5, b"x"]}]),
    ("distribute", "distribute", [["u", "v", "w", "x", "y", "z"]]),
    ("distribute", "set_nodes", [["n1", "n2", "n3"]]),
    ("tags", "tag", [["one", "two", "three", "four", "five"]]),
    ("tags", "tag", [["six", "", "seven"]]),
]


def test_hash_seeds_do_not_show() -> None:
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
    found = []
    for seed in ("1", "2", "3"):
        ran = subprocess.run(
            [sys.executable, "-c", _PROGRAM.format(root=root)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(json.loads(ran.stdout))
    assert found[0] == found[1] == found[2]


def test_of_an_error_that_is_kept_only_the_code_counts() -> None:
    """Its text may depend on the version of Python."""

    class Fragile(StateMachineService):
        name = "fragile"
        text = "as 3.11 says it"

        @command
        def fail(self) -> None:
            raise ValueError(self.text)

        def dump(self) -> Any:
            return None

        def load(self, value: Any) -> None: ...

    found = []
    for text in ("as 3.11 says it", "as 3.13 puts it"):
        service = Fragile()
        service.text = text
        one = StateMachine([service], {MSGPACK.tag: MSGPACK})
        opened = encode_command(MSGPACK, SESSIONS, "open", [bytes(16)])
        one.apply(Entry(1, 1, EntryType.COMMAND, opened, appended_at=1))
        failed = with_session(encode_command(MSGPACK, "fragile", "fail", []), (bytes(16), 1, 1))
        one.apply(Entry(2, 1, EntryType.COMMAND, failed, appended_at=2))
        found.append(digests(one))
    assert found[0] == found[1]


def canonical(value: Any) -> bytes:
    return b"".join(canonical_chunks(MSGPACK.dumps(value)))


def test_canonical_bytes_tell_different_values_apart_and_not_the_order_of_dicts() -> None:
    different: list[Any] = [
        None, False, True, 0, 1, 1.0, "", b"", "1", [], {}, [1], [[1]], {"a": 1}, {"a": [1]},
        {"a": {"b": 1}}, [1, [2]], [[1], 2], {"a": 1, "b": 2}, {"a": 2, "b": 1}, [{"a": 1}],
        [[], 1], [[], [1]], [1, 2], [2, 1], {"a": {}}, {"a": []}, [{}, 1], [[{}], 1],
    ]  # fmt: skip
    assert len(set(map(canonical, different))) == len(different)
    many = {str(number): {"x": number, "y": [number]} for number in range(3000)}
    turned = {key: dict(reversed(many[key].items())) for key in reversed(many)}
    assert canonical(many) == canonical(turned)
    assert b"" in list(canonical_chunks(MSGPACK.dumps([many]))), "the hashing may pause"


_numbers = st.sampled_from([0, 1, 127, 128, 255, 256, 2**16, 2**31, 2**32, 2**63, 2**64 - 1])
_leaves = (
    st.none() | st.booleans() | st.floats(allow_nan=False) | _numbers
    | _numbers.map(lambda number: -min(number, 2**63))
    | st.integers(0, 300).map(lambda size: "x" * size) | st.sampled_from(["ü" * 40_000])
    | st.integers(0, 300).map(bytes) | st.sampled_from([bytes(70_000)])
)  # fmt: skip


def _deep(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=20)
    return lists | st.dictionaries(st.text("abc", max_size=40), inner, max_size=20)


def _turned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _turned(value[key]) for key in reversed(value)}
    return [_turned(item) for item in value] if isinstance(value, list) else value


def _shown(value: Any) -> str:
    """Return a text that is equal for equal values, whatever the order of dicts."""
    if isinstance(value, dict):
        return f"{{{sorted((key, _shown(item)) for key, item in value.items())}}}"
    return str([_shown(item) for item in value]) if isinstance(value, list) else repr(value)


_many = st.lists(st.recursive(_leaves, _deep, max_leaves=30), min_size=2, max_size=2)


@settings(max_examples=80, deadline=None)
@given(_many)
def test_canonical_bytes_are_equal_exactly_for_equal_values(pair: list[Any]) -> None:
    one, two = pair
    assert canonical(one) == canonical(_turned(one))
    assert (canonical(one) == canonical(two)) == (_shown(one) == _shown(two))


def test_large_containers_are_read_whole() -> None:
    for count in (15, 16, 1023, 1024, 1025, 65_535, 65_536):
        items = list(range(count))
        assert canonical([items, 1]) != canonical([[*items[:-1], -1], 1])
        table = dict.fromkeys(map(str, items), 0)
        assert canonical([table, 1]) != canonical([{**table, str(count - 1): 1}, 1])
        assert canonical([table, 1]) != canonical([table, 2])


def test_the_capture_is_of_its_time() -> None:
    one = machine()

    def put(index: int) -> None:
        data = encode_command(MSGPACK, "kv", "put", ["m", "k", [index]])
        one.apply(Entry(index, 1, EntryType.COMMAND, data, appended_at=index))
        tagged = encode_command(MSGPACK, "tags", "tag", [[str(index)]])
        one.apply(Entry(index, 1, EntryType.COMMAND, tagged, appended_at=index))

    put(1)
    expected = digests(one)
    captured = one.capture_digests()
    put(2)
    late = {name: b"".join(chunks) for name, _, chunks in captured}
    hashed = new_hash()
    hashed.update(late["kv"])
    assert hashed.hexdigest() == expected["kv"]
    assert expected != digests(one)


class Bare(Service):
    name = "bare"

    def apply(self, command: str, args: Sequence[Any], context: CommandContext) -> Any: ...
    def query(self, query: str, args: Sequence[Any]) -> Any: ...
    def restore(self, chunks: Iterator[bytes]) -> None: ...

    def snapshot(self) -> Iterator[bytes]:
        return iter([b"state"])


def test_a_service_may_have_no_digest_and_must_not_capture_late() -> None:
    class Without(Bare):
        def digest_chunks(self) -> Iterator[bytes] | None:
            return None

    class Failing(Bare):
        def digest_chunks(self) -> Iterator[bytes] | None:
            raise RuntimeError("no idea")

    class Late(Bare):
        def digest_chunks(self) -> Iterator[bytes]:
            yield b"late"

    assert set(digests(StateMachine([Bare()], {}))) == {SESSIONS, "bare"}
    assert set(digests(StateMachine([Without()], {}))) == {SESSIONS}
    assert set(digests(StateMachine([Failing()], {}))) == {SESSIONS}
    with pytest.raises(PluginError, match=r"digest_chunks\(\) must capture"):
        StateMachine([Late()], {})


def test_other_code_has_another_hash() -> None:
    class Later(Bare):
        pass

    assert code_of(Bare()) == code_of(Bare())
    assert len({code_of(Bare()), code_of(Later()), code_of(KVService())}) == 3


def test_the_code_of_further_modules_counts() -> None:
    def service(*modules: str) -> Service:
        class Wide(Bare):
            code_modules = modules

        return Wide()

    assert code_of(service("json")) == code_of(service("json"))
    assert len({code_of(service()), code_of(service("json")), code_of(service("csv"))}) == 3


# ------------------------------------------------------------------------------------------------
# The checkpoint command


def test_a_checkpoint_calls_and_answers_its_index_and_changes_nothing() -> None:
    cluster = ClusterService()
    one = StateMachine([cluster], {MSGPACK.tag: MSGPACK})
    seen: list[int] = []
    cluster.call_at_checkpoints(seen.append)
    before = digests(one)
    entry = Entry(7, 1, EntryType.COMMAND, checkpoint_command(), appended_at=1)
    assert one.apply(entry) == 7
    assert seen == [7]
    assert digests(one) == before
    assert is_internal(checkpoint_command())
    assert is_internal(agreement_command(NONE))
    assert not is_agreement(checkpoint_command())
    assert not is_internal(encode_command(MSGPACK, "kv", "put", ["m", "k", checkpoint_command()]))


# ------------------------------------------------------------------------------------------------
# Between nodes


def checkpoint(index: int, *names: str) -> Checkpoint:
    return Checkpoint(index, {name: Digest(b"c" * 8, name.encode()[:1] * 16) for name in names})


def test_checkpoints_survive_the_way() -> None:
    told = [checkpoint(5, "kv"), checkpoint(9, "kv", "distribute"), checkpoint(12)]
    assert list(decode_checkpoints(encode_checkpoints(told))) == told
    assert encode_checkpoints([]) == b""
    assert decode_checkpoints(b"") == ()


def test_what_is_too_much_is_left_out() -> None:
    many = [checkpoint(index, "kv") for index in range(1, 10)]
    assert [c.index for c in decode_checkpoints(encode_checkpoints(many))] == [6, 7, 8, 9]
    names = [f"s{number:03}" + "x" * 150 for number in range(200)]
    large = [checkpoint(index, *names) for index in range(1, KEPT + 1)]
    data = encode_checkpoints(large)
    assert len(data) <= MAX_BYTES
    assert [c.index for c in decode_checkpoints(data)] == [KEPT]
    found = decode_checkpoints(encode_checkpoints([checkpoint(1, "kv", "n" * 300)]))
    assert set(found[0].digests) == {"kv"}


def test_a_later_version_is_not_understood_and_no_error() -> None:
    assert decode_checkpoints(msgpack.packb([2, "anything"])) == ()


DIGEST = [b"c" * 8, b"v" * 16]


@pytest.mark.parametrize(
    "parts",
    [
        None, 1, [], [1], [True, []], [0, []], [1, [], []], [1, {}], [1, [[5]]], [1, [[5, []]]],
        [1, [[0, {}]]], [1, [[-1, {}]]], [1, [[2**63, {}]]], [1, [[True, {}]]], [1, [["5", {}]]],
        [1, [[5, {}], [5, {}]]], [1, [[6, {}], [5, {}]]], [1, [[i, {}] for i in range(1, 6)]],
        [1, [[5, {"kv": None}]]], [1, [[5, {"kv": DIGEST[:1]}]]], [1, [[5, {"kv": [b"", b""]}]]],
        [1, [[5, {"kv": ["c" * 8, "v" * 16]}]]], [1, [[5, {b"kv": DIGEST}]]],
        [1, [[5, {"n" * 201: DIGEST}]]], [1, [[5, {str(i): DIGEST for i in range(257)}]]],
    ],
)  # fmt: skip
def test_everything_else_is_refused(parts: Any) -> None:
    with pytest.raises(DecodeError):
        decode_checkpoints(msgpack.packb(parts))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(DecodeError):
        decode_checkpoints(data)


def test_too_many_bytes_are_refused_unread() -> None:
    with pytest.raises(DecodeError, match="accepted are"):
        decode_checkpoints(b"\x00" * (MAX_BYTES + 1))
