"""How a node stops: in order, quickly, leaving nothing; after a fork; by a signal."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from braft_core import Node
from braft_core.errors import BraftError, NotApplied, OutcomeUnknown
from braft_core.runtime.timing import Timing
from braft_core.services import StateMachineService, command
from braft_testing.processes import PATIENCE, ProcessCluster, free_ports, wait_for

pytestmark = pytest.mark.integration


class MakeNodes(Protocol):
    def __call__(self, count: int, *, start: bool = True, **settings: Any) -> list[Node]: ...


LeaderOf = Callable[[list[Node]], Node]

#: Seconds that stopping may take on a busy machine.
QUICKLY = 30.0
#: Waits so long for a hanging server that nothing else takes as long.
PATIENT = Timing(server_stop=60.0)


def _threads() -> set[threading.Thread]:
    """Return all threads except gRPC's poller, which stays for the life of the process."""
    return {t for t in threading.enumerate() if "_poll_wrapper" not in t.name}


def test_stopping_leaves_no_thread_and_is_soon_over(
    make_nodes: MakeNodes, leader_of: LeaderOf
) -> None:
    before = _threads()
    nodes = make_nodes(3, timing=PATIENT)
    nodes[0].kv.put("m", "k", 1)
    list(map(Node.details, nodes))
    leader = leader_of(nodes)
    for node in (leader, *(n for n in nodes if n is not leader)):
        began = time.monotonic()
        node.stop()
        assert time.monotonic() - began < QUICKLY
    wait_for(lambda: _threads() <= before, what="the threads end")


def test_a_leader_that_stops_hands_over_and_loses_nothing(
    make_nodes: MakeNodes, leader_of: LeaderOf
) -> None:
    nodes = make_nodes(3, timing=PATIENT)
    leader = leader_of(nodes)
    others = [node for node in nodes if node is not leader]
    acknowledged: dict[str, int] = {}
    refused: list[BraftError] = []
    enough = threading.Event()

    def write(node: Node, writer: int) -> None:
        number = 0
        while not enough.is_set():
            number += 1
            try:
                node.kv.put("m", f"{writer}-{number}", number, timeout=5)
            except (NotApplied, OutcomeUnknown) as error:
                refused.append(error)
                if node is leader:
                    return
            else:
                acknowledged[f"{writer}-{number}"] = number

    threads = [
        threading.Thread(target=write, args=(node, writer)) for writer, node in enumerate(nodes * 2)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(acknowledged) > 100)
    began = time.monotonic()
    leader.stop()
    assert time.monotonic() - began < QUICKLY
    so_far = len(acknowledged)
    wait_for(lambda: len(acknowledged) > so_far + 50, what="writes go on under the next leader")
    enough.set()
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive()
    for node in others:
        found = node.kv.list("m")
        assert {key: found.get(key) for key in acknowledged} == acknowledged


def test_leadership_is_handed_over_before_the_leader_is_gone(
    make_nodes: MakeNodes, leader_of: LeaderOf
) -> None:
    # Long timeouts, so that the hand-over succeeds on a slow machine, too.
    nodes = make_nodes(3, election_timeout=5, timing=replace(PATIENT, hand_over=30.0))
    leader = leader_of(nodes)
    others = [node for node in nodes if node is not leader]
    gone = leader.server_id
    leader.stop()
    # Leadership was handed over before stop() returned, so no election timeout has to pass.
    assert {(node.leader or ("", ""))[0] for node in others} - {gone, ""}
    others[0].kv.put("m", "k", 1)


class Slow(StateMachineService):
    """A command that lasts until the gate opens."""

    name = "slow"
    begun, gate = threading.Event(), threading.Event()

    @command
    def wait(self) -> bool:
        self.begun.set()
        return self.gate.wait(60)

    def dump(self) -> None:
        return None

    def load(self, value: Any) -> None:
        assert value is None


def test_a_follower_that_stops_waits_for_the_answer_to_what_it_sent_on(
    make_nodes: MakeNodes, leader_of: LeaderOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "begun", threading.Event())
    monkeypatch.setattr(Slow, "gate", threading.Event())
    nodes = make_nodes(3, services=[Slow], timing=replace(PATIENT, drain=30.0))
    leader = leader_of(nodes)
    follower = next(node for node in nodes if node is not leader)
    with ThreadPoolExecutor() as pool:
        try:
            answer = pool.submit(follower.execute, "slow", "wait", timeout=60)
            assert Slow.begun.wait(PATIENCE)
            stopped = pool.submit(follower.stop)
            began = time.monotonic()
            wait_for(lambda: stopped.done() or time.monotonic() - began > 0.5, what="it stops")
        finally:
            Slow.gate.set()
        assert answer.result(PATIENCE) is True
        stopped.result(PATIENCE)


def test_callers_who_wait_are_answered_when_the_node_stops(make_nodes: MakeNodes) -> None:
    nodes = make_nodes(2)
    nodes[1].stop()  # without a majority requests wait
    outcomes: list[BaseException] = []

    def ask(call: Callable[[], object]) -> None:
        try:
            call()
        except BraftError as error:
            outcomes.append(error)

    calls: list[Callable[[], object]] = [
        lambda: nodes[0].kv.put("m", "k", 1, timeout=30),
        lambda: nodes[0].kv.get("m", "k", timeout=30),
    ]
    threads = [threading.Thread(target=ask, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    began = time.monotonic()
    nodes[0].stop()
    for thread in threads:
        thread.join(20)
    assert time.monotonic() - began < 20
    assert len(outcomes) == 2
    assert all(isinstance(e, NotApplied | OutcomeUnknown) for e in outcomes), outcomes


def test_stop_may_be_called_from_several_threads(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1)
    threads = [threading.Thread(target=node.stop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive()


# --------------------------------------------------------------------------------------------
# Programs of their own


def _run(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    raft, discovery, http = free_ports(3)
    root = Path(__file__).parents[2]
    text = f"""
        settings = dict(ip="127.0.0.1", discovery="none", rport={raft}, dport={discovery},
                        hport={http}, data_dir={str(directory / "data")!r})
    """
    whole = textwrap.dedent(text) + textwrap.dedent(program)
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", whole],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_forked_child_gets_the_advice_to_make_its_own_node(tmp_path: Path) -> None:
    done = _run(
        """
        import asyncio, os, sys, warnings
        from braft_core import Node
        from braft_core.errors import ForkedProcess
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of every such fork

        node = Node(**settings).start()
        node.wait_ready(40)
        node.kv.put("m", "k", 1)

        def awaited(make):
            async def main():
                return await make()
            return lambda: asyncio.run(main())

        calls = dict(
            put=lambda: node.kv.put("m", "k", 2), get=lambda: node.kv.get("m", "k"),
            stale=lambda: node.kv.get("m", "k", consistency="stale"),
            lst=lambda: node.kv.list("m"), delete=lambda: node.kv.delete("m", "k"),
            aput=awaited(lambda: node.kv.aput("m", "k", 2)),
            aget=awaited(lambda: node.kv.aget("m", "k")),
            await_ready=awaited(lambda: node.await_ready(1)), astop=awaited(node.astop),
            astart=awaited(node.astart), start=node.start, stop=node.stop,
            wait_ready=lambda: node.wait_ready(1), ready=node.ready, barrier=node.barrier,
            server_id=lambda: node.server_id, address=lambda: node.address,
            http_address=lambda: node.http_address, is_leader=lambda: node.is_leader,
            leader=lambda: node.leader, details=node.details, view=node.cluster_view,
            members=node.members, add=lambda: node.add_member("a", "b:1"),
            remove=lambda: node.remove_member("a"), promote=lambda: node.promote_member("a"),
            transfer=node.transfer_leadership,
            callback=lambda: node.on_leader_change(print),
            distribute=lambda: node.distribute.set(["a"]),
            on_change=lambda: node.distribute.on_change(print),
            exit=lambda: node.__exit__(None, None, None),
        )
        child = os.fork()
        if child == 0:
            wrong = []
            for name, call in calls.items():
                try:
                    wrong.append((name, call()))
                except ForkedProcess as error:
                    if str(os.getppid()) not in error.message:
                        wrong.append((name, error))
                except BaseException as error:
                    wrong.append((name, error))
            print("child:", wrong or "told", flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        assert node.kv.get("m", "k") == 1 and node.kv.put("m", "k", 3)
        node.stop()
        print("parent: fine")
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "child: told" in done.stdout
    assert "parent: fine" in done.stdout


def test_a_forked_child_may_run_a_node_of_its_own(tmp_path: Path) -> None:
    """With multiprocessing by fork the parent only makes the object, and the child starts it."""
    done = _run(
        """
        import os, sys, warnings
        from braft_core import Node
        warnings.simplefilter("ignore", DeprecationWarning)

        node = Node(**settings)
        child = os.fork()
        if child == 0:
            with node:
                node.kv.put("m", "k", 1, timeout=40)
                print("child:", node.kv.get("m", "k"), flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with node:
            print("parent:", node.kv.get("m", "k", timeout=40))
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "child: 1" in done.stdout
    assert "parent: 1" in done.stdout


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_second_signal_ends_a_start_that_hangs(tmp_path: Path, number: str) -> None:
    done = _run(
        f"""
        import asyncio, os, signal, threading
        from braft_core import Node
        from braft_core.runtime.server import Server

        async def hang(server):
            while True:
                os.kill(os.getpid(), signal.{number})
                await asyncio.sleep(0.1)

        Server.start = hang
        try:
            Node(**settings).run()
        except KeyboardInterrupt:
            print("interrupted", threading.active_count())
        """,
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "interrupted 1\n"), done.stderr


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_run_blocks_until_a_signal_and_leaves_the_handlers_as_they_were(
    tmp_path: Path, number: str
) -> None:
    done = _run(
        f"""
        import os, signal, threading, time
        from braft_core import Node
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        node = Node(**settings)

        def work():
            node.kv.put("m", "k", 1, timeout=40)
            while signal.getsignal(signal.SIGINT) is before[1]:  # run() sets it last
                time.sleep(0.01)
            os.kill(os.getpid(), signal.{number})

        with node:
            threading.Thread(target=work).start()
            node.run()
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
        print("ended", tuple(node.ready()))
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "ended (False, 'the node is not running')" in done.stdout


def test_a_program_that_forgets_to_stop_its_node_still_ends(tmp_path: Path) -> None:
    done = _run(
        """
        from braft_core import Node
        node = Node(**settings).start()
        node.kv.put("m", "k", 1, timeout=40)
        print("done")
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "done" in done.stdout


def test_the_command_ends_with_code_0_on_sigterm_and_comes_back_with_its_data(
    tmp_path: Path,
) -> None:
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        revision = cluster.client(0).kv_put("m", "k", 1)
        assert cluster.stop(0) == 0
        assert "did not stop in order" not in cluster.nodes[0].log.read_text()
        cluster.restart(0)
        cluster.wait_ready()
        assert cluster.client(0).kv_entry("m", "k") == (1, revision)
