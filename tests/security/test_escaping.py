"""Control characters in names reach neither the log nor the terminal."""

from __future__ import annotations

import http.server
import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from braft_core.cli import app
from braft_core.cli.logs import ConsoleFormatter, JSONFormatter

#: ESC, a newline with a forged line, a bell, C1, a bidirectional override, Rich's markup.
HOSTILE = "n\x1b[2J\n2026-01-01 INFO forged\x07\x9b31m\u202ecod\u2066 [bold red]x[/] [link=http://e]y[/link]"
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\u2028\u2029]")


@pytest.fixture
def hostile_url() -> Iterator[str]:
    """Run a server whose every answer names members, errors and notes as an attacker would."""
    # The client accepts only known words as suffrage.
    member = {"id": HOSTILE, "address": HOSTILE, "suffrage": "Voter", "leader": False}
    node = {"address": HOSTILE, "raftState": HOSTILE, "leader": HOSTILE, "error": HOSTILE}
    view = {
        "leaderAddr": HOSTILE,
        "leaderID": HOSTILE,
        "nodeNum": 1,
        "discovery": HOSTILE,
        "waiting": HOSTILE,
        "nodes": [node | {"serverID": HOSTILE, "notes": {HOSTILE: HOSTILE}}],
        "autopilot": {
            "silent": {HOSTILE: 3.0},
            "reason": HOSTILE,
            "removed": [member | {"reason": HOSTILE}],
        },
    }
    problem = {"title": HOSTILE, "status": 409, "detail": HOSTILE, "code": "conflict", "data": {}}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {
                "/raft": view,
                "/v1/members": {"members": [member]},
                "/v1/kv": {"maps": [HOSTILE]},
            }
            answer = answers.get(self.path.partition("?")[0])
            body = json.dumps(problem if answer is None else answer).encode()
            kind = "application/problem+json" if answer is None else "application/json"
            self.send_response(409 if answer is None else 200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    "words",
    [
        ["members", "list"],
        ["members", "list", "--json"],
        ["status"],
        ["status", "--json"],
        ["kv", "list"],
        ["kv", "list", "--json"],
        ["leader", "show"],
        ["kv", "get", "m", "k"],
        ["kv", "get", "m", "k", "--json"],
    ],
)
def test_no_command_prints_what_drives_a_terminal(hostile_url: str, words: list[str]) -> None:
    result = CliRunner().invoke(app, [*words, "--url", hostile_url])
    assert result.output.strip()
    assert not FORBIDDEN.search(result.output)
    assert not any(line.startswith("2026-01-01") for line in result.output.splitlines())
    if "--json" in words:
        assert json.loads(result.stdout)


def test_json_output_says_what_the_server_said(hostile_url: str) -> None:
    """JSON escapes keep the exact text for programs."""
    result = CliRunner().invoke(app, ["members", "list", "--json", "--url", hostile_url])
    assert json.loads(result.stdout)["members"][0]["id"] == HOSTILE


class Terminal(io.StringIO):
    """A standard output that claims to be a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_table_on_a_terminal_interprets_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    from braft_core.cli.output import table

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")
    table(["NAME"], [[HOSTILE]])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())  # Rich's own styles
    assert not FORBIDDEN.search(shown)
    assert "[bold red]x[/]" in shown
    assert r"n\x1b[2J\n2026" in shown


def _record(message: str, *args: object, **extras: Any) -> logging.LogRecord:
    record = logging.LogRecord("braft_core.x", logging.WARNING, __file__, 1, message, args, None)
    vars(record).update(extras)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        record.exc_info = sys.exc_info()
    return record


def test_log_lines_cannot_be_forged() -> None:
    text = ConsoleFormatter().format(_record("node %s joins", HOSTILE, address=HOSTILE))
    assert not FORBIDDEN.search(text)
    first, *traceback = text.split("\n")
    assert r"node n\x1b[2J\n2026-01-01 INFO forged" in first
    assert r"address=n\x1b[2J" in first
    assert traceback
    assert all(line.startswith("  ") for line in traceback)


def test_json_logs_are_one_line_and_hold_nothing_that_drives_a_terminal() -> None:
    text = JSONFormatter().format(_record("node %s joins", HOSTILE, address=HOSTILE, raw=b"\x1b"))
    assert text.isascii()
    assert text.isprintable()
    assert "\n" not in text
    for value in json.loads(text).values():
        assert not FORBIDDEN.search(str(value))


def test_every_command_prints_through_the_module_that_escapes() -> None:
    """Each new ``print`` is a risk; the few that remain are listed with what they print."""
    folder = Path(sys.modules["braft_core.cli"].__file__ or "").parent
    # docs.py prints files of this package.
    allowed = {"output.py": 5, "streams.py": 1, "status.py": 1, "demo.py": 1, "docs.py": 2}
    prints = re.compile(r"\b(?:typer\.s?echo|typer\.secho|print)\(")
    found = {
        path.name: len(prints.findall(path.read_text())) for path in sorted(folder.rglob("*.py"))
    }
    beyond = {name: n for name, n in found.items() if n > allowed.get(name, 0)}
    assert not beyond
