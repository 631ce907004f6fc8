"""The figures as a table with ratios, as JSON, and as a plot if matplotlib is installed."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import LOADS, Results
from benchmarks.workload import Load
from braft_core import strict_json

__all__ = ["Row", "as_json", "print_table", "rows", "write_json", "write_plot"]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of every peer."""

    name: str
    unit: str
    more_is_better: bool
    value: Callable[[Results], float | None]

    def ratio(self, ours: float | None, theirs: float | None) -> float | None:
        """Return the factor by which braft is better; below 1 it is worse."""
        if not ours or not theirs:
            return None
        return ours / theirs if self.more_is_better else theirs / ours


def _of(load: Load, figure: str) -> Callable[[Results], float | None]:
    return lambda results: results.median(load, figure)


def _mebibytes(sizes: list[int]) -> float | None:
    return statistics.median(sizes) / 2**20 if sizes else None


def rows() -> Iterator[Row]:
    """Return all figures of the table."""
    words = {"put": "commits", "get": "linearizable reads"}
    for load in LOADS:
        where = "" if load.on == "leader" else f" on a {load.on}"
        name = f"{words[load.operation]}{where}, {load.outstanding:,} outstanding"
        yield Row(name, "/s", True, _of(load, "rate"))
        yield Row("  p50", "ms", False, _of(load, "p50_ms"))
        yield Row("  p99", "ms", False, _of(load, "p99_ms"))
    yield Row("failover after kill -9, p50", "s", False, lambda r: r.failovers.p50)
    yield Row("  p90", "s", False, lambda r: r.failovers.p90)
    yield Row("  worst", "s", False, lambda r: r.failovers.worst)
    yield Row("failover after SIGSTOP, p50", "s", False, lambda r: r.freezes.p50)
    yield Row("  p90", "s", False, lambda r: r.freezes.p90)
    yield Row("  worst", "s", False, lambda r: r.freezes.worst)
    yield Row("leader's memory", "MiB", False, lambda r: _mebibytes(r.leader_bytes))
    yield Row("a follower's memory", "MiB", False, lambda r: _mebibytes(r.follower_bytes))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_table(results: dict[str, Results], console: Console) -> None:
    """Print the medians, each with the factor by which the first peer is better.

    Leaves out figures that no peer has.
    """
    first, *others = results
    table = Table(title="medians; (×) how many times better " + first + " is")
    table.add_column("")
    table.add_column("unit")
    for name in results:
        table.add_column(name, justify="right")
    for row in rows():
        ours = row.value(results[first])
        theirs = {name: row.value(results[name]) for name in others}
        if ours is None and not any(value is not None for value in theirs.values()):
            continue
        cells = [_number(ours)]
        for value in theirs.values():
            ratio = row.ratio(ours, value)
            cells.append(_number(value) + (f" (×{ratio:.2f})" if ratio is not None else ""))
        table.add_row(row.name, row.unit, *cells)
    console.print(table)
    for name, result in results.items():
        if "unavailable" in result.description:
            console.print(f"{name}: not measured: {result.description['unavailable']}")
        for error in result.errors:
            console.print(f"{name}: {error}")


def as_json(results: dict[str, Results], facts: dict[str, Any]) -> dict[str, Any]:
    """Return all raw figures, with the facts of the machine and the settings of the peers."""
    return {
        "machine": facts,
        "peers": {
            name: {
                "description": result.description,
                "samples": [
                    load._asdict() | {"rate": sample.rate} | sample.as_json()
                    for load, samples in result.samples.items()
                    for sample in samples
                ],
                "failover_seconds": result.failovers.seconds,
                "freeze_seconds": result.freezes.seconds,
                "leader_bytes": result.leader_bytes,
                "follower_bytes": result.follower_bytes,
                "errors": result.errors,
            }
            for name, result in results.items()
        },
    }


def write_json(document: dict[str, Any], path: Path) -> None:
    """Write the result file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(strict_json.dumps(document, indent=1) + "\n")


def write_plot(results: dict[str, Results], path: Path) -> bool:
    """Plot operations per second over outstanding operations.

    Returns ``False`` without matplotlib, or if no operations were measured.
    """
    measured = any(result.samples for result in results.values())
    if not measured or importlib.util.find_spec("matplotlib") is None:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [
        ("commits/s", "put", "leader"),
        ("linearizable reads/s", "get", "leader"),
        ("linearizable reads/s on a follower", "get", "follower"),
    ]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(14, 4), sharey=True)
    for axis, (title, operation, on) in zip(axes, panels, strict=True):
        loads = [load for load in LOADS if (load.operation, load.on) == (operation, on)]
        levels = [load.outstanding for load in loads]
        for name, result in results.items():
            rates = [result.median(load, "rate") or float("nan") for load in loads]
            axis.plot(levels, rates, marker="o", label=name)
        axis.set(title=title, xlabel="outstanding", xscale="log", yscale="log", xticks=levels)
        axis.set_xticks(levels, [str(n) for n in levels])
        axis.grid(visible=True, alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True
