"""Show each fault of PySyncObj 0.3.17 that docs/decisions/0001 gives as a reason."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

VERSION = "0.3.17"
FAULTS = Path(__file__).parent / "pysyncobj_faults.py"
APPLICATION = Path(__file__).parents[2] / "examples" / "migration" / "with_pysyncobj.py"

_installed = importlib.util.find_spec("pysyncobj") is not None
pytestmark = [
    pytest.mark.optional,
    pytest.mark.peers,
    pytest.mark.skipif(
        not _installed or importlib.metadata.version("pysyncobj") != VERSION,
        reason=f"PySyncObj {VERSION} is not installed (dependency group 'bench')",
    ),
]

Fault = Callable[[str], dict[str, Any]]


@pytest.fixture
def fault(tmp_path: Path) -> Fault:
    """Run one of the scenarios in pysyncobj_faults.py."""

    def run(name: str) -> dict[str, Any]:
        command = [sys.executable, str(FAULTS), name, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return run


def test_an_unauthenticated_client_has_code_executed(fault: Fault) -> None:
    assert fault("pickle_from_the_network") == {
        "canary": "executed",
        "binds_by_default": "0.0.0.0",
    }


def test_votes_and_entries_are_acknowledged_before_anything_is_synced(fault: Fault) -> None:
    assert fault("no_fsync") == {"answers": ["response_vote", "next_node_idx"], "syncs": []}


def test_a_batch_that_arrives_again_truncates_what_was_acknowledged(fault: Fault) -> None:
    assert fault("a_batch_sent_again") == {"acknowledged": [1, 2, 3, 4, 5], "left": [1, 2, 3]}


def test_a_change_of_membership_begins_before_the_last_one_is_committed(fault: Fault) -> None:
    found = fault("overlapping_changes")
    assert found["members"] == ["127.0.0.1:2", "127.0.0.1:3"]
    assert found["log"] == [1, 2, 3, 4], "the two changes are entries 3 and 4"
    assert found["committed"] == 2


def test_the_application_of_the_migration_page_runs() -> None:
    done = subprocess.run(
        [sys.executable, str(APPLICATION)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "visits of /home: 2\n", done.stderr
