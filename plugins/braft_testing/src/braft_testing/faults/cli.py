"""Command line: inject faults for minutes, print a summary, and say where evidence is stored."""

from __future__ import annotations

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from braft_core.errors import BraftError
from braft_testing.faults.kinds import KINDS
from braft_testing.faults.report import Report
from braft_testing.faults.runner import Options, run

__all__ = ["main"]

_PROGRAM = "python -m braft_testing.faults"


def _kinds(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{unknown[0]!r} is not a kind of fault; accepted: {', '.join(KINDS)}"
        )
    return names


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Real nodes, real faults, and a check of every answer "
        "(explained by: braft docs faults).",
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default 1)")
    parser.add_argument("--seed", type=int, help="which faults (default: drawn and printed)")
    parser.add_argument("--nodes", type=int, choices=(3, 5), default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kinds", type=_kinds, default=[], help="only these, separated by commas")
    parser.add_argument("--faults", type=int, default=0, help="stop after so many")
    parser.add_argument(
        "--snapshot-entries", type=int, default=500, help="between snapshots; 0: as nodes do"
    )
    parser.add_argument("--transport", default="grpc", help="of the nodes (default %(default)s)")
    parser.add_argument("--loopback", action="store_true", help="processes only: needs no root")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--keep", action="store_true", help="keep the directory of a passed run")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run and return the exit code.

    0: passed; 1: a guarantee was broken; 2: wrong usage; 3: the faults cannot be made here.
    """
    arguments = _arguments(argv)
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(1_000_000)
    signal.signal(signal.SIGTERM, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix=f"braft-faults-{seed}-"))
    options = Options(
        seed,
        directory,
        seconds=arguments.minutes * 60,
        faults=arguments.faults,
        nodes=arguments.nodes,
        clients=arguments.clients,
        kinds=arguments.kinds,
        loopback=arguments.loopback,
        snapshot_entries=arguments.snapshot_entries,
        settings={"transport": arguments.transport},
    )
    keep = True
    try:
        report = _run(options)
        keep = arguments.keep or not report.passed
        return _print_report(report, arguments.json)
    except BraftError as error:
        Console(stderr=True).print(f"seed {seed}: {error}", style="red", markup=False)
        return 3
    except KeyboardInterrupt:
        Console(stderr=True).print(f"interrupted; seed {seed}, logs in {directory}", markup=False)
        return 130
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(options: Options) -> Report:
    with _progress(options.seed) as progress:
        return run(options, progress)


def _print_report(report: Report, path: Path | None) -> int:
    if path is not None:
        report.write_json(path)
    Console().print(report.render())
    return 0 if report.passed else 1


@contextmanager
def _progress(seed: int) -> Iterator[Callable[[str, float], None]]:
    """Show a progress bar on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    if not (console.is_terminal and sys.stderr.isatty()):
        yield lambda text, part: None
        return
    columns = (TextColumn(f"seed {seed}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console, transient=True) as p:
        task = p.add_task("starting", total=1.0)
        yield lambda text, part: p.update(task, description=text, completed=part)
