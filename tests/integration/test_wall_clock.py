"""A node whose wall clock is wrong by decades, as on a board without a battery."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from braft_core.client import Client
from braft_core.local_nodes import free_ports
from braft_testing.faults.interposing import Interposer, build_library
from braft_testing.faults.machine import FaultKitError
from braft_testing.processes import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.optional]

ROOT = Path(__file__).parents[2]


def _ready_of(client: Client) -> Callable[[], bool]:
    return lambda: client.ready()[0]


@pytest.mark.parametrize("year", [1970, 2013, 2151, 2225])
def test_a_node_starts_serves_and_restarts_in_any_year(tmp_path: Path, year: int) -> None:
    try:
        clock = Interposer(build_library(tmp_path), tmp_path / "clock")
    except FaultKitError as error:
        pytest.skip(str(error))
    clock.set_wall_clock(datetime(year, 1, 2, tzinfo=UTC).timestamp() - time.time())
    ports = free_ports(3)
    chosen = "--rport {} --dport {} --hport {}".format(*ports).split()
    alone = ["--ip", "127.0.0.1", "--discovery", "none", "--data-dir", str(tmp_path / "data")]
    said = tmp_path / "log"
    for stored in (None, "v"):
        with said.open("w") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "braft_core",
                    "run",
                    *chosen,
                    *alone,
                    "--log-format",
                    "json",
                ],
                cwd=ROOT,
                env={**os.environ, **clock.environment},
                stderr=log,
                stdout=subprocess.DEVNULL,
            )
        try:
            with Client([f"127.0.0.1:{ports[2]}"]) as client:
                wait_for(_ready_of(client), 90)
                assert client.kv_get("m", "k") == stored
                client.kv_put("m", "k", "v")
                (node,) = client.status()["nodes"]
                assert node["startTime"].startswith(f"{year}-01-0")
                client.take_snapshot()
        finally:
            process.terminate()
            assert process.wait(60) == 0, said.read_text()
        lines = [json.loads(line) for line in said.read_text().splitlines()]
        assert {line["time"][:4] for line in lines} == {str(year)}
        assert [line for line in lines if line["level"] in ("error", "critical")] == []
