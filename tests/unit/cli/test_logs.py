"""A node's log as text and as JSON."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from braft_core.cli.logs import ConsoleFormatter, JSONFormatter, set_up
from braft_core.config import Settings


def record(**extras: Any) -> logging.LogRecord:
    made = logging.LogRecord("braft_core.x", logging.WARNING, "f.py", 1, "lost %s", ("b",), None)
    made.created = 1715737336.594
    vars(made).update(extras)
    return made


def test_console_has_one_line_with_extras_but_not_the_node() -> None:
    line = ConsoleFormatter().format(record(term=7, node="long-id"))
    assert line.endswith("WARNING braft_core.x: lost b term=7")
    assert line.startswith("2024-05-1")


def test_json_has_fixed_keys_and_the_extras() -> None:
    assert json.loads(JSONFormatter().format(record(term=7, node="id", raw=b"x"))) == {
        "time": "2024-05-15T01:42:16.594+00:00",
        "level": "warning",
        "logger": "braft_core.x",
        "message": "lost b",
        "term": 7,
        "node": "id",
        "raw": "b'x'",
    }


@pytest.mark.parametrize("formatter", [ConsoleFormatter(), JSONFormatter()])
def test_a_traceback_is_kept(formatter: logging.Formatter) -> None:
    made = record()
    try:
        raise ValueError("inner")
    except ValueError as error:
        made.exc_info = (ValueError, error, error.__traceback__)
    text = formatter.format(made)
    assert "ValueError: inner" in text
    if isinstance(formatter, JSONFormatter):
        assert "\n" not in text


def test_level_and_format_are_those_that_were_set(monkeypatch: Any) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    set_up("warning", "json")
    logging.getLogger("braft_core.x").info("quiet")
    logging.getLogger("braft_core.x").warning("loud")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["loud"]


@pytest.mark.parametrize(("variable", "stream"), [("true", "out"), ("false", "err"), ("", "err")])
def test_golog_stdout_chooses_the_stream(variable: str, stream: str, capsys: Any) -> None:
    environ = {"GOLOG_STDOUT": variable} if variable else {}
    settings = Settings.load(environ=environ)
    set_up(settings.log, settings.log_format, stdout=settings.log_stdout)
    logging.getLogger("braft_core.x").warning("loud")
    written = capsys.readouterr()
    assert "loud" in getattr(written, stream)
    assert (written.out + written.err).count("loud") == 1
