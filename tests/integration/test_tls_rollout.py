"""TLS is introduced node by node, from plaintext to ``require``, while the cluster serves."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from braft_core.client import Client
from braft_core.errors import BraftError
from braft_core.tls.issuing import Names, make_authority, make_certificate
from braft_core.transport.reachability import first_byte, is_tls_record
from braft_testing.processes import PATIENCE, ProcessCluster, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: A node that restarts on a busy machine is away for seconds. One that the others cannot talk to
#: stays away: it is removed, or never ready.
RULES = {"leader_steady": "1s", "dead_after": "15s"}


class Load:
    """Writes one key after the other, through nodes that are not being restarted."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.written = 0
        self.failures: list[str] = []
        self._through = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)

    def use(self, client: Client) -> None:
        """Write only through the nodes of this client from now on."""
        with self._through:
            self.client = client

    def _run(self) -> None:
        while not self._over.is_set():
            with self._through:
                if self.client is None:
                    continue
                try:
                    self.client.kv_put("load", f"{self.written:06}", self.written)
                except BraftError as error:
                    self.failures.append(repr(error))
                else:
                    self.written += 1
            self._over.wait(0.01)


def certificates(folder: Path, count: int) -> list[dict[str, Any]]:
    """Return TLS settings for each node. The certificates hold a name and no address."""
    ca = make_authority(folder, "rollout", 10)
    found = []
    for number in range(count):
        names = Names(dns=("braft-peer",))
        made = make_certificate(folder, f"n{number}", ca.cert, ca.key, names, 5)
        found.append(
            {
                "tls_ca": ca.cert,
                "tls_cert": made.cert,
                "tls_key": made.key,
                "tls_server_name": "braft-peer",
            }
        )
    return found


@pytest.mark.parametrize("transport", ["grpc", "tcp"])
def test_tls_comes_node_by_node_with_no_failed_write_and_nobody_removed(
    transport: str, tmp_path: Path
) -> None:
    if transport == "tcp":
        pytest.importorskip("braft_tcp")
    files = certificates(tmp_path / "tls", 3)
    with ProcessCluster(3, tmp_path / "nodes", transport=transport, **RULES) as cluster:
        cluster.start()
        cluster.wait_ready()
        everybody = {node.address for node in cluster.nodes}

        def voters() -> set[str]:
            members = cluster.client(0, 1, 2).members()
            return {m.address for m in members if m.suffrage == "Voter"}

        with Load() as load:
            for mode in ("prefer", "require"):
                for index in range(3):
                    others = [number for number in range(3) if number != index]
                    load.use(cluster.client(*others))
                    cluster.restart(index, **files[index], tls=mode)
                    cluster.wait_ready(0, 1, 2)
                    before = load.written
                    wait_for(lambda n=before: load.written > n + 20, what="writes go on")  # type: ignore[misc]
                    assert voters() == everybody, (mode, index)
                    status = cluster.client(0, 1, 2).status()
                    assert not status["autopilot"]["removed"], (mode, index)
        assert load.failures == []
        reader = cluster.client(0, 1, 2)
        assert reader.kv_list("load") == {f"{n:06}": n for n in range(load.written)}
        for node in cluster.nodes:
            accepted, first = asyncio.run(first_byte(node.address, 10))
            assert accepted
            assert is_tls_record(first)
