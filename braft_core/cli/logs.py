"""The log of ``braft run``: to standard error, or to standard output (``GOLOG_STDOUT``).

The library sets no log handlers; this program does. Extra fields of a record (``node``, ``term``,
``index`` …) follow the message as ``key=value``, or are further keys in JSON. A peer's text may be
logged, so control characters such as newline and ESC are escaped.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

from braft_core import strict_json
from braft_core.cli.damping import DampedHandler
from braft_core.escaping import printable, printable_lines

__all__ = ["ConsoleFormatter", "JSONFormatter", "set_up"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class ConsoleFormatter(logging.Formatter):
    """``2024-05-15T09:42:16.594+08:00 INFO braft_core.x: message key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and a traceback if there is one: indented, so that no line is forged."""
        when = datetime.fromtimestamp(record.created).astimezone()
        text = f"{when.isoformat(timespec='milliseconds')} {record.levelname} {record.name}: "
        text += printable(record.getMessage())
        # Leave out the node: the process runs only one, and ids are long.
        extras = (item for item in _extras(record).items() if item[0] != "node")
        text += "".join(f" {printable(f'{key}={value}')}" for key, value in extras)
        if record.exc_info:
            text += "\n" + _indented(self.formatException(record.exc_info))
        return text


class JSONFormatter(logging.Formatter):
    """One JSON object per line: ``time`` (UTC), ``level``, ``logger``, ``message``, the extras."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line in ASCII, since the stream may have any encoding."""
        when = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = _extras(record) | {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        # JSON escapes control characters, but a program that prints the parsed text does not.
        shown = {key: _printable(value) for key, value in line.items()}
        if record.exc_info:
            shown["exception"] = printable_lines(self.formatException(record.exc_info))
        return strict_json.dumps(shown, anything=True, ascii_only=True)


def set_up(level: str, form: str, *, stdout: bool = False) -> None:
    """Log everything from ``level`` on, as ``console`` text or ``json``.

    Repeated lines are limited (:mod:`braft_core.cli.damping`).

    :param stdout: write to standard output instead of standard error.
    """
    handler = DampedHandler(sys.stdout if stdout else sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())


def _indented(traceback: str) -> str:
    return "\n".join(f"  {line}" for line in printable_lines(traceback).split("\n"))


def _printable(value: Any) -> Any:
    """Return a value of a record to be written as JSON. Numbers and lists stay what they are."""
    if isinstance(value, bytes):
        return str(value)  # as Python shows them: readable, unlike base64
    return printable(value) if isinstance(value, str) else value


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}
