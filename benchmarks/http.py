"""Requests per second of ``/v1/kv``, put and get, on one node in a separate process.

Also prints the CPU time of the node's process per request, in microseconds, which depends less on
other work of the machine.

``python -m benchmarks.http`` takes seconds. The clients are one process with little work per
request, on the same machine: the figures compare HTTP servers, not machines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.machine import facts
from braft_testing.processes import HOST, ProcessCluster, wait_for

__all__ = ["main"]


async def _caller(port: int, request: bytes, end: float) -> int:
    reader, writer = await asyncio.open_connection(HOST, port)
    count = 0
    while time.monotonic() < end:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"refused: {head!r}")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        count += 1
    writer.close()
    return count


async def _measure(port: int, request: bytes, connections: int, seconds: float) -> float:
    began = time.monotonic()
    callers = [_caller(port, request, began + seconds) for _ in range(connections)]
    counts = await asyncio.gather(*callers)
    return sum(counts) / (time.monotonic() - began)


def _requests() -> dict[str, bytes]:
    head = f"/v1/kv/bench/key HTTP/1.1\r\nHost: {HOST}\r\n"
    put = f"PUT {head}Content-Type: application/json\r\nContent-Length: 18\r\n\r\n"
    return {"put": f'{put}"0123456789abcdef"'.encode(), "get": f"GET {head}\r\n".encode()}


def _run(connections: int, seconds: float, settings: dict[str, str]) -> dict[str, int]:
    found = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessCluster(1, Path(folder), **settings) as cluster,
    ):
        cluster.start()
        client, port = cluster.client(0), cluster.nodes[0].http_port
        process = psutil.Process(cluster.pid(0))
        wait_for(lambda: client.kv_put("bench", "key", "0123456789abcdef"), what="it writes")
        for name, request in _requests().items():
            asyncio.run(_measure(port, request, connections, seconds / 4))
            before, began = process.cpu_times(), time.monotonic()
            rate = asyncio.run(_measure(port, request, connections, seconds))
            after, count = process.cpu_times(), rate * (time.monotonic() - began)
            spent = after.user + after.system - before.user - before.system
            found[name], found[f"{name} cpu us"] = round(rate), round(1e6 * spent / count)
    return found


def main() -> None:
    """Measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--server", default="uvicorn", choices=("uvicorn", "waitress", ""))
    options = parser.parse_args()
    rates = _run(
        options.connections,
        options.seconds,
        {"http_server": options.server} if options.server else {},
    )
    print(json.dumps({"server": options.server, **rates, "machine": facts(Path.cwd())}))


if __name__ == "__main__":
    main()
