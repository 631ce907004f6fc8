"""Raft peers that break the rules of the protocol: what they can do to a node.

The attacker is a transport that sends any message under any server id.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from braft_core import Node
from braft_core.errors import NotApplied, OutcomeUnknown
from braft_core.local_nodes import HOST, free_ports
from braft_core.raft import AppendEntries, Entry, EntryType, Request, RequestPreVote, RequestVote
from braft_core.raft.limits import MAX_ENTRIES
from braft_core.transport import LinkedTransport
from braft_core.transport.grpc import GrpcTransport
from braft_tcp import TcpTransport
from braft_testing.processes import wait_for
from braft_testing.transport import Node as Attacker
from braft_testing.transport_nodes import listening_node

TRANSPORTS: dict[str, type[LinkedTransport]] = {"grpc": GrpcTransport, "tcp": TcpTransport}
HUGE = (1 << 63) - 1
TOKEN = "correct-horse-battery-staple-0123"


@pytest.fixture(params=["open", "token"])
def token(request: pytest.FixtureRequest) -> str | None:
    """Return the token, which the attacker knows too: these tests are about peers."""
    return TOKEN if request.param == "token" else None


@contextmanager
def running(folder: Path, transport: str, ports: list[int], **settings: Any) -> Iterator[Node]:
    """Run a node that leads a cluster of one."""
    raft, discovery, http = ports
    node = Node(
        ip=HOST,
        rport=raft,
        dport=discovery,
        hport=http,
        data_dir=str(folder),
        transport=transport,
        **settings,
    )
    with node:
        yield node


@asynccontextmanager
async def attacking(victim: Node, transport: str, token: str | None) -> AsyncIterator[Attacker]:
    """Run an attacker that is a peer of the victim's cluster, as server ``mallory``."""
    cluster_id = victim.cluster_view(20)["clusterID"]
    options = {"token": token} if token else {}
    kind = TRANSPORTS[transport]
    async with listening_node(kind, "mallory", cluster_id, **options) as attacker:
        attacker.transport.set_peer(victim.server_id, victim.address)
        yield attacker


def details(node: Node) -> dict[str, Any]:
    found = node.cluster_view(20)["nodes"][0]
    assert isinstance(found, dict)
    return found


def refused(node: Node, name: str = "violation") -> int:
    count = details(node)["refused"].get(name, 0)
    assert isinstance(count, int)
    return count


def attack(victim: Node, transport: str, token: str | None, make: Callable[[int], Request]) -> None:
    """Send one message until the victim has refused it."""

    async def scenario() -> None:
        async with attacking(victim, transport, token) as attacker:
            number = 0

            def send() -> None:
                nonlocal number
                number += 1
                message = make(number)
                message.request_id = number
                attacker.transport.send(message)

            before = await asyncio.to_thread(refused, victim)
            async with asyncio.timeout(60):
                while await asyncio.to_thread(refused, victim) < before + 1:
                    send()
                    await asyncio.sleep(0.05)
            assert not attacker.handler.responses, "nobody is answered"

    asyncio.run(scenario())


def forgeries(node: Node) -> dict[str, Callable[[int], Request]]:
    """Return messages to a leader, each of which breaks a rule, by name."""
    me, facts = node.server_id, details(node)
    term, last = facts["term"], facts["lastIndex"]

    def append(*entries: Entry, term: int = term + 1, prev: int = last) -> Callable[[int], Request]:
        prev_term = facts["term"] if prev else 0
        return lambda _: AppendEntries("mallory", me, term, prev, prev_term, entries, 0)

    def entry(index: int, entry_term: int = term + 1, kind: int = 0, data: bytes = b"") -> Entry:
        return Entry(index, entry_term, kind, data)

    return {
        "a heartbeat of the term that it leads": append(term=term, prev=0),
        "entries of the term that it leads": append(entry(last + 1, term), term=term),
        "entries with a gap": append(entry(last + 2)),
        "entries out of order": append(entry(last + 2), entry(last + 1)),
        "entries whose terms fall": append(entry(last + 1), entry(last + 2, term)),
        "an entry of a later term": append(entry(last + 1, term + 9)),
        "no configuration": append(entry(last + 1, kind=EntryType.CONFIGURATION, data=b"?")),
        "another committed entry": append(entry(last), prev=last - 1),
        "a heartbeat of the last term": append(term=HUGE, prev=0),
        "a vote for the last term": lambda _: RequestVote("mallory", me, HUGE, HUGE, HUGE, True),
        "a pre-vote for the last term": lambda _: RequestPreVote("mallory", me, HUGE, last, term),
    }


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_breaks_a_rule_ends_its_connection_and_nothing_else(
    tmp_path: Path, transport: str, token: str | None
) -> None:
    ports = free_ports(3)
    settings = {"token": token} if token else {}
    with running(tmp_path, transport, ports, **settings) as node:
        node.kv.put("m", "k", 1)
        facts = details(node)
        for name, make in forgeries(node).items():
            attack(node, transport, token, make)
            now = details(node)
            assert (now["term"], now["raftState"]) == (facts["term"], "Leader"), name
        node.kv.put("m", "k", 2)
        assert "broke a rule of the protocol" in details(node)["notes"]["peers"]
        assert "mallory" in details(node)["notes"]["peers"]
    with running(tmp_path, transport, ports, **settings) as again:
        assert again.kv.get("m", "k") == 2
        assert details(again)["term"] <= facts["term"] + 2
        assert "peers" not in details(again)["notes"]


class Raw:
    """Replaces the encoder of entries: returns given bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def encode(self, _entries: object) -> bytes:
        return self._data


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("name", "data", "limit"),
    [
        ("empty entries", b"\x32\x00" * (15 << 19), f"at most {MAX_ENTRIES}"),
        ("headers", b"\x0a\x00" * (15 << 19), "beside the data"),
        ("unknown fields", b"\xf8\x7f\x01" * (5 << 20), "beside the data"),
    ],
)
def test_fifteen_megabytes_of_nothing_are_refused_at_once(
    tmp_path: Path, transport: str, name: str, data: bytes, limit: str
) -> None:
    with running(tmp_path, transport, free_ports(3)) as node:
        node.kv.put("m", "k", 1)
        term = details(node)["term"]

        async def scenario() -> tuple[float, int]:
            async with attacking(node, transport, None) as attacker:
                running: Any = attacker.transport._session  # type: ignore[attr-defined]
                running.local.entries = Raw(data)
                message = AppendEntries("mallory", node.server_id, term, 1, 1, (), 0)
                process = psutil.Process(os.getpid())
                memory, spent = process.memory_info().rss, time.process_time()
                async with asyncio.timeout(60):
                    while not await asyncio.to_thread(refused, node, "garbage"):
                        message.request_id += 1
                        attacker.transport.send(message)
                        await asyncio.sleep(0.5)
                return time.process_time() - spent, process.memory_info().rss - memory

        spent, grown = asyncio.run(scenario())
        assert spent < 10, f"{name}: {spent} s of processor time, 34 s before there was a bound"
        assert grown < 500 << 20, f"{name}: {grown >> 20} MiB, 1500 before there was a bound"
        node.kv.put("m", "k", 2)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "entry",
    [
        (EntryType.COMMAND, b"\x01\xee\x90"),
        (EntryType.COMMAND, b"\xee\xee\xee"),
        (200, b"of a later version"),
    ],
    ids=["serializer", "format", "type"],
)
def test_a_committed_entry_that_nobody_can_read_stops_applying_and_no_process(
    tmp_path: Path, transport: str, entry: tuple[int, bytes]
) -> None:
    """A real leader could send one, so every node must keep running, also after a restart."""
    ports = free_ports(3)
    with running(tmp_path, transport, ports) as node:
        node.kv.put("m", "k", 1)
        facts = details(node)
        term, last = facts["term"] + 1, facts["lastIndex"]
        kind, data = entry

        async def scenario() -> None:
            async with attacking(node, transport, None) as attacker:
                entries = [Entry(last + 1, term, kind, data)]
                message = AppendEntries(
                    "mallory", node.server_id, term, last, facts["term"], entries, last + 1
                )
                async with asyncio.timeout(60):
                    while "applying" not in await asyncio.to_thread(node.notes):
                        message.request_id += 1
                        attacker.transport.send(message)
                        await asyncio.sleep(0.05)

        asyncio.run(scenario())
        assert f"stopped applying at entry {last + 1}" in node.ready()[1]
    for _ in range(2):
        with running(tmp_path, transport, ports) as again:
            wait_for(lambda again=again: "applying" in again.notes())  # type: ignore[misc]
            assert f"stopped applying at entry {last + 1}" in again.ready()[1]
            with pytest.raises((NotApplied, OutcomeUnknown)):
                again.kv.put("m", "k", 2, timeout=0.5)
            assert details(again)["serverID"] == again.server_id
