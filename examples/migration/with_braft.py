"""Counts visits with braft, on three nodes of one process."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack

from braft_core import Node, StateMachineService, command, query
from braft_testing.processes import free_ports


class Visits(StateMachineService):
    name = "visits"

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    @command
    def count(self, page: str) -> int:
        self.counts[page] = self.counts.get(page, 0) + 1
        return self.counts[page]

    @query
    def get(self, page: str) -> int:
        return self.counts.get(page, 0)

    def dump(self) -> dict[str, int]:
        return self.counts

    def load(self, value: dict[str, int]) -> None:
        self.counts = value


def main() -> None:
    ports = free_ports(9)
    cluster = "static:" + ",".join(f"127.0.0.1:{port}" for port in ports[:3])
    with tempfile.TemporaryDirectory() as data, ExitStack() as stack:
        nodes = [
            Node(
                ip="127.0.0.1",
                discovery=cluster,
                rport=ports[number],
                dport=ports[number + 3],
                hport=ports[number + 6],
                data_dir=f"{data}/{number}",
                services=[Visits],
            )
            for number in range(3)
        ]
        for node in nodes:
            stack.enter_context(node)
        for node in nodes:
            node.wait_ready(30)
        nodes[0].service(Visits).count("/home")
        nodes[1].service(Visits).count("/home")
        print(f"visits of /home: {nodes[2].service(Visits).get('/home')}")


if __name__ == "__main__":
    main()
