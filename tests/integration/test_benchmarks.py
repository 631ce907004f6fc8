"""Benchmark studies run, end cleanly and write results; their figures mean nothing here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("benchmarks.study", reason="not installed, only in the tree")
pytest.importorskip("braft_static", reason="the nodes find each other by a static list")

pytestmark = [pytest.mark.integration, pytest.mark.slow]

_ROOT = Path(__file__).parents[2]


def _run(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", *arguments, "--output", str(folder)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    # A busy machine may miss a target, which is no failure of the study.
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    files = list(folder.glob("*.json"))
    assert len(files) == 1, done.stdout + done.stderr
    assert not list(folder.glob("data-*")), done.stdout + done.stderr
    return done, json.loads(files[0].read_text())


@pytest.mark.parametrize("how", [(), ("--newcomer",)])
def test_snapshot(tmp_path: Path, how: tuple[str, ...]) -> None:
    done, found = _run(tmp_path, "benchmarks.snapshot", "--quick", *how)
    figures = found["snapshot"]
    assert figures["size"] > 19_000_000
    assert figures["transfer_bytes_per_second"] > 0
    assert figures["stretches"]["transfer"]["sample"] is not None
    assert figures["leader_bytes"]["peak"] >= figures["leader_bytes"]["before"] > 2**20
    assert figures["receiver_peak_bytes"] > 19_000_000
    assert "times the quiet one" in done.stdout


def test_memory(tmp_path: Path) -> None:
    _, found = _run(tmp_path, "benchmarks.memory", "--quick")
    readings = found["memory"]["readings"]
    assert [reading["entries"] for reading in readings] == [2_000, 10_000]
    assert all(len(reading["followers_compacted"]) == 2 for reading in readings)
    assert all(reading["leader_peak"] >= 2**20 for reading in readings)


def test_store(tmp_path: Path) -> None:
    _, found = _run(tmp_path, "benchmarks.store", "--quick")
    assert found["store"]["alone"]["keys"] == 10_000
    assert found["store"]["alone"]["slices"] > 1
    assert found["store"]["node"]["during_snapshot"]["operations"] > 0


def test_watches(tmp_path: Path) -> None:
    _, found = _run(tmp_path, "benchmarks.watches", "--quick")
    assert [each["watchers"] for each in found["watches"]["fan_out"]] == [1, 10, 100]
    assert all(each["latency"]["operations"] == 5 for each in found["watches"]["fan_out"])


def test_soak(tmp_path: Path) -> None:
    _, found = _run(tmp_path, "benchmarks.soak", "--quick")
    figures = found["soak"]
    assert figures["operations"] > 0
    assert figures["operations"] == sum(
        each["sample"]["operations"] for each in figures["observations"]
    )
    assert len(figures["terms_after"]) == 3


def test_cpu(tmp_path: Path) -> None:
    _, found = _run(tmp_path, "benchmarks.cpu", "--quick")
    costs = found["cpu"]["costs"]
    assert [cost["load"][:2] for cost in costs] == [
        [operation, outstanding] for operation in ("put", "get") for outstanding in (1, 64, 1024)
    ]
    assert all("MainThread" in cost["threads"] for cost in costs if cost["load"][1] == 1024)
    assert all(len(cost["followers"]) == 2 for cost in costs)


def test_silence(tmp_path: Path) -> None:
    done, found = _run(tmp_path, "benchmarks.silence", "--quick", "--keys", "2000")
    stretches = found["silence"]["stretches"]
    assert [each["name"] for each in stretches][-3:] == ["big value", "body refused", "restore"]
    assert not any(each["failure"] for each in stretches)
    assert all(len(each["silences"]) == 3 for each in stretches)
    assert "the longest silence is" in done.stdout


def test_one_kill_and_one_freeze(tmp_path: Path) -> None:
    stages = ("--stages", "failover,freeze", "--failovers", "1", "--freezes", "1")
    done, found = _run(tmp_path, "benchmarks", "--peers", "braft", *stages)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = found["peers"]["braft"]
    assert len(figures["failover_seconds"]) == 1
    assert len(figures["freeze_seconds"]) == 1
