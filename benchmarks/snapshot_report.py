"""The figures of :mod:`benchmarks.snapshot` as tables, and a plot over time."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.study import Study

if TYPE_CHECKING:
    from benchmarks.snapshot import Figures, Stretch

__all__ = ["show", "write_plot"]


def _mebibytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:,.0f}"


def _row(name: str, stretch: Stretch, figures: Figures) -> list[str]:
    sample = stretch.sample
    if sample is None or not sample.operations:
        return [name, f"{stretch.seconds:.2f}", "0", *["-"] * 5]
    return [
        name,
        f"{stretch.seconds:.2f}",
        f"{sample.rate:,.0f}",
        f"{sample.p50_ms:.1f}",
        f"{sample.p99_ms:.1f}",
        f"{sample.max_ms or 0:.0f}",
        f"×{figures.p99_ratio(name):.1f}",
        _mebibytes(stretch.leader_peak_bytes),
    ]


def show(figures: Figures, study: Study) -> None:
    """Print both tables."""
    head = ["stretch", "s", "commits/s", "p50 ms", "p99 ms", "max ms", "p99 / quiet", "peak MiB"]
    rows = [_row(name, stretch, figures) for name, stretch in figures.stretches.items()]
    study.table("64 puts of 128 bytes outstanding at the leader", head, rows)
    spans = figures.stretches
    study.table(
        f"a snapshot of {figures.size / 1e9:.2f} GB",
        ["", ""],
        [
            ["filling in the state, s", f"{figures.fill_seconds:.1f}"],
            ["taking it, s", f"{spans['taking'].seconds:.2f}"],
            ["the receiver's own start, s", f"{spans['starting'].seconds:.2f}"],
            ["transfer until its state is there, s", f"{spans['transfer'].seconds:.2f}"],
            ["... MB/s", f"{figures.rate / 1e6:.0f}"],
            ["until it is close behind the leader, s", f"{spans['catching up'].seconds:.2f}"],
            *[
                [f"leader's memory {when}, MiB", _mebibytes(size)]
                for when, size in figures.leader_bytes.items()
            ],
            ["receiver's memory, peak, MiB", _mebibytes(figures.receiver_peak_bytes)],
            ["puts that failed", f"{figures.failed}"],
        ],
    )
    for failure in figures.failures:
        study.say(failure)


def write_plot(figures: Figures, path: Path) -> bool:
    """Plot latency, rate and the leader's memory over time; ``False`` without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    chart, (latency, rate, memory) = pyplot.subplots(3, 1, figsize=(10, 8), sharex=True)
    at = [row[0] for row in figures.course]
    latency.plot(at, [row[2] for row in figures.course], label="p99")
    latency.plot(at, [row[3] or 0 for row in figures.course], label="slowest", alpha=0.5)
    latency.set(ylabel="put, ms", yscale="log")
    latency.legend()
    rate.plot(at, [row[1] for row in figures.course])
    rate.set(ylabel="commits/s")
    memory.plot(
        [second for second, _ in figures.leader_course if second >= 0],
        [size / 2**20 for second, size in figures.leader_course if second >= 0],
    )
    memory.set(ylabel="leader, MiB", xlabel="seconds")
    for axis in (latency, rate, memory):
        axis.grid(visible=True, alpha=0.3)
        for name, stretch in figures.stretches.items():
            if name in ("compacting", "taking", "taking again", "transfer"):
                left = stretch.begin - figures.began
                axis.axvspan(left, left + stretch.seconds, alpha=0.15, color="tab:orange")
    latency.set_title(
        "shaded: large entries leave the log; a snapshot is taken, taken again, transferred"
    )
    chart.tight_layout()
    chart.savefig(path, dpi=120)
    pyplot.close(chart)
    return True
