"""The figures as a table with ratios, as JSON, and as a picture where matplotlib is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import LOADS, Results

__all__ = ["Row", "as_json", "print_table", "rows", "write_json", "write_plot"]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of every peer."""

    name: str
    unit: str
    more_is_better: bool
    value: Callable[[Results], float | None]

    def ratio(self, ours: float | None, theirs: float | None) -> float | None:
        """How many times better ours is; below 1 it is worse."""
        if not ours or not theirs:
            return None
        return ours / theirs if self.more_is_better else theirs / ours


def _of(operation: str, outstanding: int, figure: str) -> Callable[[Results], float | None]:
    return lambda results: results.median(operation, outstanding, figure)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def rows() -> Iterator[Row]:
    """Every figure that is shown."""
    words = {"put": "commits", "get": "linearizable reads"}
    for operation, outstanding in LOADS:
        name = f"{words[operation]}, {outstanding:,} outstanding"
        yield Row(name, "/s", True, _of(operation, outstanding, "rate"))
        yield Row("  p50", "ms", False, _of(operation, outstanding, "p50_ms"))
        yield Row("  p99", "ms", False, _of(operation, outstanding, "p99_ms"))
    yield Row("failover after kill -9, p50", "s", False, lambda r: r.failovers.p50)
    yield Row("  worst", "s", False, lambda r: r.failovers.worst)
    yield Row("leader's memory", "MiB", False, lambda r: _scaled(r.median_bytes(), 2**-20))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_table(results: dict[str, Results], console: Console) -> None:
    """Medians; behind each peer's figure how many times better the first peer is."""
    first, *others = results
    table = Table(title="medians; (×) how many times better " + first + " is")
    table.add_column("")
    table.add_column("unit")
    for name in results:
        table.add_column(name, justify="right")
    for row in rows():
        ours = row.value(results[first])
        cells = [_number(ours)]
        for name in others:
            theirs = row.value(results[name])
            ratio = row.ratio(ours, theirs)
            cells.append(_number(theirs) + (f" (×{ratio:.2f})" if ratio is not None else ""))
        table.add_row(row.name, row.unit, *cells)
    console.print(table)
    for name, result in results.items():
        if "unavailable" in result.description:
            console.print(f"{name}: not measured: {result.description['unavailable']}")
        for error in result.errors:
            console.print(f"{name}: {error}")


def as_json(results: dict[str, Results], facts: dict[str, Any]) -> dict[str, Any]:
    """All raw figures, with the facts of the machine and the settings of the peers."""
    return {
        "machine": facts,
        "peers": {
            name: {
                "description": result.description,
                "samples": [
                    {"operation": operation, "outstanding": outstanding, "rate": sample.rate}
                    | sample.as_json()
                    for (operation, outstanding), samples in result.samples.items()
                    for sample in samples
                ],
                "failover_seconds": result.failovers.seconds,
                "leader_bytes": result.leader_bytes,
                "errors": result.errors,
            }
            for name, result in results.items()
        },
    }


def write_json(document: dict[str, Any], path: Path) -> None:
    """Write the result file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def write_plot(results: dict[str, Results], path: Path) -> bool:
    """Draw operations a second over what is outstanding; ``False`` without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, (operation, title) in zip(
        axes, (("put", "commits/s"), ("get", "linearizable reads/s")), strict=True
    ):
        levels = [n for name, n in LOADS if name == operation]
        for name, result in results.items():
            rates = [result.median(operation, n, "rate") or float("nan") for n in levels]
            axis.plot(levels, rates, marker="o", label=name)
        axis.set(title=title, xlabel="outstanding", xscale="log", yscale="log", xticks=levels)
        axis.set_xticks(levels, [str(n) for n in levels])
        axis.grid(visible=True, alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True
