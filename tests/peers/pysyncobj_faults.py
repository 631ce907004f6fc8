"""Faults of PySyncObj 0.3.17, one scenario each: ``python pysyncobj_faults.py NAME DIRECTORY``.

All but one scenario replace its sockets by a list. Prints a JSON object.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.journal import ResizableFile
from pysyncobj.node import Node, TCPNode
from pysyncobj.transport import TCPTransport, Transport

Answer = dict[str, Any]
SELF, PEER, OTHER = "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"


class Wire(Transport):  # type: ignore[misc]  # the library has no types
    """Replaces the TCP transport: keeps outgoing messages in a list."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sent: list[tuple[str, Any]] = []

    def send(self, node: Node, message: Any) -> bool:
        self.sent.append((node.id, message))
        return True


class Unbound(TCPTransport):  # type: ignore[misc]
    """Computes its listening address, but does not bind it."""

    def _maybeBind(self) -> None:
        self._ready = True


def server(*others: str, **settings: Any) -> Any:
    conf = SyncObjConf(autoTick=False, dynamicMembershipChange=True, **settings)
    return SyncObj(SELF, list(others), conf=conf, transportClass=Wire)


def receive(to: Any, sender: str, **message: Any) -> None:
    to._SyncObj__transport._onMessageReceived(TCPNode(sender), message)


def tick_until(target: Any, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        target.doTick(0.01)


class Canary:
    """Writes a file when it is unpickled; it could run any code."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (Path(self.path), "executed")


def pickle_from_the_network(directory: str) -> Answer:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, canary = f"127.0.0.1:{port}", Path(directory) / "canary"
    unbound = SyncObj(address, [], conf=SyncObjConf(autoTick=False), transportClass=Unbound)
    conf = SyncObjConf(autoTick=False, bindAddress=address)
    victim = SyncObj(address, [], conf=conf)
    tick_until(victim, lambda: victim.isReady())
    data = zlib.compress(pickle.dumps(Canary(str(canary))))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
        stranger.sendall(struct.pack("i", len(data)) + data)
        tick_until(victim, canary.exists)
    host = unbound._SyncObj__transport._server._TcpServer__host
    return {"canary": canary.read_text() if canary.exists() else "", "binds_by_default": host}


def no_fsync(directory: str) -> Answer:
    calls: list[str] = []
    for name in ("fsync", "fdatasync", "sync"):
        setattr(os, name, lambda *_, name=name: calls.append(name))
    ResizableFile.flush = lambda _: calls.append("msync")
    follower = server(PEER, OTHER, journalFile=f"{directory}/journal")
    receive(follower, PEER, type="request_vote", term=5, last_log_index=9, last_log_term=9)
    receive(follower, PEER, **entries(1, [2, 3]))
    answers = [each["type"] for _, each in follower._SyncObj__transport.sent]
    return {"answers": answers, "syncs": calls}


def entries(after: int, indexes: list[int]) -> Answer:
    return {
        "type": "append_entries",
        "term": 5,
        "commit_index": 1,
        "entries": [(b"\x00", index, 5) for index in indexes],
        "prevLogIdx": after,
        "prevLogTerm": 0 if after == 1 else 5,
    }


def log_of(target: Any) -> list[int]:
    log = target._SyncObj__raftLog
    return [log[index][1] for index in range(len(log))]


def a_batch_sent_again(directory: str) -> Answer:
    follower = server(PEER, OTHER)
    receive(follower, PEER, **entries(1, [2, 3]))
    receive(follower, PEER, **entries(3, [4, 5]))
    acknowledged = log_of(follower)
    receive(follower, PEER, **entries(1, [2, 3]))  # a duplicate that the network delayed
    return {"acknowledged": acknowledged, "left": log_of(follower)}


def overlapping_changes(directory: str) -> Answer:
    leader = server()
    tick_until(leader, lambda: leader._isLeader() and leader.isReady())
    for address in (PEER, OTHER):
        leader.addNodeToCluster(TCPNode(address))
        leader.doTick(0)
    members = sorted(node.id for node in leader.otherNodes)
    return {"members": members, "committed": leader.raftCommitIndex, "log": log_of(leader)}


SCENARIOS: dict[str, Callable[[str], Answer]] = {
    each.__name__: each
    for each in (pickle_from_the_network, no_fsync, a_batch_sent_again, overlapping_changes)
}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]](sys.argv[2])))
