"""The parts of a node that change while it runs, each by its own methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError

import pytest

from braft_core import Node
from braft_core.abc import StorageOptions, WriteBatch
from braft_core.errors import StorageFull
from braft_core.raft import Configuration, EntryType, HardState, Server, decode_configuration
from braft_core.runtime.advertised_address import AdvertisedAddress
from braft_core.runtime.initial_state import InitialState
from braft_core.storage.memory import MemoryStorage
from braft_testing.internals import internals

ALONE = Configuration((Server("a", "127.0.0.1:1"),))
OTHER = Configuration((Server("b", "127.0.0.1:2"),))


class Disk(MemoryStorage):
    """A memory store that counts its writes, and rejects them while it is full."""

    def __init__(self) -> None:
        super().__init__(StorageOptions(None))
        self.full, self.writes = False, 0

    def write(self, batches: Sequence[WriteBatch]) -> None:
        if self.full:
            raise StorageFull("no space")
        self.writes += 1
        super().write(batches)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def initial(disk: Disk) -> InitialState:
    return InitialState(disk, disk.open(), None)


def configurations(initial: InitialState) -> list[Configuration]:
    entries = initial.stored.entries
    assert {entry.type for entry in entries} <= {EntryType.CONFIGURATION}
    return [decode_configuration(entry.data) for entry in entries]


def test_a_log_begins_with_one_configuration(disk: Disk, initial: InitialState) -> None:
    initial.bootstrap(ALONE)
    initial.bootstrap(OTHER)
    assert configurations(initial) == [ALONE]
    assert initial.stored.hard_state == HardState(1, "")
    assert disk.writes == 1


def test_a_cleared_log_can_begin_again(disk: Disk, initial: InitialState) -> None:
    initial.bootstrap(ALONE)
    initial.clear()
    assert (initial.stored.entries, initial.stored.hard_state) == ([], HardState())
    assert initial.snapshot is None
    initial.bootstrap(OTHER)
    assert configurations(initial) == [OTHER]


def test_what_the_disk_rejected_is_not_in_the_state(disk: Disk, initial: InitialState) -> None:
    disk.full = True
    with pytest.raises(StorageFull):
        initial.bootstrap(ALONE)
    assert configurations(initial) == []
    disk.full = False
    initial.bootstrap(ALONE)
    disk.full = True
    with pytest.raises(StorageFull):
        initial.clear()
    assert configurations(initial) == [ALONE]


@pytest.mark.parametrize(
    ("ip", "address"), [("127.0.0.9", "127.0.0.9:7000"), ("::1", "[::1]:7000")]
)
def test_an_address_that_moves_keeps_its_port(ip: str, address: str) -> None:
    advertised = AdvertisedAddress("127.0.0.1", 7000)
    assert advertised.address == "127.0.0.1:7000"
    assert advertised.move(ip) == address
    assert (advertised.ip, advertised.address) == (ip, address)


def test_the_components_of_a_node_are_frozen() -> None:
    with Node(discovery="none", data_dir=":memory:", ip="127.0.0.1", rport=0, http=False) as node:
        components = internals(node).threads.components
        with pytest.raises(FrozenInstanceError):
            components.server_id = "another"  # type: ignore[misc]
