"""Distribution of items over nodes: even, complete, sticky, and deterministic."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.abc import CommandContext
from braft_core.errors import InvalidArgument
from braft_core.services.distribute import DistributeService, spread

ids = st.text("abcdefghij", min_size=1, max_size=2)
item_sets = st.sets(ids, max_size=12)
node_sets = st.sets(st.sampled_from("ABCDEF"), max_size=5)


@st.composite
def cases(draw: st.DrawFn) -> tuple[set[str], set[str], dict[str, str]]:
    items = draw(item_sets)
    previous = draw(
        st.dictionaries(st.sampled_from(sorted(items | {"gone"})), st.sampled_from("ABCDEFG"))
    )
    return items, draw(node_sets), previous


Case = tuple[set[str], set[str], dict[str, str]]


@given(cases())
def test_every_item_has_a_live_node(case: Case) -> None:
    items, nodes, previous = case
    assignment = spread(items, nodes, previous)
    assert set(assignment) == (items if nodes else set())
    assert set(assignment.values()) <= nodes


@given(cases())
def test_shares_differ_by_at_most_one(case: Case) -> None:
    items, nodes, previous = case
    counts = Counter(spread(items, nodes, previous).values())
    shares = [counts[node] for node in nodes]
    assert not shares or max(shares) - min(shares) <= 1


@given(cases())
def test_no_more_items_move_than_must(case: Case) -> None:
    items, nodes, previous = case
    assignment = spread(items, nodes, previous)
    stayed = sum(previous.get(item) == node for item, node in assignment.items())
    assert stayed == _most_that_can_stay(items, nodes, previous)


def _most_that_can_stay(items: set[str], nodes: set[str], previous: dict[str, str]) -> int:
    """Return the maximum over all choices of nodes with the larger share."""
    if not nodes:
        return 0
    held = Counter(previous[item] for item in items if previous.get(item) in nodes)
    share, larger = divmod(len(items), len(nodes))
    return max(
        sum(min(held[node], share + (node in favoured)) for node in nodes)
        for favoured in combinations(sorted(nodes), larger)
    )


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(case: Case, random: Random) -> None:
    items, nodes, previous = case

    def shuffled(values: Any) -> list[Any]:
        copy = sorted(values)
        random.shuffle(copy)
        return copy

    again = spread(shuffled(items), shuffled(nodes), dict(shuffled(previous.items())))
    first = spread(sorted(items), sorted(nodes), previous)
    assert list(again.items()) == list(first.items())


@given(cases())
def test_a_settled_assignment_stays(case: Case) -> None:
    items, nodes, previous = case
    settled = spread(items, nodes, previous)
    assert spread(items, nodes, settled) == settled


@given(item_sets, st.sets(st.sampled_from("ABCDEF"), min_size=2, max_size=5))
def test_when_a_node_leaves_only_its_items_move(items: set[str], nodes: set[str]) -> None:
    before = spread(items, nodes, {})
    gone = min(nodes)
    after = spread(items, nodes - {gone}, before)
    assert {item for item in items if before[item] != after[item]} == {
        item for item in items if before[item] == gone
    }


@given(item_sets, st.sets(st.sampled_from("ABCDEF"), min_size=1, max_size=5))
def test_when_a_node_joins_items_move_to_it_alone(items: set[str], nodes: set[str]) -> None:
    before = spread(items, nodes, {})
    after = spread(items, nodes | {"new"}, before)
    moved = {item for item in items if before[item] != after[item]}
    assert {after[item] for item in moved} <= {"new"}
    assert len(moved) == len(items) // (len(nodes) + 1)


# ------------------------------------------------------------------ the service


def run(service: DistributeService, name: str, *args: Any) -> Any:
    return service.apply(name, args, CommandContext(1, 1, 0))


def ready() -> DistributeService:
    service = DistributeService()
    run(service, "set_nodes", ["n2", "n1"])
    run(service, "distribute", ["a", "b", "c", "d"])
    return service


def test_items_are_assigned_when_there_are_nodes() -> None:
    service = DistributeService()
    assert run(service, "distribute", ["a", "b"]) == {}
    assert run(service, "set_nodes", ["n1", "n2"]) == 2
    assert set(service.query("assignment", []).values()) == {"n1", "n2"}


def test_items_with_payloads() -> None:
    service = ready()
    run(service, "distribute", {"a": {"url": "x"}, "z": None})
    node = run(service, "add", "m", [1])
    assert service.query("items_of", [node])["m"] == [1]
    shares = [service.query("items_of", [node]) for node in ("n1", "n2", "n3")]
    assert shares[0] | shares[1] == {"a": {"url": "x"}, "z": None, "m": [1]}
    assert shares[2] == {}


def test_items_come_and_go() -> None:
    service = ready()
    assert run(service, "remove", "a") is True
    assert run(service, "remove", "a") is False
    assert run(service, "add", "e") in ("n1", "n2")
    assert set(service.query("assignment", [])) == {"b", "c", "d", "e"}


def test_a_lost_node_gives_up_its_items_alone() -> None:
    service = ready()
    before = dict(service.query("assignment", []))
    assert run(service, "set_nodes", ["n1"]) == 2
    assert all(service.query("assignment", [])[item] == "n1" for item in before)
    assert run(service, "set_nodes", []) == 0
    assert service.query("assignment", []) == {}


@pytest.mark.parametrize(
    "call",
    [
        ("distribute", "abc"),
        ("distribute", ["a", ""]),
        ("distribute", [1]),
        ("distribute", {"": 1}),
        ("distribute", {"a": {1}}),
        ("add", ""),
        ("add", 3),
        ("add", "a", {1}),
        ("remove", None),
        ("set_nodes", "n1"),
        ("set_nodes", [""]),
    ],
)
def test_what_is_refused_changes_nothing(call: tuple[Any, ...]) -> None:
    service = ready()
    before = service.query("assignment", [])
    with pytest.raises(InvalidArgument):
        run(service, *call)
    assert service.query("assignment", []) == before


Share = dict[str, Any]
Listen = Callable[[DistributeService, str], list[Share]]


@pytest.fixture
def listen() -> Listen:
    def start(service: DistributeService, node_id: str) -> list[Share]:
        told: list[Share] = []
        service.on_change(node_id, told.append, lambda callback, share: callback(share))
        return told

    return start


def test_a_listener_hears_of_its_own_share_when_it_changes(listen: Listen) -> None:
    service = DistributeService()
    one, two = listen(service, "n1"), listen(service, "n2")
    run(service, "distribute", ["a", "b"])
    assert (one, two) == ([], [])
    run(service, "set_nodes", ["n1"])
    assert (one, two) == ([{"a": None, "b": None}], [])
    run(service, "set_nodes", ["n1", "n2"])
    assert (one[1:], two) == ([{"a": None}], [{"b": None}])
    run(service, "set_nodes", ["n2", "n1"])
    run(service, "add", "a", "payload")
    assert (one[2:], two[1:]) == ([{"a": "payload"}], [])


def test_a_restored_snapshot_counts_as_a_change(listen: Listen) -> None:
    service = DistributeService()
    told = listen(service, "n1")
    service.restore(ready().snapshot())
    assert len(told) == 1
    assert service.query("assignment", []) == ready().query("assignment", [])


def test_a_listener_owns_what_it_gets(listen: Listen) -> None:
    service = DistributeService()
    run(service, "set_nodes", ["n1"])
    told = listen(service, "n1")
    run(service, "add", "a", ["payload"])
    told[0]["a"].append("mine")
    assert service.query("items_of", ["n1"]) == {"a": ["payload"]}


def test_a_listener_that_ended_hears_nothing(listen: Listen) -> None:
    service = DistributeService()
    told: list[Share] = []
    end = service.on_change("n1", told.append, lambda callback, share: callback(share))
    kept = listen(service, "n1")
    end()
    end()
    run(service, "distribute", ["a"])
    run(service, "set_nodes", ["n1"])
    assert (told, kept) == ([], [{"a": None}])


class Hesitant(DistributeService):
    """Blocks the first thread that reads the listeners until another one is done."""

    def __init__(self) -> None:
        self.looked, self.others_done = threading.Event(), threading.Event()
        super().__init__()

    @property
    def _listeners(self) -> Any:
        found = self._kept
        if threading.current_thread() is not threading.main_thread():
            self.looked.set()
            self.others_done.wait(0.5)
        return found

    @_listeners.setter
    def _listeners(self, value: Any) -> None:
        self._kept = value


def test_threads_that_begin_to_listen_at_once_are_all_heard(listen: Listen) -> None:
    service = Hesitant()
    told: list[Share] = []
    thread = threading.Thread(
        target=service.on_change, args=("n1", told.append, lambda callback, share: callback(share))
    )
    thread.start()
    assert service.looked.wait(40)
    mine = listen(service, "n1")
    service.others_done.set()
    thread.join(40)
    run(service, "distribute", ["a"])
    run(service, "set_nodes", ["n1"])
    assert (told, mine) == ([{"a": None}], [{"a": None}])


def test_a_listener_that_fails_changes_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    def fail(callback: object, share: object) -> None:
        raise RuntimeError("executor is shut down")

    service = DistributeService()
    service.on_change("n1", print, fail)
    run(service, "distribute", ["a"])
    assert run(service, "set_nodes", ["n1"]) == 1
    assert "executor is shut down" in caplog.text
