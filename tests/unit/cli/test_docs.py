"""``braft docs`` lists and shows the pages that are installed with braft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from braft_core.cli import docs

ROOT = Path(__file__).parents[3]


def test_all_pages_are_listed(braft: Any, braft_json: Any) -> None:
    listed = braft_json("docs")["pages"]
    assert {Path(page["path"]) for page in listed} == {
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").rglob("*.md"),
    }
    names = [page["name"] for page in listed]
    assert len(set(names)) == len(names)
    assert {"readme", "index", "operations", "plugins", "plugins/testing"} <= set(names)
    shown = braft("docs").stdout
    assert "operations" in shown
    assert f"file://{ROOT}" in shown


def test_a_page_is_shown_as_it_is(braft: Any, braft_json: Any) -> None:
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    assert braft("docs", "limits").stdout == f"{text}\n"
    page = braft_json("docs", "limits")
    assert (page["text"], page["title"]) == (text, text.splitlines()[0].lstrip("# "))


def test_an_unknown_page_is_wrong_usage(braft: Any) -> None:
    result = braft("docs", "operation")
    assert result.exit_code == 2
    assert "there is no page 'operation'; accepted: readme, changelog, " in result.stderr


def test_an_installation_without_pages_says_so(
    braft: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(docs, "PACKAGE", tmp_path / "braft_core")
    assert braft("docs").exit_code == 0
    result = braft("docs", "limits")
    assert result.exit_code == 2
    assert "not installed here" in result.stderr


def test_a_wheel_s_pages_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "braft_core" / "_docs" / "docs"
    folder.mkdir(parents=True)
    (folder / "getting-started.md").write_text("# Begin\n")
    monkeypatch.setattr(docs, "PACKAGE", tmp_path / "braft_core")
    assert docs.pages() == [
        docs.Page("getting-started", "Begin", folder / "getting-started.md"),
    ]
