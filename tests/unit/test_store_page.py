"""The example of docs/store.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "store.md"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    exec(compile(example, str(PAGE), "exec"), {})  # noqa: S102 - our own page
    assert capsys.readouterr().out.startswith("b'jobs/1' b'running'\nb'jobs/2' b'new'\n")
