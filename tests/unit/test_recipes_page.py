"""The examples of docs/recipes.md run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("default-ports")

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


def run(number: int) -> None:
    exec(compile(EXAMPLES[number], str(PAGE), "exec"), {})  # noqa: S102 - our own page


def test_there_are_as_many_examples_as_tests() -> None:
    assert len(EXAMPLES) == 6


def test_the_example_of_locks_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run(0)
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"lock 'report' was not acquired within 0 s: lease \d+ is ahead since revision 2", first
    )
    assert second == "refused"


def test_the_example_of_elections_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run(1)
    assert capsys.readouterr().out == "b'node-1 is ready'\nrefused\n"


def test_the_example_of_the_leader_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run(2)
    assert re.fullmatch(r"term \d+\n", capsys.readouterr().out)


def test_the_example_of_transactions_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run(3)
    assert capsys.readouterr().out == "b'2' b'5'\n"


def test_the_example_of_parties_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run(4)
    assert capsys.readouterr().out == "[b'worker 1']\nall are here\nall are here\n"


def test_the_example_of_singletons_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run(5)
    assert capsys.readouterr().out == "nothing left to do\n"
