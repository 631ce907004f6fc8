"""Fixtures for tests of whole nodes, in this process or in child processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from braft_core import Node
from braft_core.runtime.timing import Timing
from braft_testing.faults import Ability, survey_loopback
from braft_testing.faults.interposing import Interposer, build_library
from braft_testing.internals import with_timing
from braft_testing.processes import HOST, ProcessCluster, free_ports, wait_for


class MakeNodes(Protocol):
    def __call__(self, count: int, *, start: bool = True, **settings: Any) -> list[Node]: ...


@pytest.fixture
def make_nodes(tmp_path: Path) -> Iterator[MakeNodes]:
    """Return ``make(n, **settings)``: n nodes of this process that form a cluster.

    They are ready to serve, unless ``start=False``. A setting that is callable is called with the
    number of the node; ``timing`` is for all. All are stopped at the end of the test.
    """
    with ExitStack() as stack:
        made = 0

        def make(count: int, *, start: bool = True, **settings: Any) -> list[Node]:
            nonlocal made
            timing = settings.pop("timing", Timing())
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
                nodes.append(with_timing(Node(**{**chosen, **own}), timing))
            for node in nodes if start else ():
                node.start()
                stack.callback(node.stop)
            for node in nodes if start else ():
                node.wait_ready(40)
            return nodes

        yield make


class Interposed(ProcessCluster):
    """Nodes whose C library is interposed, so that a test controls their clocks and syncs."""

    def __init__(self, size: int, data_dir: Path, **settings: Any) -> None:
        library = build_library(data_dir)
        self.interposers = [Interposer(library, data_dir / f"faults-{i}") for i in range(size)]
        super().__init__(size, data_dir, **settings)

    def environment(self, index: int, **settings: object) -> dict[str, str]:
        """See the base class."""
        interposed = self.interposers[index].environment
        return {**super().environment(index, **settings), **interposed}

    @contextmanager
    def suspended(self, index: int) -> Iterator[Callable[[], None]]:
        """Suspend the machine of that node: ``CLOCK_MONOTONIC`` stands still, too.

        Yield a function that resumes it.
        """
        self.pause(index)
        began = time.monotonic()

        def wake() -> None:
            self.interposers[index].suspended(time.monotonic() - began)
            self.resume(index)

        yield wake


@pytest.fixture
def interposed(tmp_path: Path) -> Callable[..., Interposed]:
    """Return ``interposed(size, **settings)``, a cluster that can be suspended and slowed down."""
    if (reason := survey_loopback().get(Ability.INTERPOSE)) is not None:
        pytest.skip(reason)
    return lambda size, **settings: Interposed(size, tmp_path, **settings)


@pytest.fixture
def leader_of() -> Callable[[list[Node]], Node]:
    """Return a function that waits until all nodes name one leader, and returns it."""

    def find(nodes: list[Node]) -> Node:
        def agreed() -> list[Node]:
            named = {(node.leader or ("", ""))[0] for node in nodes}
            return [node for node in nodes if named == {node.server_id}]

        return wait_for(agreed, what="all nodes name one leader")[0]

    return find


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Return ``install(module, source)``: install a plugin on this process's path, as pip would.

    Its result is the folder, for the path of other processes.
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
