"""mDNS over a real network of two namespaces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar, Protocol, TypeVar

import pytest
import zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from braft_core.abc import Contact, Discovery
from braft_core.errors import Unreachable
from braft_mdns.discovery import MdnsDiscovery
from braft_testing.discovery import DiscoveryConformance, discovery_context

T = TypeVar("T")
#: The thread of a test changes sides, so interfaces are checked only when a node moves.
QUICK = {"resolve_timeout": 1.0, "refresh": 1.0, "alone_after": 0.5, "look_again": 600.0}


class Network(Protocol):
    addresses: tuple[tuple[str, str], ...]
    device: str

    def enter(self, side: int) -> None: ...
    def ip(self, side: int, *arguments: str) -> None: ...
    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T: ...


pytestmark = [pytest.mark.integration, pytest.mark.optional]


class TestConformance(DiscoveryConformance):
    bad_specs: ClassVar[dict[str, str]] = {"braft": "'braft'", "_a._tcp,_x y": "'_x y'"}

    @pytest.fixture(autouse=True)
    def _on_lan(self, lan: Network) -> None:
        self.lan = lan

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.lan.run(main)

    def make(self) -> Discovery:
        return MdnsDiscovery("", discovery_context(ip="10.99.0.1", options=QUICK))

    def make_failing(self) -> Discovery | None:
        return MdnsDiscovery("", discovery_context(ip="10.99.0.1", interface="eth77"))

    def make_with_spec(self, spec: str) -> Discovery:
        return MdnsDiscovery(spec, discovery_context())


@asynccontextmanager
async def node(
    lan: Network,
    side: int,
    node_id: str,
    *,
    spec: str = "",
    family: int = 0,
    options: dict[str, float] = QUICK,
    **context: Any,
) -> AsyncIterator[MdnsDiscovery]:
    ip = lan.addresses[side][family]
    discovery = MdnsDiscovery(
        spec, discovery_context(node_id=node_id, ip=ip, options=options, **context)
    )
    lan.enter(side)
    await discovery.start()
    try:
        yield discovery
    finally:
        await discovery.stop()


async def until(discovery: Discovery, *wanted: str, seconds: float = 40) -> None:
    """Watch until the set is exactly that."""
    found: list[Contact] = []
    try:
        async with asyncio.timeout(seconds):
            async for found in discovery.watch():
                if [str(contact) for contact in found] == list(wanted):
                    return
    except TimeoutError:
        raise AssertionError(f"wanted {wanted}, last was {found}") from None


@pytest.mark.smoke
def test_nodes_come_and_go_on_both_sides(lan: Network) -> None:
    async def main() -> None:
        # No periodic query falls into the time of this test.
        async with node(lan, 0, "n1", options=QUICK | {"refresh": 600.0}) as first:
            await until(first, "10.99.0.1:15001")
            async with node(lan, 1, "n2") as second:
                both = "10.99.0.1:15001", "10.99.0.2:15001"
                await asyncio.gather(until(first, *both), until(second, *both))
            # The goodbye packet of mDNS removes it, not the expiry of its records.
            await until(first, "10.99.0.1:15001")

    lan.run(main)


def test_a_killed_node_says_no_goodbye_and_is_dropped_all_the_same(lan: Network) -> None:
    async def main() -> None:
        async with node(lan, 0, "n1") as first, node(lan, 1, "n2") as second:
            await until(first, "10.99.0.1:15001", "10.99.0.2:15001")
            assert second._zeroconf is not None
            second._zeroconf.zeroconf.registry.async_remove(
                second._zeroconf.zeroconf.registry.async_get_service_infos()
            )
            await until(first, "10.99.0.1:15001")

    lan.run(main)


def test_ipv6(lan: Network) -> None:
    async def main() -> None:
        async with node(lan, 0, "n1", family=1) as first, node(lan, 1, "n2", family=1) as second:
            both = "[fd99::1]:15001", "[fd99::2]:15001"
            await asyncio.gather(until(first, *both), until(second, *both))

    lan.run(main)


def test_nodes_on_loopback(lan: Network) -> None:
    async def main() -> None:
        first, second = (
            MdnsDiscovery("", discovery_context(node_id=f"n{port}", raft_port=port, options=QUICK))
            for port in (15000, 16000)
        )
        try:
            await first.start()
            await second.start()
            both = "127.0.0.1:15001", "127.0.0.1:16001"
            await asyncio.gather(until(first, *both), until(second, *both))
        finally:
            await first.stop()
            await second.stop()

    lan.run(main)


def test_interface_is_chosen_by_name(lan: Network) -> None:
    async def main() -> None:
        async with (
            node(lan, 0, "n1", interface=lan.device) as first,
            node(lan, 1, "n2", interface="lo"),
        ):
            await asyncio.sleep(0)
            await until(first, "10.99.0.1:15001")
            with pytest.raises(AssertionError, match="last was"):
                await until(first, "10.99.0.1:15001", "10.99.0.2:15001", seconds=2.5)

    lan.run(main)


def test_a_taken_name_gets_a_number(lan: Network) -> None:
    async def main() -> None:
        same = "n" * 27
        async with node(lan, 0, same + "1") as first:
            await until(first, "10.99.0.1:15001")
            async with node(lan, 1, same + "2") as second:
                both = "10.99.0.1:15001", "10.99.0.2:15001"
                await asyncio.gather(until(first, *both), until(second, *both))
                assert (first.instance, second.instance) == (same, f"{same}-2")

    lan.run(main)


@pytest.mark.parametrize(
    "other",
    [{"cluster_name": "green"}, {"spec": "_braft._tcp,_demo"}, {"spec": "_other._tcp,_windows"}],
)
def test_foreign_nodes_are_ignored(lan: Network, other: dict[str, Any]) -> None:
    async def main() -> None:
        async with (
            node(lan, 1, "n2", **other) as foreign,
            node(lan, 0, "n1") as first,
            node(lan, 1, "n3", raft_port=16000) as third,
        ):
            ours = "10.99.0.1:15001", "10.99.0.2:16001"
            await asyncio.gather(
                until(first, *ours), until(third, *ours), until(foreign, "10.99.0.2:15001")
            )

    lan.run(main)


async def _info(lan: Network, type_: str, name: str) -> AsyncServiceInfo:
    """Query an instance as a third-party program would."""
    lan.enter(1)
    other = AsyncZeroconf(interfaces=["10.99.0.2"])
    names: asyncio.Queue[str] = asyncio.Queue()

    def on_change(*, name: str, **_: Any) -> None:
        names.put_nowait(name)

    try:
        browser = AsyncServiceBrowser(other.zeroconf, type_, handlers=[on_change])
        async with asyncio.timeout(40):
            while (found := await names.get()) != name:
                pass
        info = AsyncServiceInfo(type_, found)
        assert await info.async_request(other.zeroconf, 20_000)
        await browser.async_cancel()
        return info
    finally:
        await other.async_close()


@pytest.mark.parametrize("prefix", ["", "_windows._sub."])
def test_other_programs_find_type_and_subtype(lan: Network, prefix: str) -> None:
    async def main() -> AsyncServiceInfo:
        async with node(lan, 0, "n1"):
            return await _info(lan, f"{prefix}_braft._tcp.local.", "n1._braft._tcp.local.")

    info = lan.run(main)
    assert (info.port, info.parsed_addresses()) == (15001, ["10.99.0.1"])
    assert info.decoded_properties["cluster"] == "braft"
    assert info.decoded_properties["rport"] == "15000"


def test_a_node_of_the_original_is_a_contact(lan: Network) -> None:
    async def main() -> None:
        async with node(lan, 0, "n1") as first:
            lan.enter(1)
            original = AsyncZeroconf(interfaces=["10.99.0.2"])
            info = AsyncServiceInfo(
                "_braft._tcp.local.",
                "go._braft._tcp.local.",
                port=15001,
                properties={"txtv": "0", "lo": "1", "la": "2"},
                parsed_addresses=["10.99.0.2", "fd99::2"],
            )
            try:
                await original.async_register_service(info)
                await until(first, "10.99.0.1:15001", "10.99.0.2:15001")
                info.port = 16001
                await original.async_update_service(info)
                await until(first, "10.99.0.1:15001", "10.99.0.2:16001")
            finally:
                await original.async_close()

    lan.run(main)


def test_a_node_without_others_warns(lan: Network, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with node(lan, 0, "n1") as first:
            await until(first, "10.99.0.1:15001")
            async with asyncio.timeout(40):
                while not caplog.records:  # noqa: ASYNC110 - a log is not awaited
                    await asyncio.sleep(0.01)

    with caplog.at_level(logging.WARNING):
        lan.run(main)
    assert "no other node answers for _braft._tcp,_windows" in caplog.text


def test_a_failed_announcement_fails_the_search(
    lan: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise zeroconf.NonUniqueNameException("taken")

    monkeypatch.setattr(AsyncZeroconf, "async_register_service", refuse)

    async def main() -> None:
        async with node(lan, 0, "n1") as first:
            with pytest.raises(Unreachable, match="cannot announce: taken"):
                await until(first, "never")

    lan.run(main)


def test_no_multicast_is_an_error(lan: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise OSError("no such device")

    monkeypatch.setattr("braft_mdns.discovery.AsyncZeroconf", refuse)

    async def main() -> None:
        discovery = MdnsDiscovery("", discovery_context(ip="10.99.0.1"))
        with pytest.raises(Unreachable, match=r"cannot use multicast on .*: no such device"):
            await discovery.start()
        await discovery.stop()

    lan.run(main)


# ---------------------------------------------------------------------- changes of the host


@contextmanager
def other_address(lan: Network, side: int, address: str) -> Iterator[None]:
    """Replace the address of that side's device for a while."""
    usual = lan.addresses[side][0]
    lan.ip(side, "addr", "del", f"{usual}/24", "dev", lan.device)
    lan.ip(side, "addr", "add", f"{address}/24", "dev", lan.device)
    try:
        yield
    finally:
        lan.ip(side, "addr", "del", f"{address}/24", "dev", lan.device)
        lan.ip(side, "addr", "add", f"{usual}/24", "dev", lan.device)


def test_another_address_is_announced_and_the_others_are_still_known(lan: Network) -> None:
    async def main() -> None:
        async with node(lan, 0, "n1") as first, node(lan, 1, "n2") as second:
            await until(first, "10.99.0.1:15001", "10.99.0.2:15001")
            with other_address(lan, 1, "10.99.0.77"):
                lan.enter(1)
                await second.move("10.99.0.77")
                await until(first, "10.99.0.1:15001", "10.99.0.77:15001")
                await until(second, "10.99.0.1:15001", "10.99.0.77:15001")
                assert second.instance == "n2"

    lan.run(main)


def test_a_node_without_an_address_is_found_once_it_has_one(lan: Network) -> None:
    """Start before the network is available."""

    async def main() -> None:
        lan.enter(1)
        early = MdnsDiscovery("", discovery_context(node_id="n2", ip="127.0.0.1", options=QUICK))
        await early.start()
        try:
            await until(early, "127.0.0.1:15001")
            async with node(lan, 0, "n1") as first:
                await until(first, "10.99.0.1:15001")
                lan.enter(1)
                await early.move("10.99.0.2")
                both = "10.99.0.1:15001", "10.99.0.2:15001"
                await asyncio.gather(until(first, *both), until(early, *both))
        finally:
            lan.enter(1)
            await early.stop()

    lan.run(main)
