"""Values from standard input and to standard output, exactly."""

from __future__ import annotations

import sys

import typer

from braft_core.errors import ConfigError
from braft_core.escaping import printable_lines

__all__ = ["print_text", "standard_input"]


def standard_input() -> bytes:
    """Return all of standard input. :raises ConfigError: it cannot be read."""
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise ConfigError(f"standard input cannot be read: {error.strerror}") from error


def print_text(value: str) -> None:
    """Print a text value unchanged; in UTF-8 if the terminal's encoding cannot represent it.

    On a terminal control characters are escaped, since any client may have written the value.
    """
    if sys.stdout.isatty():
        value = printable_lines(value)
    try:
        value.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        sys.stdout.flush()
        sys.stdout.buffer.write(value.encode() + b"\n")
    else:
        typer.echo(value)
