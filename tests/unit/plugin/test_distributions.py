"""Broken metadata of other distributions: it is skipped, with one warning."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from braft_core.plugin import distributions
from braft_core.plugin.manager import Plugins

Install = Callable[..., str]

PLUGIN = """
@hookimpl
def braft_register_discovery():
    return Lab
"""
HEAD = "Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n"
OURS = "[braft]\nbroken = nowhere_at_all\n"


@pytest.fixture(autouse=True)
def _nothing_reported_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "_reported", set())


def _damage(folder: Path, how: str) -> None:
    """Make the folder of a distribution that is broken in the named way."""
    folder.mkdir()
    metadata, points = folder / "METADATA", folder / "entry_points.txt"
    metadata.write_text(HEAD)
    points.write_text(OURS)
    match how:
        case "metadata missing":
            metadata.unlink()
        case "metadata empty":
            metadata.write_text("")
        case "metadata not UTF-8":
            metadata.write_bytes(b"Name: gr\xfcn\n")
        case "metadata without a version":
            metadata.write_text("Name: broken\n")
        case "metadata a folder":
            metadata.unlink()
            metadata.mkdir()
        case "entry points not UTF-8":
            points.write_bytes(b"[braft]\ngr\xfcn = a\n")
        case "entry points cut off":
            points.write_text("[braft]\nbroken")
        case "entry points of no section":
            points.write_text("\x00\xff broken = nowhere\n[[[\n")


BROKEN = [
    "metadata missing",
    "metadata empty",
    "metadata not UTF-8",
    "metadata without a version",
    "metadata a folder",
    "entry points not UTF-8",
    "entry points cut off",
]


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_distribution_is_passed_over_with_one_warning(
    install: Install, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    install("braft-lab", PLUGIN, entry="lab")
    _damage(tmp_path / "broken-1.0.dist-info", how)
    for _ in range(2):
        plugins = Plugins.load()
        assert "lab" in {info.name for info in plugins.loaded}
        assert plugins.failures == ()
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert str(tmp_path / "broken-1.0.dist-info") in warnings[0]
    assert "reinstall it, or remove that folder" in warnings[0]


@pytest.mark.parametrize("how", [*BROKEN, "entry points of no section"])
def test_broken_metadata_of_other_packages_is_ignored(
    install: Install, tmp_path: Path, how: str
) -> None:
    install("braft-lab", PLUGIN, entry="lab")
    _damage(tmp_path / "broken-1.0.dist-info", how)
    (tmp_path / "broken-1.0.dist-info" / "entry_points.txt").unlink()
    assert "lab" in {info.name for info in Plugins.load().loaded}
    assert distributions._reported == set()


def test_what_pip_could_not_remove_is_not_installed(
    install: Install, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install("braft-lab", PLUGIN, entry="lab", version="2.0")
    left = tmp_path / "~raft_lab-1.0.dist-info"
    shutil.copytree(tmp_path / "braft_lab-2.0.dist-info", left)
    (left / "METADATA").write_text("Metadata-Version: 2.1\nName: braft-lab\nVersion: 1.0\n")
    (tmp_path / "~roken-1.0.dist-info").mkdir()
    lab = next(info for info in Plugins.load().loaded if info.name == "lab")
    assert lab.version == "2.0"
    assert caplog.records == []


def test_a_distribution_that_is_on_the_path_twice_is_one(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("braft-lab", PLUGIN, entry="lab", version="2.0")
    (tmp_path / "linked").symlink_to(tmp_path, target_is_directory=True)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "braft_lab-2.0.dist-info", elsewhere / "Braft.Lab-1.0.dist-info")
    older = "Metadata-Version: 2.1\nName: Braft.Lab\nVersion: 1.0\n"
    (elsewhere / "Braft.Lab-1.0.dist-info" / "METADATA").write_text(older)
    for more in (tmp_path / "linked", elsewhere):
        monkeypatch.setattr(sys, "path", [*sys.path, str(more)])
    assert [i.version for i in Plugins.load().loaded if i.name == "lab"] == ["2.0"]


def test_a_finder_that_raises_ends_the_search_and_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Finder:
        @staticmethod
        def find_spec(*_: object) -> None:
            return None

        @staticmethod
        def find_distributions(*_: object) -> None:
            raise RuntimeError("somebody's finder")

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert [info.name for info in Plugins.load().loaded][:1] == ["braft-core"]
    assert "failed: RuntimeError: somebody's finder" in caplog.text


@pytest.mark.integration
def test_commands_work_beside_broken_metadata(tmp_path: Path) -> None:
    for how in BROKEN:
        _damage(tmp_path / f"{how.replace(' ', '_')}-1.0.dist-info", how)
    for words in (["--help"], ["plugins"], ["config"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-m", "braft_core", *words],
            env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
