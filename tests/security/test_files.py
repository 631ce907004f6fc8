"""Files of other users: they decide nothing, and nothing is written through their links."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    """As in a folder where others may make files, /tmp for one."""
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
