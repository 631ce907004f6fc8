"""A client of etcd in Python, for machines without Go; executes child requests.

It calls ``etcdserverpb.KV`` with messages encoded by hand. It is slower than etcd: with many
outstanding requests it measures itself, which the report states. The Go client is faster and is
used if Go is installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import cycle
from typing import Any

import grpc.aio

from benchmarks import workload
from benchmarks.child import serve
from benchmarks.peers import VALUE_BYTES

__all__ = ["main"]

_Call = Callable[[bytes], Awaitable[bytes]]
_CHANNELS = 4


def _field(number: int, data: bytes) -> bytes:
    """Return a length-delimited protobuf field, shorter than 16 KiB."""
    size = len(data)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + data


def _put(key: str) -> bytes:
    return _field(1, key.encode()) + _field(2, bytes(VALUE_BYTES))


def _range(key: str) -> bytes:
    return _field(1, key.encode())


def _operation(channels: list[grpc.aio.Channel], operation: str) -> workload.Operation:
    path, encode = {"put": ("Put", _put), "get": ("Range", _range)}[operation]
    calls: list[_Call] = [c.unary_unary(f"/etcdserverpb.KV/{path}") for c in channels]
    turn = cycle(calls)

    async def operate(number: int) -> None:
        await next(turn)(encode(workload.key_of(number)))

    return operate


class Client:
    """The requests. Channels are opened on the loop of this process."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._survivors: list[grpc.aio.Channel] = []

    async def _channels(self, endpoints: list[str], each: int) -> list[grpc.aio.Channel]:
        # With a local subchannel pool every channel has its own connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        return [
            grpc.aio.insecure_channel(endpoint.removeprefix("http://"), options=options)
            for endpoint in endpoints
            for _ in range(each)
        ]

    async def _close(self, channels: list[grpc.aio.Channel]) -> None:
        for channel in channels:
            await channel.close()

    async def _load(
        self, endpoints: list[str], operation: str, outstanding: int, seconds: float, warmup: float
    ) -> dict[str, Any]:
        channels = await self._channels(endpoints, _CHANNELS)
        operate = _operation(channels, operation)
        sample = await workload.drive(operate, outstanding, seconds, warmup)
        await self._close(channels)
        return sample.as_json()

    async def _fill(self, endpoints: list[str], entries: int, outstanding: int) -> None:
        channels = await self._channels(endpoints, _CHANNELS)
        await workload.fill(_operation(channels, "put"), entries, outstanding)
        await self._close(channels)

    async def _prepare(self, endpoints: list[str]) -> None:
        self._survivors = await self._channels(endpoints, 1)
        for channel in self._survivors:
            await _operation([channel], "put")(0)

    async def _first(self, period: float, limit: float) -> int:
        # Each period uses the next survivor.
        operate = _operation(self._survivors, "put")
        return await workload.first_success(operate, period / len(self._survivors), limit)

    def load(self, **arguments: Any) -> dict[str, Any]:
        """See :func:`benchmarks.workload.drive`."""
        return self._runner.run(self._load(**arguments))

    def fill(self, **arguments: Any) -> None:
        """See :func:`benchmarks.workload.fill`."""
        self._runner.run(self._fill(**arguments))

    def prepare(self, **arguments: Any) -> None:
        """Connect to the nodes that will survive."""
        self._runner.run(self._prepare(**arguments))

    def first_success(self, **arguments: Any) -> int:
        """See :func:`benchmarks.workload.first_success`."""
        return self._runner.run(self._first(**arguments))


def main() -> None:
    """Serve requests."""
    client = Client()
    names = ("load", "fill", "prepare", "first_success")
    serve({name: getattr(client, name) for name in names})


if __name__ == "__main__":
    main()
