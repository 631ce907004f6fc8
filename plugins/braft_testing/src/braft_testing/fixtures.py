"""Pytest fixtures: in-memory clusters, process clusters, and faults.

pytest finds them by the entry point of this distribution.

| fixture | call it with | it returns |
|---|---|---|
| ``braft_memory_cluster`` | ``(size, services=..., **settings)`` | a started ``MemoryCluster`` |
| ``braft_process_cluster`` | ``(size, **settings)`` | a ``ProcessCluster``, not started |
| ``braft_faults`` | ``(size, needs=(...), **settings)`` | an ``Injector`` with a cluster |

Each may be called several times in a test; everything is stopped when the test ends. The simulator
for your own service is a function: :mod:`braft_testing.simulation`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Fixtures import their modules when used: other sessions do not pay for the import.
if TYPE_CHECKING:
    from braft_testing.faults import Injector
    from braft_testing.memory_cluster import MemoryCluster
    from braft_testing.processes import ProcessCluster

__all__ = ["braft_faults", "braft_memory_cluster", "braft_process_cluster"]


@pytest.fixture
def braft_memory_cluster() -> Iterator[Callable[..., MemoryCluster]]:
    """Return ``make(size=3, services=None, **settings)``: serving nodes in this process."""
    from braft_testing.memory_cluster import MemoryCluster

    with ExitStack() as stack:

        def make(size: int = 3, **settings: Any) -> MemoryCluster:
            return stack.enter_context(MemoryCluster(size, **settings))

        yield make


@pytest.fixture
def braft_process_cluster(tmp_path: Path) -> Iterator[Callable[..., ProcessCluster]]:
    """Return ``make(size=3, **settings)``: processes in the test's directory, not started."""
    from braft_testing.processes import ProcessCluster

    numbers = itertools.count()
    with ExitStack() as stack:

        def make(size: int = 3, **settings: Any) -> ProcessCluster:
            folder = tmp_path / f"cluster-{next(numbers)}"
            return stack.enter_context(ProcessCluster(size, folder, **settings))

        yield make


@pytest.fixture
def braft_faults(tmp_path: Path) -> Iterator[Callable[..., Injector]]:
    """Return ``make(size=3, needs=(), **settings)``: serving processes, and faults for them.

    The test is skipped, with the reason, if a kind of fault in ``needs`` cannot be made here.
    """
    from braft_testing.faults.injector import injector, unavailable

    numbers = itertools.count()
    with ExitStack() as stack:

        def make(size: int = 3, needs: Sequence[str] = (), **settings: Any) -> Injector:
            cannot = unavailable()
            for kind in needs:
                if kind in cannot:
                    pytest.skip(f"no {kind!r} on this machine: {cannot[kind]}")
            folder = tmp_path / f"faults-{next(numbers)}"
            return stack.enter_context(injector(size, folder, **settings))

        yield make
