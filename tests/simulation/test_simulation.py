"""Run fixed seeds of the simulation, and prove that a seed determines the whole run."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from braft_core.errors import DecodeError
from braft_core.raft import election
from braft_testing.simulation import Report, draw_plan, run_seed
from braft_testing.simulation.cli import main, parse_edits, parse_seeds
from braft_testing.simulation.edits import Edits, decode_edits, encode_edits

# The longest of all tests; other load on the machine makes it longer still.
pytestmark = pytest.mark.timeout(1200)

SEEDS = range(150)
#: Those that ``make test`` runs. CI runs all of them with ``make sim``.
QUICK = 5
#: Seeds of one test, so that each of these is quick and several workers share them.
CHUNK = 5

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def reports() -> list[Report]:
    # Spawn instead of fork: a lock held by a thread of an earlier test would never be released.
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        return list(pool.map(run_seed, SEEDS, chunksize=5))


@pytest.mark.parametrize(
    "first",
    [pytest.param(f, marks=() if f < QUICK else pytest.mark.slow) for f in SEEDS[::CHUNK]],
)
def test_every_rule_holds_for_the_fixed_seeds(first: int) -> None:
    reports = [run_seed(seed) for seed in range(first, first + CHUNK)]
    broken = [f"seed {r.seed}: {r.detail}" for r in reports if not r.ok]
    assert not broken, "\n".join(broken)
    assert not [r.seed for r in reports if r.undecided]


@pytest.mark.slow
@pytest.mark.xdist_group("simulation")
def test_the_fixed_seeds_exercise_what_they_should(reports: list[Report]) -> None:
    """A simulation in which nothing happens finds nothing."""
    assert sum(r.elections for r in reports) > 3 * len(reports)
    assert sum(r.commits for r in reports) > 40 * len(reports)
    assert sum(r.answered for r in reports) > 40 * len(reports)
    assert sum(r.snapshots for r in reports) > 5 * len(reports)
    assert sum(r.installed for r in reports) > len(reports) // 5
    assert sum(r.formed for r in reports) > len(reports) // 6
    assert sum(r.removed for r in reports) > len(reports) // 20
    assert sum(r.returned for r in reports) > 4
    assert sum(r.bounds for r in reports) > 200 * len(reports)
    assert sum(r.unknown for r in reports) > len(reports)
    assert sum(r.truncations for r in reports) > len(reports) // 2
    assert {kind for r in reports for kind in r.faults} >= {
        "partition",
        "diverge",
        "crash",
        "pause",
        "slow_disk",
        "full_disk",
        "read_error",
        "wipe",
        "snapshot_crash",
        "clock",
        "false_alarm",
        "membership",
        "transfer",
        "storm",
        "eager_operator",
        "death",
        "forgery",
    }


@pytest.mark.slow
@pytest.mark.xdist_group("simulation")
def test_different_seeds_are_different_runs(reports: list[Report]) -> None:
    assert len({r.digest for r in reports}) == len(reports)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hash_seed", "first"),
    [("4711", 0), ("0", 0), ("1", 0), ("0", 3), ("1", 3), ("4711", 3)],
)
def test_a_seed_is_the_whole_run_under_any_hash_seed(hash_seed: str, first: int) -> None:
    program = (
        "from braft_testing.simulation import run_seed\n"
        f"print(*(run_seed(seed).digest for seed in range({first}, {first + 3})))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [run_seed(seed).digest for seed in range(first, first + 3)]


def test_the_command_line_sums_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "3:5", "--seconds", "2"]) == 0
    assert "2 seeds, 0 broken" in capsys.readouterr().out


def test_the_command_line_says_how_to_replay_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("braft_core.raft.election.pre_campaign", lambda state, reason: None)
    assert main(["--seeds", "0:3"]) == 1
    out = capsys.readouterr().out
    assert "seed 0 breaks: recovery" in out
    assert "0 → python -m braft_testing.simulation --seeds 0 --trace" in out


def test_a_trace_is_printed_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "1", "--steps", "50", "--trace"]) == 0
    assert "s1 starts, HardState(term=1, voted_for='')" in capsys.readouterr().out


def test_a_failing_run_is_made_smaller_and_replayed_from_what_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("braft_core.raft.election.pre_campaign", election.campaign)
    assert main(["--seeds", "3", "--minimize"]) == 1
    out = capsys.readouterr().out
    assert "minimized: PreVote before a campaign" in out
    assert "0 operations" in out
    assert "0 faults:" in out
    words = shlex.split(out[out.rindex("3 → ") :].splitlines()[0])
    edits = words[words.index("--edits") + 1]
    (tmp_path / "edits.json").write_text(edits)
    for argument in (edits, str(tmp_path / "edits.json")):
        assert main(["--seeds", "3", "--edits", argument]) == 1
        assert "seed 3 breaks: PreVote before a campaign" in capsys.readouterr().out


def test_a_strike_that_is_left_out_changes_no_other_of_its_kind() -> None:
    seed = next(seed for seed in range(100) if "crash" in draw_plan(seed).faults)
    edits = Edits(skip=frozenset({("crash", 1)}), plan={"snapshot_crash": 0.0})
    whole = [(when, n) for when, kind, n in run_seed(seed).schedule if kind == "crash"]
    part = [(when, n) for when, kind, n in run_seed(seed, edits=edits).schedule if kind == "crash"]
    assert part == whole[1:]


def test_edits_survive_encoding_as_json() -> None:
    edits = Edits(
        frozenset({"crash"}),
        frozenset({("pause", 2)}),
        {"clients": 1, "bootstrap": True},
        {"max_inflight_messages": 1},
    )
    assert decode_edits(encode_edits(edits)) == edits
    plan = edits.applied_to(draw_plan(7))
    assert (plan.clients, plan.config.max_inflight_messages) == (1, 1)
    assert "crash" not in plan.faults


@pytest.mark.parametrize(
    "text", ["", "[]", '{"without": ["weather"]}', '{"plan": {"nodes": 3}}', '{"more": 1}']
)
def test_invalid_edits_are_refused(text: str) -> None:
    with pytest.raises(DecodeError, match="not edits of a plan"):
        decode_edits(text)


def test_the_command_line_refuses_invalid_edits() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no-such-file"):
        parse_edits("no-such-file")


@pytest.mark.parametrize("text", ["", "x", "1:", "5:5", "1:2:3"])
def test_invalid_seeds_are_refused(text: str) -> None:
    with pytest.raises(Exception, match="is not a seed"):
        parse_seeds(text)
