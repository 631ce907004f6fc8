"""No operation on 1,000,000 keys in three processes costs the leader its leadership."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("benchmarks.silence", reason="not installed, only in the tree")
pytest.importorskip("braft_static", reason="the nodes find each other by a static list")

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(3000)]

_ROOT = Path(__file__).parents[2]
#: Seconds of processor time for which a loop may be blocked. Waiting for a processor on a busy
#: machine does not count, which is also why the election timeout is long.
_SILENCE = 0.4


def test_a_million_keys_cost_nobody_the_leadership(tmp_path: Path) -> None:
    words = ["--keys", "1000000", "--election-timeout", "5", "--target", str(_SILENCE)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.silence", *words, "--output", str(tmp_path)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=2900,
        check=False,
    )
    (file,) = tmp_path.glob("*.json")
    stretches = json.loads(file.read_text())["silence"]["stretches"]
    assert [each["failure"] for each in stretches if each["failure"]] == []
    assert {each["name"]: each["new_terms"] for each in stretches if each["new_terms"]} == {}
    longest = {each["name"]: max(spent for _, spent in each["silences"]) for each in stretches}
    assert max(longest.values()) <= _SILENCE, longest
    assert done.returncode == 0, done.stdout + done.stderr
