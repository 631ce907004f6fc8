"""``make`` finds a usable interpreter, or says in one sentence what to do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

#: A fake interpreter: its version check and its import check exit with these codes.
_FAKE = """#!/bin/sh
case "$2" in
  *version_info*) exit {new_enough} ;;
  *ensurepip*) exit {has_venv} ;;
esac
exit 1
"""


@pytest.fixture
def find(root: Path, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Return ``find(name=(new enough?, has venv?), ...)`` → exit code, output, error output."""

    def run(chosen: str = "", /, **found: tuple[bool, bool]) -> tuple[int, str, str]:
        for name, (new_enough, has_venv) in found.items():
            fake = tmp_path / name.replace("_", ".")
            fake.write_text(
                _FAKE.format(new_enough=int(not new_enough), has_venv=int(not has_venv))
            )
            fake.chmod(0o755)
        done = subprocess.run(
            ["/bin/bash", root / ".ci" / "find-python"],
            env={"PATH": str(tmp_path)} | ({"PYTHON": chosen} if chosen else {}),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.strip(), done.stderr

    return run


def test_python3_is_preferred(find: Callable[..., tuple[int, str, str]]) -> None:
    assert find(python3=(True, True), python3_13=(True, True)) == (0, "python3", "")


def test_one_that_does_not_work_is_passed_over(find: Callable[..., tuple[int, str, str]]) -> None:
    found = find(python3=(False, True), python3_13=(False, False), python3_12=(True, True))
    assert found == (0, "python3.12", "")


def test_one_without_venv_is_passed_over(find: Callable[..., tuple[int, str, str]]) -> None:
    assert find(python3=(True, False), python3_11=(True, True)) == (0, "python3.11", "")


def test_only_ones_without_venv(find: Callable[..., tuple[int, str, str]]) -> None:
    code, output, error = find(python3=(True, False))
    assert (code, output) == (1, "")
    assert "apt-get install python3-venv" in error


def test_none_is_new_enough(find: Callable[..., tuple[int, str, str]]) -> None:
    code, output, error = find(python3=(False, True))
    assert (code, output) == (1, "")
    assert "needs Python 3.11 or newer" in error


def test_the_one_that_was_named_is_the_only_one(
    find: Callable[..., tuple[int, str, str]],
) -> None:
    code, _, error = find("python3.12", python3=(True, True))
    assert code == 1
    assert "tried: python3.12." in error
