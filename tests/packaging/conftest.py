"""Fixtures: the source tree, its files, and its distributions as users install them."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_SKIP = {
    ".git", ".venv", ".venv-lowest", ".tox", "build", "dist", "__pycache__", ".hypothesis",
    ".mypy_cache", ".pytest_cache", ".ruff_cache", ".import_linter_cache", "results",
    "node_modules", "braft-data",
}  # fmt: skip


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root of the source tree."""
    return _ROOT


@pytest.fixture(scope="session")
def tree(root: Path) -> list[Path]:
    """Return the tree's files, relative to its root, without built and generated ones."""
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIP)
        found += [Path(folder, name).relative_to(root) for name in sorted(files)]
    return found


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Return ``run(*command, timeout=300, cwd=None)``: run a command that must succeed."""

    def run_command(*command: str | Path, timeout: float = 300, cwd: Path | None = None) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, cwd=cwd
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run_command


@pytest.fixture(scope="session")
def built(
    run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, Path]]:
    """Return ``build(*projects)``, which returns their wheels by import name."""

    def build(*projects: Path) -> dict[str, Path]:
        dist = tmp_path_factory.mktemp("dist")
        command = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
        run(sys.executable, *command, "--wheel-dir", dist, *projects)
        return {path.name.split("-")[0]: path for path in dist.glob("*.whl")}

    return build


@pytest.fixture(scope="session")
def wheels(root: Path, built: Callable[..., dict[str, Path]]) -> dict[str, Path]:
    """Build every distribution of the tree; return the wheels by import name."""
    return built(root, *sorted(path.parent for path in root.glob("plugins/*/pyproject.toml")))


@pytest.fixture(scope="session")
def installed(
    run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Return ``install(*what)``: make an environment with only that, and return its interpreter.

    Equal arguments give the same environment.
    """

    @functools.cache
    def install(*what: str | Path) -> Path:
        folder = tmp_path_factory.mktemp("env")
        run(sys.executable, "-m", "venv", folder)
        python = folder / "bin" / "python"
        run(python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *what)
        return python

    return install
