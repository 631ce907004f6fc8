"""Snapshots from an attacker who knows only the cluster.

It speaks the wire protocols of both transports. A node must not accept a snapshot that it cannot
restore, keep one that Raft refuses, or start from either. A refused offer leaves no file.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import shutil
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import msgpack
import pytest

from braft_core import Node
from braft_core.abc import SnapshotSink, TransportTiming
from braft_core.raft import InstallSnapshot
from braft_core.raft.types import Configuration, Entry, EntryType, Server, SnapshotMeta, Suffrage
from braft_core.runtime.timing import DEFAULT_TIMING, Timing
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.envelope import encode_command
from braft_core.services.kv import KVService
from braft_core.services.state_machine import StateMachine
from braft_core.storage.sqlite_format import read_only
from braft_core.transport.raft_codec import encode_chunk, encode_header, encode_request
from braft_testing.internals import internals, with_timing
from braft_testing.processes import PATIENCE, free_ports

HOST = "127.0.0.1"
EVIL = Configuration((Server("evil", "127.0.0.1:1"),))
FAR = 1_000_000


class Offer(NamedTuple):
    """An attacker's snapshot; ``ahead`` is the distance of its term from the node's."""

    contents: bytes
    index: int = FAR  # type: ignore[assignment]  # the field's name in the paper
    ahead: int = 1
    term: int = 1
    configuration: Configuration = EVIL
    configuration_index: int = 1
    #: ``None`` is the actual size.
    size: int | None = None
    sender: str = "evil"


class Victim:
    """A node of a cluster of one, with a few keys."""

    def __init__(
        self, transport: str, folder: Path, timing: Timing = DEFAULT_TIMING, **settings: Any
    ) -> None:
        self.transport, self.timing = transport, timing
        self.folder = folder
        self.rport, dport, hport = free_ports(3)
        self.settings: dict[str, Any] = {
            "ip": HOST,
            "rport": self.rport,
            "dport": dport,
            "hport": hport,
            "http": False,
            "data_dir": str(folder),
            "transport": transport,
            "services": ["kv"],
            **settings,
        }
        self.start()
        for number in range(5):
            self.node.kv.put("m", f"k{number}", number)

    def start(self) -> None:
        self.node = with_timing(Node(**self.settings), self.timing)
        self.node.start()
        self.node.wait_ready(PATIENCE)

    def restart(self) -> None:
        self.node.stop()
        self.start()

    @property
    def server_id(self) -> str:
        return internals(self.node).threads.components.server_id

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "snapshots").iterdir())

    def check(self) -> None:
        """Check that the node serves what was written."""
        assert internals(self.node).threads.failure is None
        assert internals(self.node).threads.ready() == (True, "")
        assert [self.node.kv.get("m", f"k{number}") for number in range(5)] == list(range(5))

    def leads(self) -> None:
        """Wait until it is elected again: the attacker sends no heartbeats."""
        deadline = time.monotonic() + PATIENCE
        while not self.node.is_leader and time.monotonic() < deadline:
            time.sleep(0.01)
        self.node.barrier()

    def settles(self, files: int = 0) -> None:
        """Wait until only that many files are left."""
        deadline = time.monotonic() + PATIENCE
        while len(found := self.files) > files and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(found) == files, found

    def first(self, offer: Offer) -> bytes:
        """Encode the description of the offer."""
        core = internals(self.node).server.running().core
        meta = SnapshotMeta(
            "",
            offer.index,
            offer.term,
            offer.configuration,
            offer.configuration_index,
            len(offer.contents) if offer.size is None else offer.size,
        )
        message = InstallSnapshot(
            offer.sender, self.server_id, core.current_term + offer.ahead, meta
        )
        header = encode_header(offer.sender, "127.0.0.1:1")
        return encode_request(message, header, b"127.0.0.1:1")

    def attack(
        self,
        offer: Offer,
        meanwhile: Callable[[], object] = lambda: None,
        end: bool = True,
        pieces: int = 2,
    ) -> str:
        """Offer a snapshot; return ``answered`` or the node's error.

        :param meanwhile: called before the last piece is sent.
        :param end: whether the attacker completes the transfer.
        :param pieces: number of pieces of equal size that carry the contents.
        """
        send = _over_grpc if self.transport == "grpc" else _over_tcp
        cuts = [len(offer.contents) * number // pieces for number in range(pieces + 1)]
        parts = [offer.contents[one:two] for one, two in pairwise(cuts)]
        return send(self, self.first(offer), parts, meanwhile, end)


def _over_grpc(
    victim: Victim, first: bytes, parts: list[bytes], meanwhile: Callable[[], object], end: bool
) -> str:
    cluster = internals(victim.node).server.identity.cluster_id

    def messages() -> Iterator[bytes]:
        yield first
        for part in parts[:-1]:
            yield encode_chunk(part)
        meanwhile()
        yield encode_chunk(parts[-1])
        if not end:
            time.sleep(PATIENCE)

    with grpc.insecure_channel(f"{HOST}:{victim.rport}") as channel:
        call: Any = channel.stream_unary("/RaftTransport/InstallSnapshot")
        try:
            call(messages(), metadata=(("braft-cluster-id", cluster),), timeout=PATIENCE)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "answered"


def _over_tcp(
    victim: Victim, first: bytes, parts: list[bytes], meanwhile: Callable[[], object], end: bool
) -> str:
    cluster = internals(victim.node).server.identity.cluster_id
    hello = {
        "lane": 3,
        "cluster_id": cluster,
        "sender": "evil",
        "to": victim.server_id,
        "token": "",
    }
    greeting = b"braft-tcp\x00" + msgpack.packb({**hello, "version_min": 1, "version_max": 1})
    with socket.create_connection((HOST, victim.rport), timeout=PATIENCE) as wire:
        _frame(wire, 1, greeting)
        kind, body = _read(wire)
        assert kind == 2, body
        with contextlib.suppress(ConnectionError):
            _frame(wire, 20, first)
            for part in parts[:-1]:
                _frame(wire, 21, part)
            meanwhile()
            _frame(wire, 21, parts[-1])
            if end:
                _frame(wire, 22, zlib.crc32(b"".join(parts)).to_bytes(4, "big"))
        try:
            kind, body = _read(wire)
            while kind in (3, 4):
                kind, body = _read(wire)
        except ConnectionError as error:
            return f"hung up: {error}"
        return "answered" if kind == 32 else repr(body)


def _frame(wire: socket.socket, kind: int, body: bytes) -> None:
    wire.sendall(struct.pack("!IBQ", len(body), kind, 0) + body)


def _read(wire: socket.socket) -> tuple[int, bytes]:
    length, kind, _ = struct.unpack("!IBQ", _exactly(wire, 13))
    return kind, _exactly(wire, length)


def _exactly(wire: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = wire.recv(count - len(data))
        if not more:
            raise ConnectionError("the node ended the connection")
        data += more
    return data


def state(value: Any = "evil") -> bytes:
    """Return a snapshot that every node can restore."""
    serializer = MsgpackSerializer()
    machine = StateMachine([KVService()], {serializer.tag: serializer})
    data = encode_command(serializer, "kv", "put", ["m", "k0", value])
    machine.apply(Entry(1, 1, EntryType.COMMAND, data))
    return b"".join(machine.snapshot())


def sections(name: bytes, *pieces: bytes) -> bytes:
    """Return the bytes of a snapshot with one section."""
    inside = b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces)
    return b"braft-sm\x01" + len(name).to_bytes(2, "big") + name + inside + bytes(4) + bytes(2)


MakeVictim = Callable[..., Victim]


@pytest.fixture
def make_victim(tmp_path: Path) -> Iterator[Callable[..., Victim]]:
    with contextlib.ExitStack() as stack:

        def make(transport: str, **settings: Any) -> Victim:
            victim = Victim(transport, tmp_path / "data", **settings)
            stack.callback(lambda: victim.node.stop())
            return victim

        yield make


@pytest.fixture(params=["grpc", "tcp"])
def victim(request: pytest.FixtureRequest, make_victim: MakeVictim) -> Victim:
    return make_victim(request.param)


UNREADABLE = {
    "zeros": bytes(100_000),
    "nothing": b"",
    "half a snapshot": state()[:-3],
    "more than a snapshot": state() + b"\0",
    "zeros as the keys": sections(b"kv", bytes(1000)),
    "no rows": sections(b"kv", msgpack.packb(["m", "k"])),
    "zeros as sessions": sections(b"$sessions", bytes(1000)),
    "another's sessions": sections(b"$sessions", msgpack.packb([1, 2]), msgpack.packb([b"x"])),
    "zeros as the agreement": sections(b"$cluster", bytes(10)),
    "zeros as removals": sections(b"$members", b"\x91\x00"),
    "a service twice": state()[:-2] + state()[9:],
    "a huge piece": b"braft-sm\x01\x00\x02kv\xff\xff\xff\xff" + bytes(100),
}


def test_a_snapshot_that_nobody_can_restore_is_never_placed(victim: Victim) -> None:
    for name, contents in UNREADABLE.items():
        assert victim.attack(Offer(contents)) != "answered", name
        victim.settles()
        victim.check()
    victim.restart()
    victim.check()
    assert victim.files == []


def test_what_raft_refuses_costs_no_file_and_is_not_begun_from(victim: Victim) -> None:
    for number in range(15):
        assert victim.attack(Offer(state(), index=1 + number % 3)) == "answered"
        assert victim.attack(Offer(state(), ahead=-1)) == "answered"
    assert victim.files == []
    victim.restart()
    victim.check()


def test_what_raft_refuses_when_it_is_whole_is_deleted_at_once(victim: Victim) -> None:
    core = internals(victim.node).server.running().core

    def overtake() -> None:
        for number in range(20):
            victim.node.kv.put("other", f"k{number}", number)

    for _ in range(3):
        offer = Offer(state(), index=core.commit_index + 3)
        assert victim.attack(offer, overtake) == "answered"
        victim.settles()
        victim.leads()
    victim.restart()
    victim.check()
    assert victim.files == []


BROKEN = {
    "nobody votes": Offer(state(), configuration=Configuration()),
    "learners alone": Offer(
        state(), configuration=Configuration((Server("a", "h:1", Suffrage.NONVOTER),))
    ),
    "a crowd": Offer(
        state(), configuration=Configuration(tuple(Server(f"s{n}", "h:1") for n in range(2000)))
    ),
    "a configuration from behind it": Offer(state(), configuration_index=FAR + 1),
    "entry 0": Offer(state(), index=0),
    "term 0": Offer(state(), term=0),
    "an entry of a later term": Offer(state(), term=1_000),
    "a second leader of the term": Offer(state(), ahead=0),
    "more than is allowed": Offer(b"x", size=1 << 40),
}


@pytest.mark.parametrize("transport", ["grpc", "tcp"])
def test_an_offer_that_breaks_a_rule_is_refused_before_anything_is_stored(
    transport: str, make_victim: MakeVictim
) -> None:
    victim = make_victim(transport, snapshot_max_bytes=1 << 30)
    began: list[SnapshotMeta] = []
    handler = internals(victim.node).server.handler
    receive = handler.create_snapshot

    def watched(meta: SnapshotMeta) -> SnapshotSink:
        began.append(meta)
        return receive(meta)

    handler.create_snapshot = watched  # type: ignore[method-assign]
    for name, offer in BROKEN.items():
        said = victim.attack(offer)
        known = ("refused", "hung up", "not a configuration")  # the last is the decoder's
        assert any(words in said for words in known), (name, said)
    assert victim.attack(Offer(state(), sender=victim.server_id)) != "answered"
    assert began == []
    victim.check()


@pytest.mark.parametrize("transport", ["grpc", "tcp"])
def test_a_snapshot_for_which_there_is_no_room_is_refused(
    transport: str, make_victim: MakeVictim
) -> None:
    victim = make_victim(transport, snapshot_max_bytes=1 << 60)
    said = victim.attack(Offer(state(), size=1 << 59))
    assert "no room" in said or "RESOURCE_EXHAUSTED" in said, said
    assert victim.files == []
    victim.check()


def test_bytes_beyond_those_announced_end_the_transfer(victim: Victim) -> None:
    assert victim.attack(Offer(state(), size=10)) != "answered"
    victim.settles()
    assert victim.attack(Offer(state(), size=len(state()) + 1)) != "answered"
    victim.settles()
    victim.check()


@pytest.mark.parametrize("transport", ["grpc", "tcp"])
def test_a_transfer_that_stands_still_or_trickles_is_ended(
    transport: str, make_victim: MakeVictim
) -> None:
    victim = make_victim(transport, timing=Timing(transport=TransportTiming(snapshot_pace=0.2)))

    def trickle() -> None:
        time.sleep(0.5)

    assert victim.attack(Offer(state()), trickle) != "answered"
    victim.settles()
    victim.check()


def test_a_snapshot_in_small_pieces_is_ended(victim: Victim) -> None:
    contents = state("x" * 1500)
    assert victim.attack(Offer(contents), pieces=len(contents)) != "answered"
    victim.settles()
    victim.check()


def test_many_transfers_leave_one_file_at_a_time(
    victim: Victim, caplog: pytest.LogCaptureFixture
) -> None:
    counts: list[int] = []
    # gRPC's client does not wait for the other threads once the first call is refused.
    ends: queue.SimpleQueue[str] = queue.SimpleQueue()

    def attack(depth: int) -> None:
        def meanwhile() -> None:
            counts.append(len(victim.files))
            if depth:
                attack(depth - 1)

        ends.put(victim.attack(Offer(bytes(1000)), meanwhile))

    for _ in range(5):
        attack(5)
        for _ in range(6):
            assert "DEADLINE" not in ends.get(timeout=PATIENCE)
        assert max(counts) <= 1
        victim.settles()
    assert len(counts) == 30
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    victim.check()


def test_what_lies_in_the_folder_is_not_begun_from_and_is_removed(
    make_victim: MakeVictim, tmp_path: Path
) -> None:
    victim = make_victim("grpc")
    taken = victim.node.take_snapshot()
    victim.node.stop()
    folder = victim.folder / "snapshots"
    (mine,) = folder.iterdir()
    # A complete snapshot of this version, like one that Raft refused used to remain.
    later = f"{FAR:020d}-{1:020d}-0badbeef.snap"
    shutil.copyfile(mine, folder / later)
    # The start must not take it for the newest one.
    victim.start()
    victim.check()
    assert victim.files == [mine.name]
    assert mine.name == f"{taken.id}.snap"
    assert [row.id for row in read_names(victim.folder)] == [taken.id]


def read_names(folder: Path) -> Any:
    """Return the names in the store, read from a copy."""
    from braft_core.storage.snapshot_names import decode

    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    return decode(read_only(copy / "raft.db").meta["snapshots"])
