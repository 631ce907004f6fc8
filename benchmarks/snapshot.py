"""``python -m benchmarks.snapshot``: the latency of writes during a large snapshot.

Three durable nodes hold a large state. 64 puts of 128 bytes are outstanding at the leader all the
time: while the log drops the large entries, while the leader takes a snapshot, and while it sends
one to a member that is behind its log (or, with ``--newcomer``, to a new fourth node).
Target: the p99 of a put during the transfer is at most 5 times the quiet one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import data_folder
from benchmarks.nodes import BraftNodes
from benchmarks.peers.cluster import wait_until
from benchmarks.resident import MemoryWatch
from benchmarks.snapshot_report import show, write_plot
from benchmarks.study import Study, options
from benchmarks.workload import Sample

__all__ = ["Figures", "Stretch", "main"]

_OUTSTANDING = 64
_FILL_OUTSTANDING = 16
_WARMUP = 1.0
#: Seconds after a snapshot that count as compacting: the rows of the log go with later writes.
_COMPACTING = 3.0
#: Pause between two status requests to the member that catches up, seconds.
_POLL = 0.05
_PATIENCE = 600.0
#: A member this few entries behind the leader counts as caught up during writes.
_CLOSE = 2000
_TARGET = 5.0
#: Resolution of the course over time, seconds.
_STEP = 0.5
#: Few entries stay behind a snapshot, so that a member is soon behind the log. No automatic
#: snapshot disturbs the figures, except while the state is filled.
_SETTINGS = {"snapshot_trailing": 100, "snapshot_entries": 10**9}


@dataclass(slots=True)
class Stretch:
    """An interval in which one thing happened, and the puts that ended in it."""

    begin: float
    end: float
    sample: Sample | None = None
    leader_peak_bytes: int | None = None

    @property
    def seconds(self) -> float:
        """The length of the interval, seconds."""
        return self.end - self.begin


@dataclass(slots=True)
class Figures:
    """All measurements."""

    size: int = 0
    #: Begin of the load by ``time.monotonic``, the origin of all series.
    began: float = 0.0
    fill_seconds: float = 0.0
    stretches: dict[str, Stretch] = field(default_factory=dict)
    #: Memory of the leader before and after everything; the intervals have its peaks.
    leader_bytes: dict[str, int | None] = field(default_factory=dict)
    receiver_peak_bytes: int | None = None
    #: Failed puts, and the messages of the first ones.
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    #: Second, rate, p99 in ms, slowest in ms.
    course: list[tuple[float, float, float, float | None]] = field(default_factory=list)
    leader_course: list[tuple[float, int]] = field(default_factory=list)

    def p99_ratio(self, stretch: str) -> float:
        """Return the ratio of an interval's p99 to the quiet one."""
        quiet, other = self.stretches["quiet"].sample, self.stretches[stretch].sample
        if quiet is None or other is None:
            raise ValueError("nothing was measured")
        return other.p99_ms / quiet.p99_ms

    @property
    def rate(self) -> float:
        """Return bytes per second from the receiver's start until it has the state."""
        return self.size / self.stretches["transfer"].seconds

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return asdict(self) | {
            "transfer_bytes_per_second": self.rate,
            "p99_ratios": {name: self.p99_ratio(name) for name in self.stretches},
        }


class _Run:
    """One run, step by step."""

    def __init__(
        self,
        nodes: BraftNodes,
        watch: MemoryWatch,
        args: argparse.Namespace,
        say: Callable[[str], None],
    ) -> None:
        self._nodes = nodes
        self._watch = watch
        self._args = args
        self._say = say
        self.figures = Figures()
        self._leader_address = nodes.wait()
        self._leader = nodes.children[self._leader_address]

    def run(self) -> Figures:
        """Run all steps."""
        self._watch.follow({"leader": self._leader.pid})
        self._fill()
        self._begin()
        try:
            self._compact()
            self._quiet("quiet")
            self._take("taking")
            self._quiet("quiet again")
            self._transfer()
            self._quiet("afterwards")
        finally:
            self._leader.ask("end_load", timeout=90)
        self._measure()
        return self.figures

    def _fill(self) -> None:
        size = self._args.value_kilobytes << 10
        values = max(1, int(self._args.gigabytes * 1e9 / size))
        self._say(f"filling in {values:,} values of {size:,} bytes")
        begin = time.monotonic()
        self._leader.ask(
            "fill_state",
            timeout=_PATIENCE * 4,
            first=0,
            values=values,
            size=size,
            outstanding=_FILL_OUTSTANDING,
        )
        self.figures.fill_seconds = time.monotonic() - begin

    def _begin(self) -> None:
        self.figures.began = time.monotonic()
        self._leader.ask("begin_load", operation="put", outstanding=_OUTSTANDING)
        time.sleep(_WARMUP)

    def _compact(self) -> None:
        """Make every node, the leader last, take a snapshot and drop the large entries."""
        begin = time.monotonic()
        followers = [c for a, c in self._nodes.children.items() if a != self._leader_address]
        for child in (*followers, self._leader):
            child.ask("take_snapshot", timeout=_PATIENCE)
        time.sleep(_COMPACTING)
        self._stretch("compacting", begin, time.monotonic())
        time.sleep(_WARMUP)

    def _stretch(self, name: str, begin: float, end: float) -> None:
        self.figures.stretches[name] = Stretch(begin, end)

    def _quiet(self, name: str) -> None:
        self._say(f"{name}: {self._args.seconds} s")
        begin = time.monotonic()
        time.sleep(self._args.seconds)
        self._stretch(name, begin, time.monotonic())

    def _take(self, name: str) -> int:
        self._say(f"the leader takes a snapshot ({name})")
        taken = self._leader.ask("take_snapshot", timeout=_PATIENCE)
        self._stretch(name, taken["begin"], taken["end"])
        self.figures.size = taken["size"]
        return int(taken["index"])

    def _transfer(self) -> None:
        """Let a member fall behind the leader's log, and measure how it catches up."""
        if self._args.newcomer:
            address = self._nodes.newcomer()
        else:
            address = next(a for a in self._nodes.children if a != self._leader_address)
            self._nodes.stop_node(address)
            self._quiet("one is away")
        index = self._take("taking again")
        self._quiet("before it starts")
        self._say("the receiver starts")
        begin = time.monotonic()
        receiver = self._nodes.start_node(address)
        self._watch.follow({"leader": self._leader.pid, "receiver": receiver.pid})
        receiver.ask(
            "status", timeout=_PATIENCE
        )  # the member answers once it runs, with its old state
        up = time.monotonic()
        self._stretch("starting", begin, up)
        wait_until(lambda: self._is_at(address, index), _PATIENCE, "the state", _POLL)
        has_state = time.monotonic()
        self._stretch("transfer", up, has_state)
        wait_until(lambda: self._is_close(address), _PATIENCE, "the latest entries", _POLL)
        self._stretch("catching up", has_state, time.monotonic())
        held = [snapshot["index"] for snapshot in receiver.ask("snapshots")]
        if index not in held:
            raise RuntimeError(f"it caught up without snapshot {index}; it has {held}")

    def _applied(self, address: str) -> int:
        child = self._nodes.children[address]
        return int(child.ask("progress", timeout=_PATIENCE)["appliedIndex"])

    def _is_at(self, address: str, index: int) -> bool | None:
        return self._applied(address) >= index or None

    def _is_close(self, address: str) -> bool | None:
        leaders = self._applied(self._leader_address)
        return self._applied(address) >= leaders - _CLOSE or None

    def _measure(self) -> None:
        figures = self.figures
        for stretch in figures.stretches.values():
            stretch.sample = self._look(stretch.begin, stretch.end)
            stretch.leader_peak_bytes = self._watch.peak("leader", stretch.begin, stretch.end)
        quiet = figures.stretches["quiet"]
        end = time.monotonic()
        figures.leader_bytes = {
            "before": quiet.leader_peak_bytes,
            "peak": self._watch.peak("leader", quiet.begin, end),
            "after": self._watch.peak("leader", end - 1.0, end),
        }
        figures.receiver_peak_bytes = self._watch.peak("receiver", self.figures.began, end)
        figures.leader_course = self._watch.series("leader", self.figures.began, _STEP)
        last = figures.stretches["afterwards"].end
        for slot in range(int((last - self.figures.began) / _STEP)):
            begin = self.figures.began + slot * _STEP
            sample = self._look(begin, begin + _STEP)
            p99 = sample.p99_ms if sample.operations else 0.0
            figures.course.append((slot * _STEP, sample.rate, p99, sample.max_ms))

    def _look(self, begin: float, end: float) -> Sample:
        reply = self._leader.ask("recorded", begin=begin, end=end)
        self.figures.failed, self.figures.failures = reply["failed"], reply["failures"]
        return Sample(**reply["sample"])


def _arguments() -> argparse.Namespace:
    parser = options("snapshot", "What a large snapshot costs those who write meanwhile.")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the state")
    parser.add_argument("--value-kilobytes", type=int, default=64, help="size of each value")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="duration of each quiet interval"
    )
    parser.add_argument(
        "--newcomer", action="store_true", help="a new node joins; default: a member restarts"
    )
    args = parser.parse_args()
    if args.quick:
        args.gigabytes, args.seconds = 0.02, 1.0
    return args


def _measure(folder: Path, args: argparse.Namespace, study: Study) -> Figures:
    nodes = BraftNodes(folder, _SETTINGS)
    try:
        nodes.start()
        with MemoryWatch() as watch:
            return _Run(nodes, watch, args, study.say).run()
    finally:
        nodes.stop()


def main() -> int:
    """Measure, print and save. Exit code 1: the target was missed, or writes failed."""
    args = _arguments()
    study = Study("snapshot", args)
    with data_folder(study.output) as folder:
        figures = _measure(folder, args, study)
    show(figures, study)
    study.save(figures.as_json(), lambda path: write_plot(figures, path))
    ratio = figures.p99_ratio("transfer")
    met = ratio <= _TARGET and not figures.failed
    return study.verdict(
        met,
        f"p99 of a put during the transfer is {ratio:.1f} times the quiet one (target: at most "
        f"{_TARGET:g}), {figures.failed} puts failed",
    )


if __name__ == "__main__":
    sys.exit(main())
