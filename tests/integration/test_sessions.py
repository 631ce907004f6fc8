"""Callers do not notice the death of a leader, and each command is applied exactly once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from braft_core import Node
from braft_core.abc import CommandContext
from braft_core.errors import Busy, SessionExpired
from braft_core.runtime import sessions as runtime_sessions
from braft_core.services import StateMachineService, command, query
from braft_testing.internals import internals
from braft_testing.processes import wait_for

pytestmark = pytest.mark.integration

CALLS = 60
CALLERS = 6


class MakeNodes(Protocol):
    def __call__(self, count: int, *, start: bool = True, **settings: Any) -> list[Node]: ...


LeaderOf = Callable[[list[Node]], Node]


class Counter(StateMachineService):
    name = "counter"

    def __init__(self) -> None:
        self.value = 0
        self.indexes: list[int] = []

    @command
    def add(self, context: CommandContext, amount: int) -> int:
        self.value += amount
        self.indexes.append(context.index)
        return self.value

    @query
    def get(self) -> int:
        return self.value

    def dump(self) -> Any:
        return [self.value, self.indexes]

    def load(self, value: Any) -> None:
        self.value, self.indexes = value


def crash(node: Node) -> None:
    """End the node as a crash does: no transfer, no clean shutdown, connections just break."""
    _, server, loop = internals(node)

    async def cut() -> None:
        server.give_up = lambda error: None  # type: ignore[method-assign]
        server.running().driver._halted = True
        await server.components.transport.stop()

    loop.run(cut())


class Callers:
    """Threads that each repeat one call and keep answers and errors."""

    def __init__(self, calls: list[Callable[[int], Any]]) -> None:
        self.answers: list[Any] = []
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(call,)) for call in calls]
        self.half = threading.Event()
        self._wanted = CALLS * len(calls)

    def _run(self, call: Callable[[int], Any]) -> None:
        for number in range(CALLS):
            try:
                answer = call(number)
            except BaseException as error:  # noqa: BLE001 - the test shows it
                self.errors.append(error)
                return
            with self._lock:
                self.answers.append(answer)
                if len(self.answers) >= self._wanted // 3:
                    self.half.set()

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        assert self.half.wait(60)
        return self

    def __exit__(self, *exc: object) -> None:
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)


@pytest.mark.parametrize("own", [False, True], ids=["shared session", "sessions of their own"])
def test_increments_survive_the_death_of_the_leader_each_once(
    make_nodes: MakeNodes, leader_of: LeaderOf, own: bool
) -> None:
    nodes = make_nodes(3, services=lambda _: [Counter], request_timeout=40)
    leader = leader_of(nodes)
    others = [node for node in nodes if node is not leader]
    fronts = [(n.session() if own else n).service(Counter) for n in others * (CALLERS // 2)]
    with Callers([lambda _, front=front: front.add(1) for front in fronts]) as callers:  # type: ignore[misc]
        crash(leader)
    assert callers.errors == []
    assert sorted(callers.answers) == list(range(1, CALLS * CALLERS + 1))
    for node in others:
        assert node.service(Counter).get() == CALLS * CALLERS


def test_conditional_writes_survive_the_death_of_the_leader(
    make_nodes: MakeNodes, leader_of: LeaderOf
) -> None:
    nodes = make_nodes(3, request_timeout=40)
    leader = leader_of(nodes)
    others = [node for node in nodes if node is not leader]
    revisions: dict[int, int] = dict.fromkeys(range(CALLERS), 0)

    def writer(number: int) -> Callable[[int], Any]:
        node = others[number % 2]

        def write(value: int) -> int:
            # If it were applied twice, the second time would be a Conflict.
            revisions[number] = node.kv.put_if("m", str(number), value, revisions[number])
            return revisions[number]

        return write

    with Callers([writer(number) for number in range(CALLERS)]) as callers:
        crash(leader)
    assert callers.errors == []
    assert others[0].kv.list("m") == dict.fromkeys(map(str, range(CALLERS)), CALLS - 1)


def test_a_leader_that_is_deposed_answers_its_own_callers(
    make_nodes: MakeNodes, leader_of: LeaderOf
) -> None:
    nodes = make_nodes(3, services=lambda _: [Counter], request_timeout=40)
    leader = leader_of(nodes)
    with Callers([lambda _, n=n: n.service(Counter).add(1) for n in nodes]) as callers:  # type: ignore[misc]
        # On a slow machine a transfer may be abandoned after an election timeout.
        wait_for(leader.transfer_leadership)
    assert callers.errors == []
    assert sorted(callers.answers) == list(range(1, CALLS * 3 + 1))


def test_a_leader_that_is_frozen_is_not_waited_for(
    make_nodes: MakeNodes, leader_of: LeaderOf
) -> None:
    """The connections of a frozen leader stay open, and calls to it never end."""
    nodes = make_nodes(3, services=lambda _: [Counter], request_timeout=40)
    leader = leader_of(nodes)
    others = [node for node in nodes if node is not leader]
    fronts = [node.service(Counter) for node in others]
    frozen, release = threading.Event(), threading.Event()

    def freeze() -> None:
        frozen.set()
        release.wait(90)

    loop = internals(leader).loop.loop
    try:
        with Callers([lambda _, front=front: front.add(1) for front in fronts]) as callers:  # type: ignore[misc]
            loop.call_soon_threadsafe(freeze)
            assert frozen.wait(40)
    finally:
        release.set()
    assert callers.errors == []
    assert sorted(callers.answers) == list(range(1, CALLS * 2 + 1))


def test_an_expired_session_is_recognised_or_renewed(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1, services=[Counter])
    counter = node.service(Counter)
    with node.session() as session:
        assert [session.id] == [None]
        assert session.service(Counter).add(1) == 1
        assert len(session.id or "") == 32
        for used in (
            bytes.fromhex(session.id or ""),
            internals(node).server.sessions.shared.session_id,
        ):
            node.execute("$sessions", "close", used)
        with pytest.raises(SessionExpired) as gone:
            session.service(Counter).add(1)
        assert gone.value.data["maybe_applied"] is False
    before = internals(node).server.sessions.shared.session_id
    assert counter.add(1) == 2
    assert internals(node).server.sessions.shared.session_id == before
    node.execute("$sessions", "close", before)
    assert counter.add(1) == 3
    assert internals(node).server.sessions.shared.session_id != before


def test_a_closed_session_takes_nothing_and_the_cluster_forgets_it(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1, services=[Counter])
    with node.session() as session:
        session.service(Counter).add(1)
        used = bytes.fromhex(session.id or "")
    with pytest.raises(SessionExpired, match="was closed"):
        session.service(Counter).add(1)
    node.barrier()
    assert node.execute("$sessions", "close", used) is False


def test_many_callers_share_a_session_by_turns(
    make_nodes: MakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_sessions, "WINDOW", 8)
    (node,) = make_nodes(1, services=[Counter])

    async def run() -> list[int]:
        counter = node.service(Counter)
        return list(await asyncio.gather(*(counter.add.acall(1) for _ in range(100))))

    assert sorted(asyncio.run(run())) == list(range(1, 101))


def test_a_session_of_ones_own_refuses_what_is_too_much(
    make_nodes: MakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_sessions, "WINDOW", 8)
    (node,) = make_nodes(1, services=[Counter])

    async def run() -> list[int | BaseException]:
        async with node.session() as session:
            counter = session.service(Counter)
            await counter.add.acall(1)
            calls = (counter.add.acall(1) for _ in range(20))
            return list(await asyncio.gather(*calls, return_exceptions=True))

    answers = asyncio.run(run())
    assert sum(isinstance(answer, Busy) for answer in answers) == 12
    assert sorted(answer for answer in answers if isinstance(answer, int)) == list(range(2, 10))


@pytest.mark.parametrize("snapshot", [False, True])
def test_sessions_outlive_a_restart(make_nodes: MakeNodes, tmp_path: Path, snapshot: bool) -> None:
    kept = {"services": [Counter], "data_dir": str(tmp_path / "kept")}
    (node,) = make_nodes(1, start=False, **kept)
    with node:
        node.wait_ready(40)
        session = node.session()
        session.service(Counter).add(1)
        used = bytes.fromhex(session.id or "")
        if snapshot:
            node.take_snapshot()
    (again,) = make_nodes(1, start=False, **kept)
    with again:
        again.wait_ready(40)
        assert again.execute("$sessions", "close", used) is True
        assert again.service(Counter).get() == 1
