"""Where the tree is, and which files in it are ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_SKIP = {
    ".git", ".venv", ".tox", "build", "dist", "__pycache__", ".hypothesis", ".mypy_cache",
    ".pytest_cache", ".ruff_cache", ".import_linter_cache", "results", "node_modules", "braft-data",
}  # fmt: skip


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the source tree."""
    return _ROOT


@pytest.fixture(scope="session")
def tree(root: Path) -> list[Path]:
    """Every file of the tree, relative to its root, without what was built or generated."""
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIP)
        found += [Path(folder, name).relative_to(root) for name in sorted(files)]
    return found
