"""The cautions that ``braft plugins`` and ``braft config`` print about this transport."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from braft_core.cli import app


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("command", ["plugins", "config"])
def test_what_is_missing_is_said_where_the_transport_is_chosen(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAFT_TRANSPORT", "tcp")
    result = run(command)
    assert result.exit_code == 0, result.output
    assert "transport tcp: every node of the cluster has to use it" in result.output
    assert "no gRPC is answered" in json.loads(run(command, "--json").output)["cautions"][0]


@pytest.mark.parametrize("command", ["plugins", "config"])
def test_nothing_is_said_about_one_that_lacks_nothing(command: str) -> None:
    assert json.loads(run(command, "--json").output)["cautions"] == []


def test_plugins_lists_it_as_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAFT_TRANSPORT", "tcp")
    rows = json.loads(run("plugins", "--json").output)["plugins"]
    found = {row["name"]: (row["distribution"], row["in_use"]) for row in rows}
    assert found["tcp"] == ("braft-tcp", True)
    assert found["grpc"] == ("braft-core", False)
