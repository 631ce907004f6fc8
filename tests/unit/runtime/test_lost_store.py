"""A node stops and acknowledges nothing more when its data directory is deleted or replaced."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from braft_core import Node
from braft_core.errors import OutcomeUnknown, Stopped, StorageGone
from braft_core.runtime.periodic_checks import PeriodicChecks
from braft_core.runtime.timing import DEFAULT_TIMING, Timing
from braft_testing.internals import internals, with_timing
from braft_testing.processes import PATIENCE, wait_for


def make_node(directory: Path, timing: Timing = DEFAULT_TIMING, **settings: Any) -> Node:
    node = Node(
        discovery="none", data_dir=str(directory), ip="127.0.0.1", rport=0, http=False, **settings
    )
    return with_timing(node, timing)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "node"


#: No periodic check takes place within the time of a test.
NO_CHECKS = Timing(check_interval=3600.0)


@pytest.fixture
def node(request: pytest.FixtureRequest, directory: Path) -> Iterator[Node]:
    """Start a node that serves, with the default timing or that of the parameter."""
    with make_node(directory, getattr(request, "param", DEFAULT_TIMING)) as made:
        made.wait_ready(PATIENCE)
        made.kv.put("m", "k", 1)
        yield made


def failure(node: Node) -> BaseException | None:
    return internals(node).threads.failure


@pytest.mark.parametrize("node", [NO_CHECKS], indirect=True, ids=["no checks"])
def test_no_write_is_acknowledged_once_the_directory_is_gone(node: Node, directory: Path) -> None:
    shutil.rmtree(directory)
    with pytest.raises((OutcomeUnknown, Stopped)):
        node.kv.put("m", "k", 2, timeout=PATIENCE)
    assert isinstance(failure(node), StorageGone)
    with pytest.raises(Stopped, match=f"{directory} was deleted or renamed"):
        node.kv.put("m", "k", 3)
    with pytest.raises(Stopped, match=f"{directory} was deleted or renamed"):
        node.kv.get("m", "k", consistency="stale")


@pytest.mark.parametrize("node", [NO_CHECKS], indirect=True, ids=["no checks"])
def test_a_node_without_its_directory_is_never_ready(node: Node, directory: Path) -> None:
    assert node.ready() == (True, "")
    directory.rename(directory.with_name("moved"))
    ready, why = node.ready()
    assert not ready
    assert f"{directory} was deleted or renamed while the node was using it" in why
    assert "let it join as a new one" in why


def test_an_idle_node_notices_by_itself(node: Node, directory: Path) -> None:
    shutil.rmtree(directory)
    wait_for(lambda: failure(node) is not None, what="the node ends")
    assert isinstance(failure(node), StorageGone)


def test_a_node_that_waits_for_others_notices_too(directory: Path) -> None:
    with make_node(directory, expect=3) as node:
        assert not node.ready()[0]
        shutil.rmtree(directory)
        wait_for(lambda: failure(node) is not None, what="the node ends")
        assert isinstance(failure(node), StorageGone)
        with pytest.raises(Stopped, match="was deleted or renamed"):
            node.kv.put("m", "k", 1)


def test_run_ends_with_the_reason_and_writes_nothing_anywhere(directory: Path) -> None:
    node = make_node(directory)
    with pytest.raises(StorageGone, match="was deleted or renamed"):
        node.run(on_start=lambda: shutil.rmtree(directory))
    assert not directory.exists()


def test_a_node_that_forgets_has_nothing_to_lose() -> None:
    with Node(discovery="none", data_dir=":memory:", ip="127.0.0.1", rport=0, http=False) as node:
        node.kv.put("m", "k", 1)
        assert node.ready() == (True, "")


def test_the_watch_calls_everything_again_and_again_whatever_fails() -> None:
    calls: list[str] = []
    enough = threading.Event()

    def fails() -> None:
        calls.append("fails")
        raise OSError("as always")

    def works() -> None:
        calls.append("works")
        if len(calls) >= 6:
            enough.set()

    looking = PeriodicChecks("watch-of-a-test", [fails, works], interval=0.001)
    looking.start()
    assert enough.wait(PATIENCE)
    looking.stop(PATIENCE)
    assert calls[:6] == ["fails", "works"] * 3
    assert "watch-of-a-test" not in {thread.name for thread in threading.enumerate()}


def test_the_watch_reports_a_failure_once(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0
    enough = threading.Event()

    def fails() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            enough.set()
        raise OSError("as always")

    looking = PeriodicChecks("watch-of-a-test", [fails], interval=0.001)
    looking.start()
    assert enough.wait(PATIENCE)
    looking.stop(PATIENCE)
    assert [record.getMessage() for record in caplog.records].count(
        "a periodic check failed: OSError('as always')"
    ) == 1


def test_the_watch_looks_at_once_when_it_is_asked() -> None:
    looked = threading.Event()
    looking = PeriodicChecks("watch-of-a-test", [looked.set], interval=3600)
    looking.start()
    looking.run_now()
    assert looked.wait(PATIENCE)
    looking.stop(PATIENCE)
    looking.stop(PATIENCE)


def test_a_watch_that_was_never_started_can_be_stopped() -> None:
    PeriodicChecks("watch-of-a-test", [], interval=1).stop(PATIENCE)
