"""How commands speak: text for people, JSON for programs, exit codes for scripts.

Results go to stdout, complaints to stderr. With ``--json`` stdout is exactly one JSON value (one
per line where a command goes on), also when the command fails: ``{"error": {"code", "message",
"data"}}``.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, ParamSpec, TypeVar

import typer

from braft_core import jsontext
from braft_core.errors import (
    BraftError,
    ConfigError,
    OutcomeUnknown,
    PluginError,
    Unreachable,
)
from braft_core.escaping import printable, printable_lines

__all__ = ["Exit", "echo", "emit", "exit_code", "fail", "print_json", "reports_errors", "table"]

P = ParamSpec("P")
R = TypeVar("R")


class Exit(IntEnum):
    """Exit codes, a contract with scripts."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NO_ANSWER = 3


def exit_code(error: BraftError) -> Exit:
    """Which of the codes an error ends in."""
    if isinstance(error, Unreachable | OutcomeUnknown):
        return Exit.NO_ANSWER
    if isinstance(error, ConfigError | PluginError) or error.data.get("status") == 400:
        return Exit.USAGE
    return Exit.REFUSED


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose braft errors become a sentence (or JSON) and an exit code."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except BraftError as error:
            raise fail(error, as_json=bool(kwargs.get("as_json"))) from error

    return guarded


def fail(error: BraftError, *, as_json: bool) -> typer.Exit:
    """Report an error; the caller raises what this returns."""
    if as_json:
        facts = {"code": error.code, "message": error.message, "data": error.data}
        print_json({"error": facts})
    else:
        typer.secho(printable_lines(error.message), err=True, fg=typer.colors.RED)
    return typer.Exit(exit_code(error))


def emit(as_json: bool, value: Any, human: Callable[[], None]) -> None:
    """Show a result: as JSON, or the way ``human`` does."""
    if as_json:
        print_json(value)
    else:
        human()


def echo(*lines: str, err: bool = False) -> None:
    """Print lines for people. No character of others' in them makes a line or drives a terminal."""
    for line in lines or ("",):
        typer.echo("\t".join(map(printable, line.split("\t"))), err=err)


def print_json(value: Any) -> None:
    """One line of JSON. Bytes are base64; what is not printable is escaped as JSON has it."""
    text = _escaped(jsontext.dumps(value, anything=True))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = jsontext.dumps(value, anything=True, ascii_only=True)
    typer.echo(text)


def _escaped(text: str) -> str:
    """Return JSON with what JSON may hold and a terminal must not: bidirectional overrides."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else json.dumps(char, ensure_ascii=True)[1:-1] for char in text
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headings: a Rich table on a terminal, aligned plain columns elsewhere."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _rich_table(columns, cells)
        return
    lines = [list(columns), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(escape(cell) for cell in row))
    Console().print(shown)
