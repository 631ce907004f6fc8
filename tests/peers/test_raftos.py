"""Raftos 0.2.6 does not start on today's Python, and is unsafe when patched to start.

This is why braft has its own core (docs/decisions/0001). No line of raftos is in braft: the
tests install it into a separate folder and replace two expressions there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.optional, pytest.mark.peers, pytest.mark.xdist_group("raftos")]

VERSION = "0.2.6"
FAULTS = Path(__file__).parent / "raftos_faults.py"
#: Why it does not start: it uses an argument that asyncio removed, and one that msgpack removed.
PATCHES = [
    ("server.py", "asyncio.Queue(loop=self.loop)", "asyncio.Queue()"),
    ("serializers.py", "encoding='utf-8'", "raw=False"),
]
START = (
    "import asyncio, raftos, sys\n"
    "raftos.configure({'log_path': sys.argv[1] + '/'})\n"
    "async def main():\n"
    "    await raftos.register('127.0.0.1:0', cluster=['127.0.0.1:0'])\n"
    "    print('started')\n"
    "asyncio.run(main())\n"
)

Fault = Callable[[str], dict[str, Any]]


def python(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": f"{path}:{':'.join(filter(None, sys.path))}"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install raftos unpatched and return its folder; skip the test where that is impossible."""
    target = tmp_path_factory.mktemp("raftos")
    arguments = ["install", "--quiet", "--no-deps", "--target", str(target), f"raftos=={VERSION}"]
    if shutil.which("uv") is not None:
        command = ["uv", "pip", *arguments, "--python", sys.executable]
    else:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("raftos cannot be installed here: the installer did not end in 60 s")
    if done.returncode != 0:
        pytest.skip(f"raftos cannot be installed here: {done.stderr.strip()[-300:]}")
    return target


@pytest.fixture(scope="session")
def patched(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy raftos and patch it so that it starts."""
    target = tmp_path_factory.mktemp("raftos-patched")
    shutil.copytree(original, target, dirs_exist_ok=True)
    for name, old, new in PATCHES:
        file = target / "raftos" / name
        text = file.read_text()
        assert text.count(old) == 1, f"{name} is not that of raftos {VERSION}"
        file.write_text(text.replace(old, new))
    return target


@pytest.fixture
def fault(patched: Path, tmp_path: Path) -> Fault:
    """Run one of the scenarios in raftos_faults.py."""

    def run(name: str) -> dict[str, Any]:
        done = python(patched, str(FAULTS), name, str(tmp_path))
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return run


def test_its_pins_are_of_2016(original: Path) -> None:
    (metadata,) = original.glob("raftos-*.dist-info/METADATA")
    pins = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist")]
    assert pins == ["Requires-Dist: cryptography==1.5.3", "Requires-Dist: msgpack-python==0.4.8"]


def test_it_does_not_start(original: Path, tmp_path: Path) -> None:
    done = python(original, "-c", START, str(tmp_path))
    assert done.returncode != 0
    assert "TypeError" in done.stderr
    assert "loop" in done.stderr.splitlines()[-1]


def test_with_two_patches_it_starts(patched: Path, tmp_path: Path) -> None:
    done = python(patched, "-c", START, str(tmp_path))
    assert done.stdout == "started\n", done.stderr


def test_a_restarted_voter_votes_again_and_one_term_has_two_leaders(fault: Fault) -> None:
    assert fault("two_leaders_in_one_term") == {
        "granted": [True, True],
        "leaders": ["127.0.0.1:1", "127.0.0.1:2"],
        "terms": [1],
    }


def test_two_of_four_and_one_of_two_are_a_majority(fault: Fault) -> None:
    assert fault("half_is_a_majority") == {"two_of_four_lead": True, "one_of_two": True}


def test_an_entry_on_one_of_two_servers_is_acknowledged(fault: Fault) -> None:
    assert fault("one_of_two_commits") == {
        "acknowledged": True,
        "on_the_other": {"127.0.0.1:2": 0},
    }


def test_votes_are_counted_twice_and_from_old_terms(fault: Fault) -> None:
    assert fault("votes_that_are_counted") == {
        "one_voter_twice": True,
        "votes_of_term_2_in_term_7": True,
    }


def test_a_log_that_is_not_empty_cannot_be_opened_again(fault: Fault) -> None:
    assert fault("reopening") == {"reopened": False, "error": "ExtraData"}


def test_nothing_is_synced_before_a_vote_is_spoken(fault: Fault) -> None:
    assert fault("syncing") == {"voted_for": "x", "syncs": 0}


def test_there_is_no_snapshot_and_no_change_of_membership(fault: Fault) -> None:
    found = fault("missing")
    assert found["messages"] == [
        "on_receive_append_entries",
        "on_receive_append_entries_response",
        "on_receive_request_vote",
        "on_receive_request_vote_response",
    ]
    assert not [name for name in found["public"] if "member" in name or "snapshot" in name]
