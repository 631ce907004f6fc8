"""The services of the core against the public suite, and every check of the suite can fail."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import CommandContext, Service
from braft_core.services import StateMachineService, command, query
from braft_core.services.distribute import DistributeService
from braft_core.services.kv import KVService
from braft_testing.services import ServiceConformance


class TestKV(ServiceConformance):
    commands = (
        ("put", ["colors", "sky", "blue"]),
        ("put", ["colors", "sea", {"shade": [1, 2]}]),
        ("put", ["other", "k", b"\x00"]),
        ("put_if", ["colors", "sky", "grey", 1]),
        ("put_if", ["colors", "sky", "red", 77]),
        ("delete", ["colors", "sea"]),
        ("put", ["", "", None]),
    )
    queries = (("maps", []), ("list", ["colors"]), ("get", ["colors", "sky"]), ("list", ["none"]))

    def make(self) -> Service:
        return KVService()


class TestDistribute(ServiceConformance):
    commands = (
        ("set_nodes", [["n3", "n1", "n2"]]),
        ("distribute", [["b", "a", "d", "c", "e"]]),
        ("add", ["f", {"payload": 1}]),
        ("set_nodes", [["n1", "n2"]]),
        ("remove", ["a"]),
        ("add", [""]),
    )
    queries = (("assignment", []), ("items_of", ["n1"]))

    def make(self) -> Service:
        return DistributeService()


# ------------------------------------------------------------------ the suite itself

_serial = itertools.count()


class Sum(StateMachineService):
    """A correct service; each subclass below breaks one rule."""

    name = "sum"

    def __init__(self) -> None:
        self.total = 0
        self.extra = 0

    @command
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    @query
    def get(self) -> int:
        return self.total

    def dump(self) -> Any:
        return self.total

    def load(self, value: Any) -> None:
        self.total = value


class _DoesNothing(Sum):
    @command
    def add(self, amount: int) -> int:
        return 0


class _AnswersByChance(Sum):
    @command
    def add(self, amount: int) -> int:
        super().add(amount)
        return next(_serial)


class _ChangesByChance(Sum):
    @command
    def add(self, amount: int) -> int:
        self.total += amount + next(_serial)
        return 0


class _DumpsNothing(Sum):
    def dump(self) -> Any:
        return 0


class _HasHiddenState(Sum):
    @command
    def add(self, amount: int) -> int:
        self.extra += 1
        return super().add(amount + self.extra)


class _AddsWhenItLoads(Sum):
    def load(self, value: Any) -> None:
        self.total += value


class _CapturesLate(Sum):
    def snapshot(self) -> Iterator[bytes]:
        return (chunk for _ in (1,) for chunk in super(_CapturesLate, self).snapshot())


class _CountsQueries(Sum):
    @query
    def get(self) -> int:
        self.total += 1
        return self.total


class _HandsOutItsState(Sum):
    answers_are_fresh = True

    def __init__(self) -> None:
        super().__init__()
        self.shown = [self.total]

    @query
    def get(self) -> Any:
        return self.shown


class _TakesAnything(Sum):
    def command_signatures(self) -> None:  # type: ignore[override]
        return None

    def apply(self, command: str, args: Sequence[Any], context: CommandContext) -> Any:
        return super().apply("add", args or [1], context)


class _DigestsItsHistory(Sum):
    loads = 0

    def load(self, value: Any) -> None:
        super().load(value)
        self.loads += 1

    def digest_chunks(self) -> Iterator[bytes]:
        return iter([b"%d %d" % (self.total, self.loads)])


BROKEN: dict[str, type[Sum]] = {
    "test_there_is_something_to_test": _DoesNothing,
    "test_equal_commands_give_equal_answers": _AnswersByChance,
    "test_equal_commands_give_equal_states": _ChangesByChance,
    "test_a_snapshot_restores_the_whole_state": _DumpsNothing,
    "test_a_restored_state_has_the_same_digest": _DigestsItsHistory,
    "test_a_restored_service_goes_on_as_the_others": _HasHiddenState,
    "test_restoring_replaces_what_was_there": _AddsWhenItLoads,
    "test_a_snapshot_shows_the_moment_it_was_taken": _CapturesLate,
    "test_queries_change_nothing": _CountsQueries,
    "test_callers_may_change_what_they_were_answered": _HandsOutItsState,
    "test_an_unknown_command_is_refused_and_changes_nothing": _TakesAnything,
}


class _Suite(ServiceConformance):
    __test__ = False
    commands = (("add", [1]), ("add", [41]))
    queries = (("get", []),)

    def __init__(self, make: Callable[[], Service]) -> None:
        self.make = make  # type: ignore[method-assign]


RULES = sorted(name for name in vars(ServiceConformance) if name.startswith("test_"))


@pytest.mark.parametrize("rule", BROKEN)
def test_the_rule_finds_the_broken_service(rule: str) -> None:
    with pytest.raises(AssertionError):
        getattr(_Suite(BROKEN[rule]), rule)()


@pytest.mark.parametrize("rule", BROKEN)
def test_the_rule_accepts_the_right_service(rule: str) -> None:
    getattr(_Suite(Sum), rule)()


HASHES = """
from braft_core.services import StateMachineService, command, query

class Service(StateMachineService):
    name = "set"

    def __init__(self):
        self.items = set()

    @command
    def add(self, amount):
        self.items |= {f"{amount}-{n}" for n in range(20)}
        return "" if ORDERED else ",".join(self.items)

    def dump(self):
        return sorted(self.items)

    def load(self, value):
        self.items = set(value)
"""


@pytest.mark.parametrize("ordered", [True, False])
def test_the_rule_of_the_hash_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ordered: bool
) -> None:
    module = f"hashes_{ordered}"
    (tmp_path / f"{module}.py").write_text(HASHES + f"\nORDERED = {ordered}\n")
    monkeypatch.syspath_prepend(tmp_path)
    suite = _Suite(__import__(module).Service)
    try:
        if ordered:
            suite.test_the_hash_seed_changes_nothing()
        else:
            with pytest.raises(AssertionError):
                suite.test_the_hash_seed_changes_nothing()
    finally:
        del sys.modules[module]


def test_every_rule_has_a_broken_service() -> None:
    assert sorted([*BROKEN, "test_the_hash_seed_changes_nothing"]) == RULES
