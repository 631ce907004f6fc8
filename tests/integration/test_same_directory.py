"""Nodes without port and directory settings, started in one working directory."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from braft_core import Node
from braft_core.errors import StorageLocked
from braft_core.identity import pick_ports
from braft_testing.processes import HOST, NODE_COMMAND, wait_for

#: They use the default ports, so they must not run at the same time.
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("default-ports")]


def test_a_directory_in_use_means_the_next_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = pick_ports(host=HOST).raft
    other = Node(discovery="none", ip=HOST, rport=0, data_dir=f"braft-data/{first}", http=False)
    with other, Node(discovery="none", ip=HOST, http=False) as node:
        port = int(node.address.rpartition(":")[2])
        assert port > first
        assert (tmp_path / "braft-data" / str(port)).is_dir()
        node.wait_ready(40)
        chosen = Node(discovery="none", ip=HOST, data_dir=f"braft-data/{first}", http=False)
        with pytest.raises(StorageLocked):
            chosen.start()


def test_two_that_start_at_the_same_moment_both_serve(tmp_path: Path) -> None:
    def ready() -> bool:
        ports = [int(path.name) for path in (tmp_path / "braft-data").iterdir()]
        urls = [f"http://{HOST}:{port + 2}/readyz" for port in ports]
        return len(urls) == 2 and all(httpx.get(url).status_code == 200 for url in urls)

    environment = {**os.environ, "BRAFT_DISCOVERY": "none", "BRAFT_IP": HOST}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    with ExitStack() as stack:
        processes = []
        for number in range(2):
            log = stack.enter_context((tmp_path / f"{number}.log").open("wb"))
            process = subprocess.Popen(
                NODE_COMMAND, cwd=tmp_path, env=environment, stdout=log, stderr=log
            )
            stack.callback(process.wait, 40)
            stack.callback(process.terminate)
            processes.append(process)

        def both_serve() -> bool:
            for number, process in enumerate(processes):
                assert process.poll() is None, (tmp_path / f"{number}.log").read_text()
            try:
                return ready()
            except (httpx.HTTPError, FileNotFoundError):
                return False

        wait_for(both_serve, 40)
