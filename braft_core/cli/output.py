"""The output of commands: text for people, JSON for programs, exit codes for scripts.

Results go to stdout, errors to stderr. With ``--json`` stdout is exactly one JSON value (one
per line where a command goes on), also when the command fails: ``{"error": {"code", "message",
"data"}}``.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any, ParamSpec, TypeVar

import typer

from braft_core import strict_json
from braft_core.errors import (
    BraftError,
    ConfigError,
    InvalidArgument,
    OutcomeUnknown,
    PluginError,
    Unreachable,
)
from braft_core.escaping import printable, printable_lines

__all__ = [
    "Exit",
    "echo",
    "echo_lines",
    "emit",
    "exit_code",
    "fail",
    "paragraph",
    "print_json",
    "reports_errors",
    "table",
    "terminal_width",
]

_GAP = "  "
#: Columns that are narrower are not wrapped.
_NARROWEST = 20

P = ParamSpec("P")
R = TypeVar("R")


class Exit(IntEnum):
    """Exit codes, a contract with scripts."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NO_ANSWER = 3


def exit_code(error: BraftError) -> Exit:
    """Return the exit code for an error."""
    if isinstance(error, Unreachable | OutcomeUnknown):
        return Exit.NO_ANSWER
    wrong = isinstance(error, ConfigError | PluginError | InvalidArgument)
    if wrong or error.data.get("status") == 400:
        return Exit.USAGE
    return Exit.REFUSED


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Make a command report braft's errors as a message (or JSON) and an exit code."""

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
    """Print lines for people. Characters that could forge lines or drive a terminal are escaped."""
    for line in lines or ("",):
        typer.echo("\t".join(map(printable, line.split("\t"))), err=err)


def echo_lines(lines: Iterable[str]) -> None:
    """Print lines for people, nothing if there are none."""
    for line in lines:
        echo(line)


def print_json(value: Any) -> None:
    """Print one line of JSON. Bytes are base64; what is not printable is escaped as JSON has it."""
    text = _escaped(strict_json.dumps(value, anything=True))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = strict_json.dumps(value, anything=True, ascii_only=True)
    typer.echo(text)


def _escaped(text: str) -> str:
    """Escape what JSON may hold and a terminal must not see, such as bidirectional overrides."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else json.dumps(char, ensure_ascii=True)[1:-1] for char in text
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings, aligned; on a terminal the widest column is wrapped to fit."""
    lines = [list(columns), *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widest = widths.index(max(widths))
    room = terminal_width() - sum(widths) - len(_GAP) * (len(widths) - 1) + widths[widest]
    if room >= _NARROWEST:
        widths[widest] = min(widths[widest], room)
    for number, line in enumerate(lines):
        for text in _aligned(line, widths):
            typer.echo(typer.style(text, bold=True) if number == 0 else text)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yield the lines of one row: several, if a cell is wider than its column."""
    wrapped = [
        textwrap.wrap(cell, width, break_on_hyphens=False) if len(cell) > width else [cell]
        for cell, width in zip(cells, widths, strict=True)
    ]
    for parts in itertools.zip_longest(*wrapped, fillvalue=""):
        padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
        yield _GAP.join(padded).rstrip()


def paragraph(text: str, first: str = "", rest: str | None = None, width: int = 0) -> None:
    """Print one text for people, wrapped to the width of a terminal.

    :param first: what stands before the first line.
    :param rest: what stands before the other lines; as many blanks by default.
    :param width: where to wrap if the output is no terminal; 0: nowhere.
    """
    first = printable(first)
    indent = " " * len(first) if rest is None else rest
    typer.echo(_wrap(printable(text), terminal_width() or width, first, indent))


def terminal_width() -> int:
    """Return the columns of the terminal that reads the output, 0 if none does."""
    if sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    named = os.environ.get("COLUMNS", "")
    return int(named) if named.isdecimal() else 0


def _wrap(text: str, width: int, first: str = "", rest: str = "") -> str:
    if not width or width - len(rest) < _NARROWEST:
        return first + text
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
