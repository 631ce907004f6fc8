"""Renewals: gathered into few commands, and answered to each who asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from braft_core.errors import BraftError, NoLeader
from braft_core.runtime import clock
from braft_core.runtime import lease_keeper as module
from braft_core.runtime.lease_keeper import LeaseKeeper, Renewals
from braft_core.runtime.requests import Command, settle
from braft_core.runtime.timing import Timing
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.envelope import decode_command
from braft_core.store.lease import GONE, Lease


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run the test in its own event loop."""
    return lambda: asyncio.run(test())


class Server:
    """Takes commands, and answers when it is told to."""

    def __init__(self) -> None:
        self.components: Any = SimpleNamespace(
            timing=Timing(lease_check=0.001, renew_gather=0.001), serializer=MsgpackSerializer()
        )
        self.taken: list[Command] = []
        #: What answers a command at once, given its name and argument.
        self.answer: Callable[[str, Any], Any] | None = None

    def submit(self, request: Any) -> None:
        self.taken.append(request)
        if self.answer is not None:
            _, name, args = self.command(-1)
            settle([(request, self.answer(name, *args))])

    def command(self, number: int) -> tuple[str, str, list[Any]]:
        serializer = self.components.serializer
        return decode_command({serializer.tag: serializer}, self.taken[number].data)

    async def reach(self, count: int) -> None:
        """Wait until it has so many commands."""
        while len(self.taken) < count:  # noqa: ASYNC110 - settled from other threads too
            await asyncio.sleep(0.001)


@on_loop
async def test_what_comes_together_is_one_command() -> None:
    server = Server()
    renewals = Renewals(server)
    begun = clock.monotonic()
    futures = [renewals.renew(lease) for lease in (1, 2, 3, 2)]
    await server.reach(1)
    assert server.command(0) == ("store", "renew", [[1, 2, 3]])
    later = renewals.renew(1)
    settle([(server.taken[0], [10, 20, 0])])
    answers = await asyncio.gather(*futures)
    assert [answer.ttl for answer in answers] == [10, 20, 0, 20]
    assert begun <= answers[0].sent_at <= clock.monotonic()
    await server.reach(2)
    assert server.command(1) == ("store", "renew", [[1]])
    settle([(server.taken[1], NoLeader("none"))])
    with pytest.raises(NoLeader):
        await later


@on_loop
async def test_a_caller_that_left_disturbs_nobody() -> None:
    server = Server()
    renewals = Renewals(server)
    left, stays = renewals.renew(1), renewals.renew(2)
    left.cancel()
    await server.reach(1)
    settle([(server.taken[0], [5, 6])])
    assert (await stays).ttl == 6


def test_a_command_has_a_bounded_number_of_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RENEWED", 3)

    async def run() -> None:
        server = Server()
        renewals = Renewals(server)
        futures = [renewals.renew(lease) for lease in range(1, 8)]
        await server.reach(3)
        sent = [server.command(number)[2][0] for number in range(3)]
        assert sent == [[1, 2, 3], [4, 5, 6], [7]]
        for command, leases in zip(server.taken, sent, strict=True):
            settle([(command, leases)])
        assert [(await future).ttl for future in futures] == list(range(1, 8))

    asyncio.run(run())


class Caller:
    """Grants what is asked for."""

    staleness = 0.0

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        return args[1] if command == "grant" else 1

    async def aexecute(self, *args: Any, **options: Any) -> Any:
        raise AssertionError(args)

    def query(self, *args: Any, **options: Any) -> Any:
        raise AssertionError(args)

    async def aquery(self, *args: Any, **options: Any) -> Any:
        raise AssertionError(args)


def keeper_of(server: Server) -> LeaseKeeper:
    """Return a keeper that runs."""
    events: Any = SimpleNamespace(call=lambda action: action())
    keeper = LeaseKeeper(server, events)
    keeper.start()
    return keeper


def lease_of(keeper: LeaseKeeper, ttl: float, monotonic: Callable[[], float]) -> Lease:
    """Return a lease that was granted."""
    return Lease(Caller(), lambda: keeper, monotonic, ttl).grant()


@on_loop
async def test_a_lease_is_renewed_until_it_is_released() -> None:
    server = Server()
    server.answer = lambda name, leases: [10] * len(leases)
    keeper = keeper_of(server)
    lease = lease_of(keeper, 10, clock.monotonic)
    await asyncio.sleep(0)
    assert server.taken == []
    for count in (1, 2):
        before = lease.valid_until
        keeper._held.renew_now()
        await server.reach(count)
        while lease.valid_until == before:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
    assert server.command(0) == ("store", "renew", [[lease.id]])
    lease.close()
    task = keeper._task
    assert task is not None
    await task
    assert not lease.lost.is_set()


@on_loop
async def test_failures_are_repeated_until_the_lease_may_have_ended() -> None:
    server = Server()
    server.answer = lambda name, leases: NoLeader("none")
    keeper = keeper_of(server)
    lease = lease_of(keeper, 10, clock.monotonic)
    await asyncio.sleep(0)
    keeper._held.renew_now()
    await server.reach(3)
    assert not lease.lost.is_set()
    lease.valid_until = clock.monotonic()
    await lease.lost
    assert len(keeper._held) == 0


@on_loop
async def test_a_lease_that_is_gone_is_lost_at_once() -> None:
    server = Server()
    server.answer = lambda name, leases: [0]
    keeper = keeper_of(server)
    lease = lease_of(keeper, 10, clock.monotonic)
    told: list[BraftError] = []
    lease.on_lost(told.append)
    await asyncio.sleep(0)
    keeper._held.renew_now()
    await lease.lost
    assert [GONE in str(error) for error in told] == [True]


@on_loop
async def test_an_interrupted_grant_is_revoked() -> None:
    server = Server()
    server.answer = lambda name, lease: NoLeader("none")
    keeper = keeper_of(server)
    keeper.abandon(5)
    await server.reach(1)
    assert server.command(0) == ("store", "revoke", [5])
    await asyncio.sleep(0)


@on_loop
async def test_a_keeper_that_has_ended_keeps_nothing() -> None:
    server = Server()
    keeper = keeper_of(server)
    held = lease_of(keeper, 10, clock.monotonic)
    await asyncio.sleep(0)
    await keeper.stop()
    assert held.lost.is_set()
    late = lease_of(keeper, 10, clock.monotonic)
    await late.lost


def test_a_keeper_whose_loop_is_closed_keeps_nothing() -> None:
    async def make() -> LeaseKeeper:
        return keeper_of(Server())

    keeper = asyncio.run(make())
    lease = lease_of(keeper, 10, clock.monotonic)
    assert lease.lost.is_set()
    lease.close()
    keeper.abandon(1)


def test_a_renewal_counts_from_when_it_was_sent() -> None:
    """Its answer may have been under way for long, and the ttl ran meanwhile."""
    now = [100.0]

    async def run() -> None:
        server = Server()
        keeper = keeper_of(server)
        lease = lease_of(keeper, 12, clock.monotonic)
        await asyncio.sleep(0)
        first_until = lease.valid_until
        now[0] = 105.0
        await server.reach(1)
        now[0] = 109.0
        settle([(server.taken[0], [12])])
        while lease.valid_until == first_until:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        assert lease.valid_until == 105.0 + 12 - 1
        assert keeper._held.due(108.9) == []
        assert keeper._held.due(109.0) == [lease.id]
        await keeper.stop()

    system = clock.system_clock()
    with clock.installed(clock.Clock(lambda: now[0], system.wall_ns, system.thread_time)):
        asyncio.run(run())
