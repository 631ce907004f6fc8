"""Faults planted in the runtime: each must be found by the test that it names.

``make mutants`` plants all of them, and those of the simulator.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mutants import MUTANTS, by_name, every
from tests.mutants.hunting import ROOT, hunt
from tests.mutants.planting import Edit, StaleMutant, edited_source
from tests.mutants.warm import WarmProcess
from tests.syntax import parse

#: Hunts at the same time: most tests that find a mutant wait for what it keeps from happening.
_AT_ONCE = 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("area", sorted({mutant.area for mutant in MUTANTS}))
def test_mutants_of_an_area_are_found(area: str) -> None:
    chosen = [mutant for mutant in MUTANTS if mutant.area == area]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outcomes = list(pool.map(hunt, chosen))
    problems = {
        mutant.name: outcome.problem
        for mutant, outcome in zip(chosen, outcomes, strict=True)
        if not outcome.found
    }
    assert problems == {}


def test_a_mutant_is_found_in_a_process_of_its_own() -> None:
    """One for all in the quick tests."""
    assert hunt(by_name("the_last_of_a_group_is_never_reported")).found


def test_a_fork_of_the_warm_process_runs_alone_and_the_next_one_works() -> None:
    warm = WarmProcess(60.0)
    try:
        for _ in range(2):
            code, output = warm.run("no_such_mutant", [], str(ROOT))
            assert code == 70
            assert "KeyError: 'no_such_mutant'" in output
    finally:
        warm.close()


def test_a_warm_process_that_does_not_answer_in_time_is_replaced() -> None:
    warm = WarmProcess(0.0)
    try:
        assert warm.run("no_such_mutant", [], str(ROOT)) == (70, "no answer within 0.0 s")
    finally:
        warm.close()


def test_a_name_that_only_one_list_has_is_hunted_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hunted: list[str] = []

    def hunter(name: str) -> Callable[[Sequence[str]], int]:
        def hunt_there(_: Sequence[str]) -> int:
            hunted.append(name)
            return 0

        return hunt_there

    for name in ("hunt_by_tests", "hunt_by_core", "hunt_by_nodes"):
        monkeypatch.setattr(every, name, hunter(name))
    assert every.main(["--only", "no_pre_vote"]) == 0
    assert every.main(["--only", "late_reads_are_not_answered"]) == 0
    assert every.main(["--only", "membership"]) == 0
    assert hunted == ["hunt_by_core", "hunt_by_nodes", "hunt_by_tests"]
    assert every.main(["--only", "nothing_of_that_name"]) == 1
    assert "no mutant of any list" in capsys.readouterr().out


def test_every_mutant_fits_the_code() -> None:
    for mutant in MUTANTS:
        for module in dict.fromkeys(edit.module for edit in mutant.edits):
            spec = importlib.util.find_spec(module)
            assert spec is not None, module
            assert spec.origin is not None, module
            edits = [edit for edit in mutant.edits if edit.module == module]
            compile(edited_source(Path(spec.origin).read_text(), edits), module, "exec")


def test_every_mutant_names_a_test_that_exists() -> None:
    for mutant in MUTANTS:
        path, *names = mutant.found_by.partition("[")[0].split("::")
        node: ast.AST = parse((ROOT / path).read_text())
        assert names, mutant.name
        for name in names:
            named = [
                each for each in ast.iter_child_nodes(node) if getattr(each, "name", "") == name
            ]
            # A class of a conformance suite has its tests from the kit.
            assert named or isinstance(node, ast.ClassDef), f"{mutant.name}: {mutant.found_by}"
            node = named[0] if named else node


def test_names_are_unique_and_areas_are_covered() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names) >= 40
    assert {mutant.area for mutant in MUTANTS} == {
        "applier",
        "discovery",
        "driver",
        "forwarding",
        "grpc",
        "http2",
        "leases",
        "membership",
        "recipes",
        "serving",
        "sessions",
        "snapshots",
        "storage",
        "store",
        "tcp",
        "tls",
        "transport",
        "writer",
    }


_SOURCE = """
class Owner:
    def act(self, x):
        if x:  # why
            self.log(
                x,
            )
            return 1
        return 2
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("self.log(x)", "", "if x:\n            return 1"),
        ("return 2", "return 3", "return 3"),
        ("x", "not x", None),
        ("self.log(x)\nreturn 1", "return 5", "if x:\n            return 5"),
        ("self.log(x)", "self.log(x); x += 1", "x += 1"),
        ("self.other()", "", None),
    ],
)
def test_an_edit_replaces_exactly_one_piece(old: str, new: str, expected: str | None) -> None:
    edit = Edit("owner", "Owner.act", old, new)
    if expected is None:
        with pytest.raises(StaleMutant, match=r"owner Owner\.act: found \d times"):
            edited_source(_SOURCE, [edit])
    else:
        assert expected in ast.unparse(edited_source(_SOURCE, [edit]))


def test_an_edit_of_a_function_that_is_gone_is_stale() -> None:
    with pytest.raises(StaleMutant, match=r"owner has no Owner\.gone"):
        edited_source(_SOURCE, [Edit("owner", "Owner.gone", "x", "y")])
