"""The uv workspace takes the distributions of this tree from the tree itself."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _name(project: Path) -> str:
    name: str = tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"]
    return name


def test_every_distribution_is_a_source_of_the_workspace() -> None:
    uv = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    members = [ROOT, *(p for glob in uv["workspace"]["members"] for p in sorted(ROOT.glob(glob)))]
    names = {_name(member) for member in members if (member / "pyproject.toml").is_file()}
    assert len(names) > 1
    assert uv["sources"] == {name: {"workspace": True} for name in names}
