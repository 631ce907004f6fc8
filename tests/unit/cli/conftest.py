"""The command line in this process, against a real HTTP server with the HTTP tests' fake node."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from braft_core.cli import app
from braft_core.http import HTTPServer


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BRAFT_URL", "BRAFT_TOKEN", "BRAFT_HPORT", "BHP", "BRAFT_CONFIG", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Restore logging: the handlers of a command write to streams that end with the test."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = [each for each in root.handlers if each in handlers]


@pytest.fixture
def node(fake_node_class: Any) -> Iterator[Any]:
    made = fake_node_class()
    yield made
    made.close()


@pytest.fixture
def url(node: Any) -> Iterator[str]:
    server = HTTPServer(node, "127.0.0.1", 0)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture
def dead_url() -> Iterator[str]:
    """Reserve a port that refuses connections: bound, but not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def braft() -> Callable[..., Result]:
    """Run ``braft`` with these words."""

    def run(*words: str, **options: Any) -> Result:
        return CliRunner().invoke(app, list(words), **options)

    return run


@pytest.fixture
def braft_json(braft: Callable[..., Result]) -> Callable[..., Any]:
    """Run ``braft … --json``, which must succeed and print exactly one JSON value."""

    def run(*words: str) -> Any:
        result = braft(*words, "--json")
        assert result.exit_code == 0, result.output
        assert result.stdout.count("\n") == 1
        return json.loads(result.stdout)

    return run
