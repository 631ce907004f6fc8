"""Mypy --strict and pyright check programs that use braft's public types."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_USES = Path(__file__).parent / "typing"

Check = Callable[[Path], set[int]]


@pytest.fixture(scope="session")
def mypy(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Return ``check(file)``: the lines in which ``mypy --strict`` finds an error."""
    pytest.importorskip("mypy", reason="mypy is in the dependency group `types`")
    folder = tmp_path_factory.mktemp("mypy")
    settings = folder / "mypy.ini"
    settings.write_text("[mypy]\nstrict = True\nfollow_imports = silent\n")

    def check(file: Path) -> set[int]:
        command = ["-m", "mypy", "--config-file", str(settings), "--cache-dir", str(folder / "c")]
        done = _run(sys.executable, *command, "--no-error-summary", str(file))
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return {int(line) for line in re.findall(r"^[^:\n]+:(\d+): error", done.stdout, re.M)}

    return check


@pytest.fixture(scope="session")
def pyright(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Return ``check(file)``: the lines in which ``pyright`` finds an error."""
    beside = Path(sys.executable).with_name("pyright")
    program = str(beside) if beside.exists() else shutil.which("pyright")
    if program is None:
        pytest.skip("pyright is not installed; it is in the dependency group `types`")
    folder = tmp_path_factory.mktemp("pyright")  # without the settings of a project

    def check(file: Path) -> set[int]:
        done = _run(program, "--outputjson", "--pythonpath", sys.executable, str(file), cwd=folder)
        if done.returncode not in (0, 1):
            pytest.skip(f"pyright cannot run here: {done.stdout}{done.stderr}")
        report = json.loads(done.stdout)
        assert report["summary"]["filesAnalyzed"] == 1
        errors = [e for e in report["generalDiagnostics"] if e["severity"] == "error"]
        return {each["range"]["start"]["line"] + 1 for each in errors}

    return check


def _run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
        cwd=cwd,
    )


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
@pytest.mark.parametrize("uses", ["right", "wrong"])
def test_type_checkers_refuse_exactly_the_wrong_uses(
    checker: str, uses: str, request: pytest.FixtureRequest
) -> None:
    check: Check = request.getfixturevalue(checker)
    file = _USES / f"{uses}_uses.py"
    lines = file.read_text().splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert check(file) == expected
