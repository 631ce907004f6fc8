"""``braft new plugin``: what it writes and refuses; tests/packaging runs the results."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from braft_core.cli.scaffold import KINDS
from braft_core.plugin.validation import KINDS as BY_NAME
from tests.syntax import parse


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_whole_distribution(braft_json: Any, tmp_path: Path, kind: str) -> None:
    made = braft_json("new", "plugin", "lab-2", "--kind", kind)
    assert (made["distribution"], made["module"]) == ("braft-lab-2", "braft_lab_2")
    folder = Path(made["folder"])
    assert made["files"] == [
        ".github/workflows/test.yml",
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/braft_lab_2/__init__.py",
        "src/braft_lab_2/py.typed",
        "tests/test_braft_lab_2.py",
    ]
    texts = {path: (folder / path).read_text(encoding="utf-8") for path in made["files"]}
    project = tomllib.loads(texts["pyproject.toml"])["project"]
    assert project["entry-points"]["braft"] == {"lab-2": "braft_lab_2"}
    assert project["dependencies"] == ["braft-core>=0.1,<0.2"]
    for path, text in texts.items():
        if path.endswith(".py"):
            parse(text)
        assert all(len(line) <= 100 for line in text.splitlines()), path
        assert "$" not in text.replace("$ ", "").replace("${{ matrix.python }}", ""), path
    assert "lab-2" in texts["README.md"]


def test_there_is_a_template_for_whatever_can_be_chosen_by_name() -> None:
    assert set(BY_NAME) <= set(KINDS)


def test_a_folder_may_be_named_and_must_be_empty(braft: Any, braft_json: Any) -> None:
    Path("here").mkdir()
    assert braft_json("new", "plugin", "lab", "--folder", "here")["folder"] == "here"
    before = Path("here/pyproject.toml").read_text()
    result = braft("new", "plugin", "other", "--folder", "here")
    assert result.exit_code == 2
    assert "here exists already; accepted: a folder that is new or empty" in result.stderr
    assert Path("here/pyproject.toml").read_text() == before
    Path("file").write_text("")
    assert braft("new", "plugin", "other", "--folder", "file").exit_code == 2


@pytest.mark.parametrize("name", ["Lab", "lab_2", "-lab", "lab-", "2lab", "lab.x", "", "lab/x"])
def test_a_bad_name_is_refused(braft: Any, name: str) -> None:
    result = braft("new", "plugin", "--", name)
    assert result.exit_code == 2
    assert f"plugin name {name!r}; accepted: a lower-case word" in result.stderr
    assert list(Path.cwd().iterdir()) == []


def test_a_bad_kind_is_refused(braft: Any) -> None:
    result = braft("new", "plugin", "lab", "--kind", "magic")
    assert result.exit_code == 2
    assert "kind of plugin 'magic'; accepted: discovery, serializer" in result.stderr


def test_it_says_what_to_do_next(braft: Any) -> None:
    said = braft("new", "plugin", "lab").stdout
    assert "braft-lab/src/braft_lab/__init__.py" in said
    assert "cd braft-lab" in said
    assert "python -m pytest" in said
