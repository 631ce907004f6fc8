"""Which of many announced names are followed: a flood from one address does not evict others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import ifaddr
import pytest

from braft_core.abc import Contact
from braft_mdns.instances import MAX_FOLLOWED, MAX_PER_ADDRESS, Answer, Instances
from braft_mdns.interfaces import choose_interfaces
from braft_mdns.records import contact_of

NAMES = 3000
FLOOD = [f"s{n}._braft._tcp.local." for n in range(NAMES)]
HONEST = ["a._braft._tcp.local.", "b._braft._tcp.local."]
WHERE = {name: Contact(f"10.0.0.{n + 1}", 15000, "mdns") for n, name in enumerate(HONEST)}


def one_address(name: str) -> Answer:
    """Answer for a name at one shared address, each with its own port."""
    port = 1000 + int(name[1:].partition(".")[0])
    return Answer(True, Contact("10.0.0.66", port, "mdns"))


def many_addresses(name: str) -> Answer:
    number = int(name[1:].partition(".")[0])
    return Answer(True, Contact(f"10.1.{number // 250}.{number % 250 + 1}", 15000, "mdns"))


def no_answer(_name: str) -> Answer:
    return Answer(False, None)


async def flooded(
    flooder: Callable[[str], Answer], turns: int = 1200
) -> tuple[Instances, int, set[Contact]]:
    """Follow announced names for some rotations; the honest ones come last."""
    met: set[Contact] = set()
    most = open_now = 0

    async def ask(name: str) -> Answer:
        nonlocal most, open_now
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0)
        open_now -= 1
        return Answer(True, WHERE[name]) if name in WHERE else flooder(name)

    instances = Instances(ask, 600.0, 300.0, lambda: None)
    for name in [*FLOOD, *HONEST]:
        instances.added(name)
    assert len(instances) == MAX_FOLLOWED
    for _ in range(turns):
        for _ in range(12):
            await asyncio.sleep(0)
        met |= instances.contacts & set(WHERE.values())
        if met == set(WHERE.values()):
            break
        instances.rotate([*FLOOD, *HONEST])
        assert len(instances) <= MAX_FOLLOWED
    await instances.pause()
    return instances, most, met


@pytest.mark.parametrize("flooder", [one_address, no_answer])
def test_honest_names_have_their_turn(flooder: Callable[[str], Answer]) -> None:
    instances, most, met = asyncio.run(flooded(flooder))
    assert met == set(WHERE.values())
    assert most <= 16
    hosts = Counter(contact.host for contact in instances.contacts)
    assert max(hosts.values()) <= MAX_PER_ADDRESS


def test_a_flood_of_addresses_is_bounded_and_takes_turns() -> None:
    instances, most, _met = asyncio.run(flooded(many_addresses, turns=50))
    assert most <= 16
    assert len(instances.contacts) <= MAX_FOLLOWED
    assert instances.crowded


def test_changes_of_one_record_are_asked_for_at_a_pace() -> None:
    asked = 0

    async def ask(_name: str) -> Answer:
        nonlocal asked
        asked += 1
        return Answer(True, WHERE[HONEST[0]])

    async def main() -> None:
        instances = Instances(ask, 600.0, 300.0, lambda: None)
        for _ in range(1000):
            instances.added(HONEST[0])
            await asyncio.sleep(0)
        await instances.pause()

    asyncio.run(main())
    assert 1 <= asked < 100


def test_a_name_that_goes_is_no_contact() -> None:
    changes = 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    async def main() -> None:
        async def ask(name: str) -> Answer:
            return Answer(True, WHERE[name])

        instances = Instances(ask, 600.0, 300.0, changed)
        instances.added(HONEST[0])
        for _ in range(12):
            await asyncio.sleep(0)
        assert instances.contacts == {WHERE[HONEST[0]]}
        instances.removed(HONEST[0])
        instances.removed("unknown")
        assert instances.contacts == set()

    asyncio.run(main())
    assert changes == 2


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["10.0.0.9"], "10.0.0.9"),
        (["192.0.2.1"], None),
        (["127.0.0.1"], None),
        (["224.0.0.251"], None),
        (["0.0.0.0"], None),
        (["192.0.2.1", "10.0.0.9"], "10.0.0.9"),
        (["fe80::1%eth9", "2001:db8::1"], "fe80::1%eth9"),
        (["2001:db8::1"], None),
    ],
)
def test_addresses_must_be_of_the_network(addresses: list[str], expected: str | None) -> None:
    adapter = ifaddr.Adapter(
        "eth9",
        "eth9",
        [ifaddr.IP("10.0.0.1", 24, "eth9"), ifaddr.IP(("fe80::5", 0, 2), 64, "eth9")],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ifaddr, "get_adapters", lambda: [adapter])
        networks = choose_interfaces("10.0.0.1", "").networks
    contact = contact_of(addresses, 15000, "10.0.0.1", "mdns", networks)
    assert (contact and contact.host) == expected
    # With ``any_network``, and for a node that is itself behind NAT.
    everywhere = [contact_of(addresses, 15000, "10.0.0.1", "mdns")]
    everywhere.append(contact_of(addresses, 15000, "203.0.113.7", "mdns", networks))
    unusable = addresses[0] in ("224.0.0.251", "0.0.0.0")
    assert all((found is None) == unusable for found in everywhere)
