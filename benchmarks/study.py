"""The common part of the studies (snapshot, memory, soak): options, output, the result."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine, report

__all__ = ["RESULTS", "Study", "options"]

RESULTS = Path(__file__).parent / "results"


def options(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every study."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="a small run, as a smoke test")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for data and results")
    return parser


class Study:
    """One run of a study: its output and its result file."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        """Set up the output; child processes import this package and braft from the tree."""
        self._name = name
        self._console = Console(width=None if sys.stdout.isatty() else 120)
        self.output: Path = args.output
        self.output.mkdir(parents=True, exist_ok=True)
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        plan = {key: value for key, value in vars(args).items() if key != "output"}
        self._facts = machine.facts(self.output.resolve()) | {"plan": plan}

    def say(self, line: str) -> None:
        """Print a line of progress."""
        self._console.print(line, style="dim", highlight=False)

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table of names and figures."""
        table = Table(title=title)
        for position, word in enumerate(head):
            table.add_column(word, justify="right" if position else "left")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def verdict(self, met: bool, sentence: str) -> int:
        """Print whether a target was met; return the exit code."""
        self._console.print(
            f"{'met' if met else 'NOT MET'}: {sentence}", highlight=False, soft_wrap=True
        )
        return 0 if met else 1

    def save(self, figures: dict[str, Any], plot: Callable[[Path], bool] | None = None) -> Path:
        """Write the figures, the facts of the machine and the plot; return the file."""
        now = datetime.now(UTC)
        facts = self._facts | {
            "date": now.isoformat(timespec="seconds"),
            "load_average_at_end": os.getloadavg(),
        }
        path = self.output / f"{now:%Y-%m-%dT%H%M%S}-{self._name}.json"
        report.write_json({"machine": facts, self._name: figures}, path)
        self._console.print(f"written: {path}", highlight=False)
        if plot is not None and plot(path.with_suffix(".png")):
            self._console.print(f"written: {path.with_suffix('.png')}", highlight=False)
        return path
