"""The results of a run: for people, for programs, and for analysing a failure.

Owns the form of the report, its table and the files of a failure. Decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from braft_core import strict_json
from braft_testing.faults.checking import Violation
from braft_testing.faults.plan import Fault
from braft_testing.faults.recording import Call

__all__ = ["Entry", "Report"]


@dataclass(slots=True)
class Entry:
    """One fault as it happened. Times are seconds since the start, durations seconds.

    :param gap: the longest time without an acknowledged write, from the fault to ``served``.
    """

    number: int
    fault: Fault
    began: float
    detail: str = ""
    healed: float | None = None
    answering: float | None = None
    served: float | None = None
    gap: float | None = None
    problem: str = ""

    @property
    def starting(self) -> float | None:
        """Seconds from the healing until every process answered: the time to start one."""
        return _between(self.healed, self.answering)

    @property
    def recovery(self) -> float | None:
        """Seconds from then until every node served."""
        return _between(self.answering, self.served)

    def __str__(self) -> str:
        text = f"{self.began:8.2f} #{self.number} {self.fault.kind}"
        text += f" for {self.fault.hold:.1f} s: {self.detail}"
        if self.healed is not None:
            text += f"; healed {self.healed:.2f}"
        if self.answering is not None:
            text += f", answering {self.answering:.2f}"
        if self.served is not None:
            text += f", served {self.served:.2f}, longest without a write {self.gap:.2f} s"
        return f"{text} {self.problem}".rstrip()


@dataclass(slots=True)
class Report:
    """Report of one run; it passed if there are no problems, violations and undecided keys."""

    seed: int
    nodes: int
    network: str
    skipped: Mapping[str, str]
    seconds: float = 0.0
    entries: list[Entry] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    checked: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    log_errors: Counter[str] = field(default_factory=Counter)
    directory: str = ""

    @property
    def passed(self) -> bool:
        """Whether every guarantee was kept and could be checked."""
        return not (self.problems or self.violations or self.undecided)

    # -- for people ----------------------------------------------------------------------------

    def render(self) -> RenderableType:
        """Render the summary."""
        return Group(self._head(), self._table(), *map(Text, self._lines()), self._verdict())

    def _head(self) -> Text:
        faults = f"{len(self.entries)} faults in {self.seconds / 60:.1f} minutes"
        return Text(f"seed {self.seed}, {self.nodes} nodes {self.network}, {faults}", "bold")

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim", caption_justify="left")
        table.caption = "median / worst: without an acknowledged write; from the healing until "
        table.caption += "every process answered; from then until every node served"
        table.add_column("fault", no_wrap=True)
        for column in ("n", "no write", "starting", "served"):
            table.add_column(column, justify="right", no_wrap=True)
        for kind, rows in self.by_kind().items():
            times = ([e.gap for e in rows], [e.starting for e in rows], [e.recovery for e in rows])
            table.add_row(kind, str(len(rows)), *map(_spread, times))
        return table

    def _lines(self) -> list[str]:
        outcomes = ", ".join(
            f"{self.outcomes[name]} {name}" for name in ("ok", "failed", "unknown")
        )
        lines = [f"operations   {outcomes}"]
        lines += [f"checked      {number} {what}" for what, number in self.checked.items()]
        for reason in dict.fromkeys(self.skipped.values()):
            kinds = [kind for kind, why in self.skipped.items() if why == reason]
            lines.append(f"left out     {', '.join(kinds)}: {reason}")
        for title, counter in (("errors", self.errors), ("node logs", self.log_errors)):
            shown = ", ".join(f"{count} {name}" for name, count in counter.most_common(6))
            lines += [f"{title:12} {shown}"] if shown else []
        return lines

    def _verdict(self) -> Text:
        if self.passed:
            return Text(
                "passed: nothing acknowledged was lost, doubled or read stale", "bold green"
            )
        found = [*self.problems, *map(str, self.violations[:10])]
        found += [f"undecided: {key}: too many orders to try" for key in self.undecided]
        where = [f"kept in {self.directory}"] if self.directory else []
        return Text("\n".join(["FAILED", *found, *where]), "bold red")

    def by_kind(self) -> dict[str, list[Entry]]:
        """Group the faults by kind, in order of first appearance."""
        kinds: dict[str, list[Entry]] = {}
        for entry in self.entries:
            kinds.setdefault(entry.fault.kind, []).append(entry)
        return kinds

    # -- for programs --------------------------------------------------------------------------

    def as_dict(self) -> dict[str, object]:
        """Return everything as plain values."""
        plain: dict[str, object] = {"passed": self.passed, **asdict(self)}
        # asdict() turns counters into counters of pairs.
        plain |= {n: dict(getattr(self, n)) for n in ("outcomes", "errors", "log_errors")}
        plain["entries"] = [
            {**asdict(e), "starting": e.starting, "recovery": e.recovery} for e in self.entries
        ]
        plain["kinds"] = {
            kind: {
                "count": len(rows),
                "no_write_seconds": _numbers([e.gap for e in rows]),
                "starting_seconds": _numbers([e.starting for e in rows]),
                "served_after_seconds": _numbers([e.recovery for e in rows]),
            }
            for kind, rows in self.by_kind().items()
        }
        return plain

    def write_json(self, path: Path) -> None:
        """Write :meth:`as_dict` to a file."""
        path.write_text(strict_json.dumps(self.as_dict(), indent=2) + "\n")

    # -- for analysing a failure ---------------------------------------------------------------

    def write_evidence(self, directory: Path, calls: Sequence[Call]) -> None:
        """Write the report, the faults in time, and the history of each key with a violation.

        Without such a key: all calls.
        """
        self.directory = str(directory)
        self.write_json(directory / "report.json")
        timeline = "".join(f"{entry}\n" for entry in self.entries)
        (directory / "timeline.txt").write_text(timeline)
        keys = {v.key.rpartition("/")[2] for v in self.violations} | set(self.undecided)
        for key in sorted(keys):
            history = "".join(f"{call}\n" for call in calls if call.key == key)
            (directory / f"history-{key}.txt").write_text(history)
        if not keys:
            (directory / "history.txt").write_text("".join(f"{call}\n" for call in calls))


def _between(start: float | None, end: float | None) -> float | None:
    return end - start if start is not None and end is not None else None


def _numbers(values: Sequence[float | None]) -> dict[str, float]:
    known = [value for value in values if value is not None]
    return {"p50": median(known), "max": max(known)} if known else {}


def _spread(values: Sequence[float | None]) -> str:
    numbers = _numbers(values)
    return f"{numbers['p50']:.2f} / {numbers['max']:.2f} s" if numbers else "-"
