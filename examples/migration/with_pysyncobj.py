"""Counts visits with PySyncObj, on three nodes of one process."""

from __future__ import annotations

import socket
import time

from pysyncobj import SyncObj, SyncObjConf, replicated_sync


class Visits(SyncObj):  # type: ignore[misc]  # the library has no types
    def __init__(self, own: str, others: list[str]) -> None:
        super().__init__(own, others, SyncObjConf(bindAddress=own))
        self.counts: dict[str, int] = {}

    @replicated_sync  # type: ignore[untyped-decorator]
    def count(self, page: str) -> int:
        self.counts[page] = self.counts.get(page, 0) + 1
        return self.counts[page]


def addresses(count: int) -> list[str]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    found = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return found


def main() -> None:
    cluster = addresses(3)
    nodes = [Visits(own, [other for other in cluster if other != own]) for own in cluster]
    for node in nodes:
        node.waitReady()
    nodes[0].count("/home")
    print(f"visits of /home: {nodes[1].count('/home')}")
    while not all(node.counts == {"/home": 2} for node in nodes):
        time.sleep(0.01)  # a read of another node's own state may be old
    for node in nodes:
        node.destroy()


if __name__ == "__main__":
    main()
