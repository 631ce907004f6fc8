"""Parts by themselves: renewals in batches, calls that demand a leader, options."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

import braft_etcd
from braft_core.errors import ConfigError, NoLeader
from braft_core.http2 import CallFailed
from braft_etcd.leader_guard import LeaderGuard
from braft_etcd.options import EtcdOptions
from braft_etcd.renewals import Renewals
from braft_etcd.server import listening_address
from braft_testing.plugins import check_plugin


def test_braft_accepts_the_plugin() -> None:
    assert list(check_plugin(braft_etcd).options()) == ["etcd"]


# -- renewals ----------------------------------------------------------------------------------


def test_renewals_at_one_time_are_one_command() -> None:
    commands: list[list[int]] = []

    async def renew(leases: list[int]) -> list[float]:
        commands.append(leases)
        return [float(lease % 2 and 60) for lease in leases]

    async def main() -> list[float]:
        renewals = Renewals(renew)
        wanted = [*range(1, 200), 7, 8]
        return await asyncio.gather(*(renewals.renew(lease) for lease in wanted))

    assert asyncio.run(main()) == [60.0 if lease % 2 else 0.0 for lease in [*range(1, 200), 7, 8]]
    assert commands == [list(range(1, 200))]


def test_many_renewals_are_several_commands() -> None:
    sizes: list[int] = []

    async def renew(leases: list[int]) -> list[float]:
        sizes.append(len(leases))
        return [60.0] * len(leases)

    async def main() -> None:
        renewals = Renewals(renew)
        await asyncio.gather(*(renewals.renew(lease) for lease in range(1, 2_501)))

    asyncio.run(main())
    assert sizes == [1_000, 1_000, 500]


def test_a_failed_command_fails_its_renewals_alone() -> None:
    failures = [NoLeader("none"), None]

    async def renew(leases: list[int]) -> list[float]:
        if (failure := failures.pop(0)) is not None:
            raise failure
        return [60.0] * len(leases)

    async def main() -> tuple[Any, Any]:
        renewals = Renewals(renew)
        first = await asyncio.gather(renewals.renew(1), return_exceptions=True)
        gone = renewals.renew(2)
        gone.cancel()  # nobody waits for its answer
        return first[0], await renewals.renew(3)

    first, second = asyncio.run(main())
    assert isinstance(first, NoLeader)
    assert second == 60.0


def test_the_end_leaves_no_task_and_nobody_waiting() -> None:
    async def renew(_leases: list[int]) -> list[float]:
        await asyncio.Event().wait()
        return []

    async def main() -> tuple[bool, int]:
        renewals = Renewals(renew)
        waiting = renewals.renew(1)
        await asyncio.sleep(0.05)
        await renewals.stop()
        return waiting.cancelled(), len(asyncio.all_tasks())

    assert asyncio.run(main()) == (True, 1)


# -- a leader is demanded ----------------------------------------------------------------------


def _call(*metadata: tuple[bytes, bytes]) -> Any:
    return SimpleNamespace(metadata=metadata)


_DEMANDS = _call((b"hasleader", b"true"))


def test_a_call_may_demand_a_leader() -> None:
    backend: Any = SimpleNamespace(node=SimpleNamespace(leader=None))
    guard = LeaderGuard(backend, 1.0)
    guard.check(_call())
    with pytest.raises(CallFailed, match="etcdserver: no leader"):
        guard.check(_DEMANDS)
    backend.node.leader = object()
    guard.check(_DEMANDS)


@pytest.mark.parametrize(
    ("call", "said"), [(_DEMANDS, "etcdserver: no leader"), (_call(), "still there")]
)
def test_a_stream_ends_without_a_leader_if_it_demands_one(call: Any, said: str) -> None:
    async def answers() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def main() -> str:
        backend: Any = SimpleNamespace(node=SimpleNamespace(leader=None))
        guard = LeaderGuard(backend, 0.0)
        guard.start()
        try:
            async with asyncio.timeout(2.0):
                async for _ in guard.guard(call, answers()):
                    pass
        except CallFailed as error:
            return error.message
        except TimeoutError:
            return "still there"
        finally:
            await guard.stop()
        return "it ended"

    assert asyncio.run(main()) == said


# -- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "server"),
    [
        ({}, ""),
        ({"listen": "127.0.0.1:0"}, "http2"),
        ({"listen": "127.0.0.1:0", "server": "off"}, ""),
        ({"server": "http2"}, "http2"),
        ({"server": "grpcio"}, "grpcio"),
    ],
)
def test_it_is_served_if_that_was_chosen(options: dict[str, str], server: str) -> None:
    assert EtcdOptions(**options).chosen_server == server


def test_the_default_port_is_rafts_and_three() -> None:
    assert listening_address("", "[::1]:15000") == ("::1", 15003)
    assert listening_address("0.0.0.0:0", "127.0.0.1:1") == ("0.0.0.0", 0)


@pytest.mark.parametrize("listen", ["2379", ":x", "a:b", "127.0.0.1:65536", "unix:/tmp/x"])
def test_what_is_no_place_to_listen_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"BRAFT_ETCD_LISTEN=.*accepted: host:port"):
        listening_address(listen, "127.0.0.1:1")


@pytest.mark.parametrize(
    "options", [{"server": "nginx"}, {"version": "4.0"}, {"request_bytes": 1}, {"max_streams": 0}]
)
def test_wrong_options_are_refused_with_what_is_accepted(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"plugins.etcd.{next(iter(options))}.*accepted"):
        EtcdOptions.read(options)
