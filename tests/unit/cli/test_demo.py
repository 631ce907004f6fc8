"""The demo's verdict, its behaviour on errors, and (integration) the demo itself."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.cli.demo import Account, run_demo
from braft_core.cli.local_cluster import LocalCluster
from braft_core.errors import BraftError

ROOT = str(Path(__file__).parents[3])
SLEEPER = (sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)")


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, f"not within 40 s: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({"a": "1", "b": "2"}, 0),
        ({"a": "1", "b": "2", "u": "3"}, 0),  # the unknown write took place
        ({"a": "1"}, 1),  # lost
        ({"a": "1", "b": "9"}, 1),  # changed
        ({"a": "1", "b": "2", "u": "9"}, 1),  # not what was sent
        ({"a": "1", "b": "2", "x": "4"}, 1),  # invented
        ({}, 2),
    ],
)
def test_verdict(found: dict[str, str], wrong: int) -> None:
    account = Account(acknowledged={"a": "1", "b": "2"}, unknown={"u": "3"})
    account.compare("node-1", found)
    assert len(account.lost) == wrong
    assert account.as_json([])["ok"] is (wrong == 0)


keys = st.dictionaries(st.text(max_size=3), st.text(max_size=2), max_size=5)


@given(acknowledged=keys, unknown=keys, found=keys)
def test_a_clean_verdict_means_all_acknowledged_and_nothing_foreign(
    acknowledged: dict[str, str], unknown: dict[str, str], found: dict[str, str]
) -> None:
    account = Account(acknowledged=acknowledged, unknown=unknown)
    account.compare("node-1", found)
    all_there = acknowledged.items() <= found.items()
    nothing_foreign = found.items() <= acknowledged.items() | unknown.items()
    assert (not account.lost) == (all_there and nothing_foreign)


def test_nodes_have_ports_of_their_own_and_no_settings_of_the_caller(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("BRAFT_TOKEN", "secret-secret-secret")
    monkeypatch.setenv("BRP", "1")
    show = (sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))")
    with LocalCluster(tmp_path, command=show) as cluster:
        for node in cluster.nodes:
            cluster.start(node)
        ports = [p for n in cluster.nodes for p in (n.raft_port, n.discovery_port, n.http_port)]
        assert len(set(ports)) == 9
        first = cluster.nodes[0]
        wait_for(lambda: first.log.read_text().endswith("\n"), "the environment was printed")
        environment = json.loads(first.log.read_text())
    assert environment["BRAFT_RPORT"] == str(first.raft_port)
    assert environment["BRAFT_DISCOVERY"] == "static:" + ",".join(n.address for n in cluster.nodes)
    assert not {"BRAFT_TOKEN", "BRP"} & set(environment)


def test_leaving_ends_every_process_also_one_that_does_not_listen(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    command = (sys.executable, "-c", f"{deaf}; time.sleep(60)")
    with LocalCluster(tmp_path, 2, command, stop_seconds=0.2) as cluster:
        pids = [cluster.start(node) for node in cluster.nodes]
        wait_for(lambda: all(n.log.read_text() for n in cluster.nodes), "both run")
        assert cluster.kill(cluster.nodes[0]) == pids[0]
    assert not any(alive(pid) for pid in pids)


def test_a_node_that_ends_is_named_and_its_log_shown(tmp_path: Path, capsys: Any) -> None:
    said: list[str] = []
    with pytest.raises(BraftError, match=r"node-\d ended with exit code 7"):
        run_demo(
            tmp_path,
            3,
            said.append,
            (sys.executable, "-c", "print('no disk'); raise SystemExit(7)"),
        )
    shown = capsys.readouterr().err
    assert "no disk" in shown
    assert str(tmp_path / "node-1" / "node.log") in shown
    assert said[0].startswith("started node-1")


def test_an_interrupt_while_a_node_starts_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt comes after the process has started and before its id is stored."""
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def interrupted(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(real(*args, **options))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), LocalCluster(tmp_path, 1, SLEEPER) as cluster:
            cluster.start(cluster.nodes[0])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert not alive(started[0].pid)
    finally:
        signal.signal(signal.SIGINT, before)
        started[0].kill()
        started[0].wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path, number: int) -> None:
    # As from a terminal: a background job of a shell starts with SIGINT ignored.
    code = (
        "import pathlib, signal; from braft_core.cli.demo import run_demo\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"run_demo(pathlib.Path({str(tmp_path)!r}), 3, lambda line: None, {SLEEPER!r})"
    )
    story = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    logs = [tmp_path / f"node-{n}" / "node.log" for n in (1, 2, 3)]
    wait_for(lambda: all(log.exists() and log.read_text() for log in logs), "all nodes run")
    pids = [int(log.read_text()) for log in logs]
    assert all(alive(pid) for pid in pids)
    story.send_signal(number)
    _, errors = story.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert not any(alive(pid) for pid in pids)


def test_without_a_temporary_folder_the_demo_says_what_to_set(braft: Any, monkeypatch: Any) -> None:
    def no_folder(**_: Any) -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", no_folder)
    result = braft("demo")
    assert result.exit_code == 2
    assert "No usable temporary directory found; accepted: a TMPDIR" in result.stderr


def test_without_static_discovery_the_demo_says_what_to_install(
    braft: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("BRAFT_PLUGINS_DISABLE", "static,braft-static")
    result = braft("demo")
    assert result.exit_code == 2
    assert "static" in result.stderr
    assert "braft-static" in result.stderr or "disabled" in result.stderr


@pytest.mark.integration
@pytest.mark.optional
def test_the_demo_loses_nothing() -> None:
    if not importlib.metadata.entry_points(group="braft", name="static"):
        pytest.skip("braft-static is not installed here")
    run = subprocess.run(
        [sys.executable, "-m", "braft_core", "demo", "--writes", "30", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    account = json.loads(run.stdout)
    assert account["ok"]
    assert account["acknowledged"] == 61
    assert account["lost"] == []
    assert account["new_leader"] not in ("", account["killed"])
    assert account["failover_seconds"] < 15
