"""The examples of docs/store.md run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("default-ports")

PAGE = Path(__file__).parents[2] / "docs" / "store.md"


EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


def test_there_are_as_many_examples_as_tests() -> None:
    assert len(EXAMPLES) == 5


def test_the_example_of_keys_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(EXAMPLES[0], str(PAGE), "exec"), {})  # noqa: S102 - our own page
    assert capsys.readouterr().out.startswith("b'jobs/1' b'running'\nb'jobs/2' b'new'\n")


def test_the_example_of_leases_runs() -> None:
    exec(compile(EXAMPLES[1], str(PAGE), "exec"), {})  # noqa: S102 - our own page


def test_the_example_of_watches_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(EXAMPLES[2], str(PAGE), "exec"), {})  # noqa: S102 - our own page
    assert capsys.readouterr().out.splitlines() == [
        "put b'jobs/1' b'new' None 2",
        "delete b'jobs/1' b'' b'new' 4",
        "read the keys again, then watch from 8",
    ]


def test_the_example_of_a_client_runs() -> None:
    exec(compile(EXAMPLES[3], str(PAGE), "exec"), {})  # noqa: S102 - our own page


def test_the_example_of_a_watching_client_runs() -> None:
    exec(compile(EXAMPLES[4], str(PAGE), "exec"), {})  # noqa: S102 - our own page
