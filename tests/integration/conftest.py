"""Nodes for the tests of whole nodes: in this process, or in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from braft_core import Node
from braft_core.testing.processes import HOST, free_ports, wait_for


class MakeNodes(Protocol):
    def __call__(self, count: int, *, start: bool = True, **settings: Any) -> list[Node]: ...


@pytest.fixture
def make_nodes(tmp_path: Path) -> Iterator[MakeNodes]:
    """Return ``make(n, **settings)``: n nodes of this process that found a cluster together.

    They are ready to serve, unless ``start=False``. A setting that is callable is called with the
    number of the node. All are stopped at the end of the test.
    """
    with ExitStack() as stack:
        made = 0

        def make(count: int, *, start: bool = True, **settings: Any) -> list[Node]:
            nonlocal made
            ports = iter(free_ports(3 * count))
            triples = list(zip(ports, ports, ports, strict=True))
            contacts = ",".join(f"{HOST}:{raft}" for raft, _, _ in triples)
            nodes = []
            for number, (raft, discovery, http) in enumerate(triples):
                chosen: dict[str, Any] = {
                    "discovery": f"static:{contacts}",
                    "ip": HOST,
                    "rport": raft,
                    "dport": discovery,
                    "hport": http,
                    "data_dir": str(tmp_path / f"node-{made}"),
                }
                made += 1
                own = {k: v(number) if callable(v) else v for k, v in settings.items()}
                nodes.append(Node(**{**chosen, **own}))
            for node in nodes if start else ():
                node.start()
                stack.callback(node.stop)
            for node in nodes if start else ():
                node.wait_ready(40)
            return nodes

        yield make


@pytest.fixture
def leader_of() -> Callable[[list[Node]], Node]:
    """Return a function that names the node which leads, once all of them say so."""

    def find(nodes: list[Node]) -> Node:
        def agreed() -> list[Node]:
            named = {node.leader[0] for node in nodes}
            return [node for node in nodes if named == {node.server_id}]

        return wait_for(agreed, what="all nodes name one leader")[0]

    return find


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Return ``install(module, source)``: what pip leaves behind, on this process's path.

    The result is the folder, for the path of other processes.
    """

    def install(module: str, source: str) -> Path:
        site = tmp_path / f"site-{module}"
        info = site / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[braft]\n{module} = {module}\n")
        monkeypatch.syspath_prepend(site)
        return site

    return install
