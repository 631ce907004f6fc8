"""Version, build time and commit of the application in ``GET /raft``."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from braft_core import Node
from braft_core.compat.go_braft import build_info
from braft_core.compat.go_braft.build_info import (
    BUILD_INFO_FILE,
    BuildInfo,
    Program,
    find_build_info,
    read_build_info,
)

COMMIT = "18f39a8" + "0" * 33


def distribution(path: Path, direct_url: Any = None) -> metadata.Distribution:
    """Install metadata of the application "shop", version 2.3."""
    folder = path / "shop-2.3.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 2.3\n")
    if direct_url is not None:
        (folder / "direct_url.json").write_text(json.dumps(direct_url))
    return metadata.Distribution.at(folder)


def test_the_file_is_read_beside_the_program(tmp_path: Path) -> None:
    facts = {"appVersion": "1.0.0", "buildTime": "2024-05-15T09:41:41+0800", "gitCommit": "x@y"}
    (tmp_path / BUILD_INFO_FILE).write_text(json.dumps(facts))
    found = read_build_info(Program(tmp_path, distribution(tmp_path)))
    assert found == BuildInfo("1.0.0", "2024-05-15T09:41:41+0800", "x@y")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"appVersion": 1}', '{"appVersion": "a\\nb"}', "\udcff", "[" * 60_000]
)
def test_a_file_that_is_no_build_info_is_skipped(tmp_path: Path, text: str) -> None:
    (tmp_path / BUILD_INFO_FILE).write_bytes(text.encode(errors="surrogateescape"))
    assert read_build_info(Program(tmp_path, None)) == BuildInfo()


def test_a_distribution_has_a_version_and_the_commit_it_was_installed_from(tmp_path: Path) -> None:
    vcs = {"vcs": "git", "commit_id": COMMIT, "requested_revision": "v2.3"}
    source = {"url": "https://example.org/shop.git", "vcs_info": vcs}
    installed = distribution(tmp_path, source)
    assert read_build_info(Program(None, installed)) == BuildInfo("2.3", "", "v2.3-18f39a8")


def test_a_distribution_from_an_index_has_no_commit(tmp_path: Path) -> None:
    assert read_build_info(Program(None, distribution(tmp_path))) == BuildInfo("2.3")


@pytest.mark.parametrize("packed", [False, True])
def test_a_program_in_a_git_work_tree_has_its_branch_and_commit(
    tmp_path: Path, packed: bool
) -> None:
    git, source = tmp_path / ".git", tmp_path / "src" / "shop"
    (git / "refs" / "heads").mkdir(parents=True)
    source.mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    if packed:
        (git / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/main\n")
    else:
        (git / "refs" / "heads" / "main").write_text(COMMIT + "\n")
    assert read_build_info(Program(source, None)).git_commit == "main-18f39a8"
    (git / "HEAD").write_text(COMMIT + "\n")
    assert read_build_info(Program(source, None)).git_commit == "18f39a8"


def test_a_linked_work_tree_is_followed_to_its_repository(tmp_path: Path) -> None:
    git, tree = tmp_path / "shop.git", tmp_path / "tree"
    linked = git / "worktrees" / "tree"
    linked.mkdir(parents=True)
    tree.mkdir()
    (tree / ".git").write_text(f"gitdir: {linked}\n")
    (linked / "HEAD").write_text("ref: refs/heads/fix\n")
    (linked / "commondir").write_text("../..\n")
    (git / "packed-refs").write_text(f"{COMMIT} refs/heads/fix\n")
    assert read_build_info(Program(tree, None)).git_commit == "fix-18f39a8"


@pytest.mark.parametrize("head", ["ref: ../../etc/passwd", "ref: refs/../x", "no commit", ""])
def test_a_head_that_git_does_not_write_is_skipped(tmp_path: Path, head: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(head)
    assert read_build_info(Program(tmp_path, None)).git_commit == ""


def test_an_installed_package_does_not_take_the_commit_of_the_tree_around_it(
    tmp_path: Path,
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(COMMIT)
    package = tmp_path / "venv" / "lib" / "python3" / "site-packages" / "shop"
    package.mkdir(parents=True)
    assert read_build_info(Program(package, None)) == BuildInfo()


_SHOW = (
    "from braft_core.compat.go_braft.build_info import find_build_info as f; print(*f(), sep='|')"
)


@pytest.mark.parametrize("how", ["script", "module"])
def test_the_program_is_found(tmp_path: Path, how: str) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "serve.py").write_text(_SHOW)
    (package / BUILD_INFO_FILE).write_text('{"buildTime": "today"}')
    distribution(tmp_path)
    words = [str(package / "serve.py")] if how == "script" else ["-m", "shop.serve"]
    shown = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{Path(build_info.__file__).parents[3]}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == ("|today|" if how == "script" else "2.3|today|")


def test_settings_come_first(free_node: Any) -> None:
    """Environment variables and keyword arguments win; missing values are detected."""
    details = free_node(app_version="9.9", git_commit="main-0000000").details()
    assert (details["appVersion"], details["gitCommit"]) == ("9.9", "main-0000000")
    assert details["buildTime"] == find_build_info().build_time
    assert details["braftVersion"] == metadata.version("braft-core")


@pytest.fixture
def free_node(tmp_path: Path) -> Any:
    nodes: list[Node] = []

    def start(**settings: Any) -> Node:
        node = Node(
            data_dir=":memory:", ip="127.0.0.1", rport=0, dport=0, hport=0, http=False, **settings
        )
        nodes.append(node)
        node.start()
        return node

    yield start
    for node in nodes:
        node.stop()
