"""Third-party plugins as wheels beside braft's: results of ``braft new plugin`` and examples.

The tests of each run in an environment in which nothing else is installed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from braft_core.cli.scaffold import KINDS, make_plugin

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("wheels"),
]

_EXAMPLES = ("braft-consul-like", "braft-counter")


@pytest.fixture(scope="module")
def projects(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Make a new plugin of each kind; return them and the examples, name → folder."""
    folder = tmp_path_factory.mktemp("made")
    made = {kind: make_plugin(f"my-{kind}", kind, folder / kind).folder for kind in KINDS}
    return made | {name: root / "examples" / name for name in _EXAMPLES}


@pytest.fixture(scope="module")
def python(
    projects: dict[str, Path],
    wheels: dict[str, Path],
    built: Callable[..., dict[str, Path]],
    installed: Callable[..., Path],
) -> Path:
    """Make an environment with braft, its static discovery, and all of them."""
    core = f"braft-core[testing] @ {wheels['braft_core'].as_uri()}"
    return installed(
        core, wheels["braft_static"], wheels["braft_testing"], *built(*projects.values()).values()
    )


@pytest.mark.parametrize("name", [*KINDS, *_EXAMPLES])
def test_a_plugin_passes_its_own_tests(
    run: Callable[..., str], projects: dict[str, Path], python: Path, name: str
) -> None:
    # Test what was installed, and not the sources.
    command = ("-I", "-m", "pytest", "-q", "-o", "pythonpath=", "-p", "no:cacheprovider")
    assert " passed" in run(python, *command, cwd=projects[name])


def test_braft_sees_all_of_them(run: Callable[..., str], python: Path) -> None:
    braft = python.parent / "braft"
    rows = json.loads(run(braft, "plugins", "--json"))["plugins"]
    found = {row["kind"]: row["name"] for row in rows if row["name"].startswith("my-")}
    assert found == {kind: f"my-{kind}" for kind in KINDS}
    provided = {(row["kind"], row["name"]) for row in rows}
    assert {("discovery", "consul-like"), ("service", "counter"), ("cli", "counter")} <= provided
    [shown] = json.loads(run(braft, "plugins", "show", "my-discovery", "--json"))
    assert shown["options"][0]["variable"] == "BRAFT_MY_DISCOVERY_POLL_INTERVAL"
    assert "Print the leader" in run(braft, "my-cli", "--help")


_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class _NewUser:
    """Follows the manual: runs its commands in a shell, and puts its code where the text says."""

    def __init__(self, run: Callable[..., str], python: Path, folder: Path) -> None:
        self._run = run
        self._path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        self._folder = folder
        self._home = folder
        self.typed = 0

    def type(self, block: str) -> str:
        script = ["set -eu", f"export PATH={self._path}", f"cd {self._folder}"]
        for line in block.splitlines():
            command = line.removeprefix("$ ")
            assert command != line, f"not a command: {line}"
            self.typed += 1
            fails = command.startswith("! ")
            script.append(f"if {command[2:]}; then exit 99; fi" if fails else command)
        script.append(f"pwd > {self._home}/cwd")
        said = self._run("bash", "-c", "\n".join(script))
        self._folder = Path((self._home / "cwd").read_text().strip())
        return said

    def edit(self, block: str) -> None:
        if block.startswith("def test_"):
            with next(self._folder.glob("tests/test_*.py")).open("a") as file:
                file.write(f"\n\n{block}")
            return
        [source] = self._folder.glob("src/*/__init__.py")
        text, found = re.subn(
            rf"^( +){block.split('=')[0]}= .*$",
            lambda match: match[1] + block.strip(),
            source.read_text(),
            flags=re.MULTILINE,
        )
        assert found == 1, block
        source.write_text(text)


def test_a_new_user_follows_the_manual(
    root: Path,
    run: Callable[..., str],
    wheels: dict[str, Path],
    installed: Callable[..., Path],
    tmp_path: Path,
) -> None:
    core = f"braft-core[testing] @ {wheels['braft_core'].as_uri()}"
    user = _NewUser(run, installed(core, wheels["braft_static"], wheels["braft_testing"]), tmp_path)
    manual = (root / "docs" / "plugins" / "first-plugin.md").read_text(encoding="utf-8")
    said = []
    for language, block in _FENCE.findall(manual):
        if language == "console":
            said.append(user.type(block))
        elif language == "python":
            user.edit(block)
    assert user.typed > 15
    text = "\n".join(said)
    assert "BRAFT_HOSTSFILE_POLL_INTERVAL" in text
    assert re.search(r"plugins\.hostsfile\.poll_interval +5s +environment BRAFT_HOSTSFILE", text)
    assert "braft_hostsfile-0.1.0-py3-none-any.whl" in text
    assert "127.0.0.1:15000" in text, "the doctor says whom the discovery found"
