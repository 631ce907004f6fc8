"""Measurements and reports, on fake peers with known figures."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

measure: Any = pytest.importorskip("benchmarks.measure", reason="not installed, only in the tree")
report: Any = pytest.importorskip("benchmarks.report", reason="not installed, only in the tree")
failover: Any = pytest.importorskip("benchmarks.failover", reason="not installed, only in the tree")
workload: Any = pytest.importorskip("benchmarks.workload", reason="not installed, only in the tree")


class Fake:
    """A fake peer of a given speed that records what is done to it."""

    name = "fake"
    operations = 100
    seconds_to_fail_over = 0.5
    fails_at = ""
    trace: list[str]

    def __init__(self, folder: Path) -> None:
        assert not list(folder.iterdir())
        (folder / "data").write_text("")
        self.folder = folder

    @classmethod
    def describe(cls) -> dict[str, Any]:
        return {"version": "1"}

    def _do(self, what: str) -> None:
        self.trace.append(what)
        if what == self.fails_at:
            raise ConnectionError(what)

    def start(self) -> None:
        self._do("start")

    def load(self, load: Any, seconds: float, warmup: float) -> Any:
        self._do(f"load {load.operation} {load.outstanding} {load.on}")
        return workload.Sample(self.operations, seconds, 1.0, 2.0)

    def fill(self, entries: int, outstanding: int) -> None:
        self._do(f"fill {entries}")

    def pids(self) -> tuple[int, int]:
        return os.getpid(), os.getppid()

    def fail_over(self, *, freeze: bool = False) -> float:
        self._do("freeze" if freeze else "fail over")
        return self.seconds_to_fail_over * (3 if freeze else 1)

    def stop(self) -> None:
        self._do("stop")


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover.Failover, "rest", 0.0)


def _peer(name: str, **changes: Any) -> type[Fake]:
    return type(name, (Fake,), {"name": name, "trace": [], **changes})


def _measure(tmp_path: Path, *peers: type[Fake], stages: Any = tuple(measure.STAGES)) -> Any:
    plan = measure.Plan(
        runs=1,
        seconds=2.0,
        warmup=0.0,
        failovers=2,
        freezes=1,
        memory_entries=10,
        stages=stages,
    )
    return measure.measure(list(peers), plan, tmp_path, lambda line: None)


def test_each_measurement_has_a_cluster_of_its_own(tmp_path: Path) -> None:
    peer = _peer("one")
    results = _measure(tmp_path, peer)["one"]
    loads = [f"load {load.operation} {load.outstanding} {load.on}" for load in measure.LOADS]
    kill = ["start", "fill 2000", "fail over", "stop"]
    freeze = ["start", "fill 2000", "freeze", "stop"]
    first = ["start", *loads, "stop", "start", "fill 10", "stop"]
    assert peer.trace == [*first, *kill, *kill, *freeze]
    assert not list(tmp_path.iterdir())
    assert results.median(workload.Load("put", 64), "rate") == 50.0
    assert results.failovers.seconds == [0.5, 0.5]
    assert results.freezes.seconds == [1.5]
    assert results.leader_bytes[0] > 2**20
    assert results.errors == []


def test_only_the_stages_that_were_asked_for_are_measured(tmp_path: Path) -> None:
    peer = _peer("one")
    results = _measure(tmp_path, peer, stages=("freeze",))["one"]
    assert peer.trace == ["start", "fill 2000", "freeze", "stop"]
    assert results.freezes.p50 == 1.5
    assert results.failovers.p50 is None
    shown = io.StringIO()
    report.print_table({"one": results}, Console(file=shown, width=120))
    assert "failover after SIGSTOP" in shown.getvalue()
    assert "commits" not in shown.getvalue()


def test_nine_of_ten_failovers_are_not_slower_than_p90() -> None:
    ten = failover.Failover(seconds=[float(n) for n in range(10, 0, -1)])
    assert (ten.p50, ten.p90, ten.worst) == (5.5, 9.0, 10.0)
    assert failover.Failover(seconds=[2.0]).p90 == 2.0
    assert failover.Failover().p90 is None


def test_a_failure_is_noted_and_its_logs_stay(tmp_path: Path) -> None:
    results = _measure(tmp_path, _peer("bad", fails_at="fail over"), _peer("good"))
    assert results["bad"].errors == [f"failover {n}: ConnectionError: fail over" for n in (1, 2)]
    assert results["bad"].failovers.p50 is None
    assert results["good"].failovers.p50 == 0.5
    assert len(list(tmp_path.iterdir())) == 2


def test_a_peer_that_cannot_run_is_left_out(tmp_path: Path) -> None:
    absent = _peer("absent", describe=classmethod(lambda cls: {"unavailable": "not installed"}))
    results = _measure(tmp_path, _peer("here"), absent)
    assert absent.trace == []
    shown = io.StringIO()
    report.print_table(results, Console(file=shown, width=120))
    assert "absent: not measured: not installed" in shown.getvalue()


def test_ratios_say_how_many_times_better_the_first_is(tmp_path: Path) -> None:
    slow = _peer("slow", operations=25, seconds_to_fail_over=2.0)
    results = _measure(tmp_path, _peer("fast"), slow)
    rows = {row.name: row for row in report.rows()}
    for name, ours, theirs in [
        ("commits, 1,024 outstanding", 50.0, 12.5),
        ("linearizable reads on a follower, 64 outstanding", 50.0, 12.5),
        ("failover after kill -9, p50", 0.5, 2.0),
        ("failover after SIGSTOP, p50", 1.5, 6.0),
    ]:
        row = rows[name]
        assert (row.value(results["fast"]), row.value(results["slow"])) == (ours, theirs)
        assert row.ratio(ours, theirs) == 4.0
    shown = io.StringIO()
    report.print_table(results, Console(file=shown, width=120))
    assert "12.5 (×4.00)" in shown.getvalue()


def test_a_picture_is_drawn_of_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="draws the picture")
    path = tmp_path / "picture.png"
    assert not report.write_plot(_measure(tmp_path, _peer("one"), stages=("freeze",)), path)
    assert not path.exists()
    assert report.write_plot(_measure(tmp_path, _peer("one")), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_result_file_holds_every_sample(tmp_path: Path) -> None:
    results = _measure(tmp_path, _peer("one"))
    path = tmp_path / "results" / "now.json"
    report.write_json(report.as_json(results, {"cores": 2}), path)
    document = json.loads(path.read_text())
    assert document["machine"] == {"cores": 2}
    assert len(document["peers"]["one"]["samples"]) == len(measure.LOADS)
    assert document["peers"]["one"]["samples"][0]["rate"] == 50.0
    assert document["peers"]["one"]["samples"][-1]["on"] == "follower"
    assert document["peers"]["one"]["freeze_seconds"] == [1.5]
