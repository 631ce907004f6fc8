"""The service in braft's conformance suite; routes and commands on a real cluster."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

import braft_counter
from braft_core import Rejected
from braft_core.abc import Service
from braft_counter.service import Counter
from braft_testing.memory_cluster import MemoryCluster
from braft_testing.plugins import check_plugin
from braft_testing.processes import ProcessCluster
from braft_testing.services import Call, ServiceConformance
from braft_testing.simulation import simulate_service


def test_braft_accepts_the_plugin() -> None:
    assert check_plugin(braft_counter).get("service", "counter") is Counter


class TestConformance(ServiceConformance):
    commands: ClassVar[list[Call]] = [
        ("add", ["a", 2]),
        ("add", ["b", 1]),
        ("add", ["a", -1]),
        ("add", ["b", -2]),
    ]
    queries: ClassVar[list[Call]] = [("get", ["a"]), ("get", ["c"]), ("every", [])]

    def make(self) -> Service:
        return Counter()


def operations(rng: random.Random) -> tuple[str, list[Any]]:
    """Draw the next operation of a client."""
    if rng.random() < 0.3:
        return rng.choice([("get", [rng.choice("abc")]), ("every", [])])
    return "add", [rng.choice("abc"), rng.randint(-3, 3)]


def never_below_zero(counter: Counter) -> bool:
    return all(value >= 0 for value in counter.every().values())


def test_whole_clusters_with_faults_find_nothing() -> None:
    simulate_service(Counter, operations, invariant=never_below_zero, seeds=range(5))


def test_nothing_is_lost_when_the_leader_dies(
    braft_memory_cluster: Callable[..., MemoryCluster],
) -> None:
    cluster = braft_memory_cluster(3, services=[Counter])
    counters = cluster.node(0).service(Counter)
    assert counters.add("a", 2) == 2
    with pytest.raises(Rejected, match="below zero"):
        counters.add("a", -3)
    cluster.kill(cluster.leader())
    assert cluster.node(cluster.leader()).service(Counter).add("a", 1) == 3


def test_a_step_over_http_is_bounded(
    braft_memory_cluster: Callable[..., MemoryCluster],
) -> None:
    """Needs the distribution to be installed: braft finds it by its entry point."""
    limited = {"counter": {"largest_step": 5}}
    cluster = braft_memory_cluster(1, services=[Counter], plugins=limited, http=True)
    place = f"http://{cluster.node(0).http_address}/plugins/counter"
    assert httpx.post(f"{place}/a", json={"add": 5}).json() == {"value": 5}
    refused = httpx.post(f"{place}/a", json={"add": 6})
    assert refused.status_code == 400
    assert "add=6; accepted: " in refused.json()["detail"]
    assert "at most 5 either way" in refused.json()["detail"]
    assert httpx.get(place).json() == {"a": 5}


def test_routes_and_commands_of_a_real_node(
    braft_process_cluster: Callable[..., ProcessCluster], tmp_path: Path
) -> None:
    """Needs the distribution to be installed: braft finds it by its entry point."""
    cluster = braft_process_cluster(1, expect=1, services="kv,counter")
    cluster.start()
    cluster.wait_ready()
    url = cluster.nodes[0].url

    def braft(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "braft_core", *words, "--url", url]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("BRAFT_")}
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
        )

    assert braft("counter", "add", "visits").stdout == "1\n"
    assert braft("counter", "add", "visits", "41").stdout == "42\n"
    assert braft("counter", "get", "visits").stdout == "42\n"
    refused = braft("counter", "add", "visits", "-43", "--")
    assert refused.returncode in (1, 2)
    too_much = braft("counter", "add", "visits", "2000000")
    assert too_much.returncode == 1
    assert "at most 1,000,000 either way" in too_much.stderr
    status = json.loads(braft("status", "--json").stdout)
    assert status["nodeNum"] == 1
