"""Files of other users have no effect, and nothing is written through their links."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from braft_core import Node
from braft_core.local_nodes import node_environment

STRANGER = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


def run_config(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "braft_core", "config"],
        cwd=directory,
        env=node_environment({}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@needs_root
def test_settings_of_somebody_else_are_refused(tmp_path: Path) -> None:
    """As in a folder where other users may create files, such as /tmp."""
    toml = tmp_path / "braft.toml"
    toml.write_text('discovery = "192.0.2.66"\n')
    toml.chmod(0o644)
    os.chown(toml, STRANGER, STRANGER)
    done = run_config(tmp_path)
    assert done.returncode == 2
    said = " ".join((done.stdout + done.stderr).split())
    for word in ("braft.toml", f"uid {STRANGER}", "mode 0644", "chown"):
        assert word in said
    os.chown(toml, 0, 0)
    assert run_config(tmp_path).returncode == 0


@needs_root
def test_settings_behind_somebody_elses_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("rport = 20001\n")
    (tmp_path / "other.toml").chmod(0o600)
    link = tmp_path / "braft.toml"
    link.symlink_to("other.toml")
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    done = run_config(tmp_path)
    assert done.returncode == 2
    assert f"uid {STRANGER}" in done.stdout + done.stderr


def test_settings_that_others_may_write_are_refused(tmp_path: Path) -> None:
    toml = tmp_path / "braft.toml"
    toml.write_text("rport = 20001\n")
    toml.chmod(0o666)
    done = run_config(tmp_path)
    assert done.returncode == 2
    assert "mode 0666" in done.stdout + done.stderr


def run_node(directory: Path, data: Path) -> str:
    """Return the error of a node that must not start on this data directory."""
    done = subprocess.run(
        [sys.executable, "-m", "braft_core", "run"],
        cwd=directory,
        env=node_environment({"data_dir": data, "discovery": "none", "rport": 0, "http": "off"}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


@needs_root
def test_a_data_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """An attacker may create it in advance, with his own state in it."""
    data = tmp_path / "data"
    with Node(data_dir=str(data), rport=0, http=False) as node:
        node.wait_ready(30)
    for path in (data, *data.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    said = run_node(tmp_path, data)
    for word in (str(data), f"uid {STRANGER}", "chown"):
        assert word in said


@needs_root
def test_one_file_of_somebody_else_is_enough(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Node(data_dir=str(data), rport=0, http=False) as node:
        node.wait_ready(30)
    os.chown(data / "raft.db", STRANGER, STRANGER)
    assert "raft.db" in run_node(tmp_path, data)


@needs_root
def test_a_data_directory_behind_somebody_elses_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir(mode=0o700)
    link = tmp_path / "data"
    link.symlink_to("victim")
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    assert f"uid {STRANGER}" in run_node(tmp_path, link)
    assert list((tmp_path / "victim").iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_data_directory_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(mode)
    said = run_node(tmp_path, data)
    assert f"mode {mode:04o}" in said
    assert "chmod" in said
    assert list(data.iterdir()) == []


def test_nothing_is_written_through_a_link_in_the_data_directory(tmp_path: Path) -> None:
    data, victim = tmp_path / "data", tmp_path / "victim"
    data.mkdir(mode=0o700)
    for name in ("lock", "raft.db"):
        victim.write_text("precious")
        (data / name).symlink_to(victim)
        assert name in run_node(tmp_path, data)
        assert victim.read_text() == "precious"
        (data / name).unlink()
