"""``braft doctor`` as a person runs it, on healthy and on broken nodes."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from braft_testing.processes import ProcessCluster, free_ports

pytestmark = pytest.mark.integration


def doctor(*args: str, env: dict[str, str] | None = None, cwd: Path) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "braft_core", "doctor", "--json", *args]
    done = subprocess.run(
        command, env=env or dict(os.environ), cwd=cwd, capture_output=True, text=True, timeout=60
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def findings(report: dict[str, Any], level: str) -> dict[str, str]:
    return {f["subject"]: f["message"] for f in report["findings"] if f["level"] == level}


def test_a_cluster_well_and_without_its_majority(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, autopilot="off") as cluster:
        cluster.start()
        cluster.wait_ready()
        url = cluster.nodes[0].url
        code, report = doctor("--url", url, cwd=tmp_path)
        assert (code, report["answered"], findings(report, "fail")) == (0, True, {})
        cluster.kill(1, 2)
        cluster.wait_for(lambda: not cluster.client(0).ready()[0], what="there is no majority")
        code, report = doctor("--url", url, cwd=tmp_path)
        assert code == 1
        wrong = findings(report, "fail")
        for gone in (1, 2):
            assert cluster.nodes[gone].address in wrong["majority"]
        assert "tolerates 1" in wrong["service"]
        # With checks of the machine: it recognises the node that runs there and spares its data.
        environment = cluster.environment(0)
        code, report = doctor("--url", url, "--local", env=environment, cwd=tmp_path)
        assert f"in use by process {cluster.pid(0)}" in findings(report, "ok")["data"]
        assert "sync" not in {finding["subject"] for finding in report["findings"]}


def test_nobody_answers(tmp_path: Path) -> None:
    ports = free_ports(3)
    names = ("BRAFT_RPORT", "BRAFT_DPORT", "BRAFT_HPORT")
    env = os.environ | dict(zip(names, map(str, ports), strict=True))
    code, report = doctor(env=env, cwd=tmp_path)
    assert (code, report["answered"], findings(report, "fail")) == (3, False, {})
    assert {"settings", "address", "data", "space", "sync", "ports", "plugins", "discovery"} <= {
        finding["subject"] for finding in report["findings"]
    }
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


def test_what_is_wrong_here_is_named(tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        cluster.client(0).kv_put("m", "k", "v")
        cluster.stop(0)
        environment = cluster.environment(0)
    database = cluster.nodes[0].data / "raft.db"
    _, report = doctor(env=environment, cwd=tmp_path)
    assert "all checksums are correct" in findings(report, "ok")["data"]
    with sqlite3.connect(database) as db:
        db.execute("UPDATE log SET entries = x'00'")
    db.close()
    code, report = doctor(env=environment, cwd=tmp_path)
    assert code == 1
    assert re.search(r"log entr(y|ies) 1 .*checksum", findings(report, "fail")["data"])
    code, report = doctor(env=environment | {"BRAFT_RPORT": "x"}, cwd=tmp_path)
    assert code == 1
    assert "BRAFT_RPORT='x'" in findings(report, "fail")["settings"]
    code, report = doctor(env=environment | {"BRAFT_DISCOVERY": "smoke:signals"}, cwd=tmp_path)
    assert code == 1
    assert "smoke" in findings(report, "fail")["plugins"]
    # Options of a plugin that is not in use: a start rejects them as well.
    code, report = doctor(env=environment | {"BRAFT_K8S_RESYNC": "soon"}, cwd=tmp_path)
    assert code == 1
    assert "BRAFT_K8S_RESYNC='soon'" in findings(report, "fail")["plugins"]
    _, report = doctor(env=environment | {"BRAFT_K8S_RESINC": "9s"}, cwd=tmp_path)
    assert "BRAFT_K8S_RESINC" in findings(report, "warn")["plugins"]


def test_status_says_why_and_its_watch_ends_on_request(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, autopilot="off") as cluster:
        cluster.start()
        cluster.wait_ready()
        cluster.client(0).kv_put("m", "k", 1)
        command = [sys.executable, "-m", "braft_core", "status", "--url", cluster.nodes[0].url]
        with subprocess.Popen(
            [*command, "--watch", "--interval", "0.1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as watching:
            assert watching.stdout is not None
            first = [watching.stdout.readline() for _ in range(6)]
            watching.send_signal(signal.SIGINT)
            _, complaint = watching.communicate(timeout=30)
        assert first[2].split()[:4] == ["ADDRESS", "STATE", "APPLIED", "BEHIND"]
        assert "Traceback" not in complaint
        assert watching.returncode in (0, 1, 130)
        cluster.kill(1, 2)
        cluster.wait_for(lambda: not cluster.client(0).ready()[0], what="there is no majority")

        def reason() -> str:
            shown = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
            told = [line for line in shown.splitlines() if line.startswith("not served: ")]
            # A member that was heard less than three seconds ago is not reported as missing yet.
            return next((why for why in told if "2 of 3 voters do not answer" in why), "")

        why = cluster.wait_for(reason, what="both are missed")
        for gone in (1, 2):
            assert cluster.nodes[gone].address in why
