"""``node.kv``: maps in pages, over the service itself."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from braft_core.abc import CommandContext
from braft_core.errors import InvalidArgument, Rejected
from braft_core.kv import KV
from braft_core.pagination import Page
from braft_core.services.kv import KVService


class Caller:
    """A fake node with a real state machine."""

    staleness = 0.0

    def __init__(self) -> None:
        self.service = KVService()
        self.asked: list[tuple[Any, ...]] = []

    def execute(self, service: str, command: str, *args: Any, timeout: Any = None) -> Any:
        return self.service.apply(command, args, CommandContext(1, 1, 1))

    async def aexecute(self, service: str, command: str, *args: Any, timeout: Any = None) -> Any:
        return self.execute(service, command, *args)

    def query(self, service: str, query: str, *args: Any, **options: Any) -> Any:
        self.asked.append((query, *args, options["consistency"], options["timeout"]))
        return self.service.query(query, args)

    async def aquery(self, service: str, query: str, *args: Any, **options: Any) -> Any:
        return self.query(service, query, *args, **options)


@pytest.fixture
def caller() -> Caller:
    return Caller()


@pytest.fixture
def kv(caller: Caller) -> KV:
    kv = KV(caller, time.monotonic)
    for number in range(25_000):
        kv.put("m", f"k{number:05d}", number)
    return kv


def test_a_page(kv: KV, caller: Caller) -> None:
    assert kv.page("m", limit=2) == Page({"k00000": 0, "k00001": 1}, "k00001")
    assert kv.page("m", "k24997", consistency="stale", timeout=3) == Page(
        {"k24998": 24_998, "k24999": 24_999}, None
    )
    assert asyncio.run(kv.apage("m", limit=1)) == Page({"k00000": 0}, "k00000")
    assert caller.asked[1] == ("page", "m", "k24997", 10_000, "stale", 3)
    with pytest.raises(InvalidArgument, match="from 1 to 100000"):
        kv.page("m", limit=0)
    with pytest.raises(Rejected, match="there is no map"):
        kv.page("none")


def test_everything_page_by_page(kv: KV, caller: Caller) -> None:
    assert dict(kv.items("m")) == kv.list("m")
    assert len(caller.asked) == 4
    assert list(kv.items("m", "k24998")) == [("k24999", 24_999)]


def test_a_page_is_read_when_it_is_needed(kv: KV, caller: Caller) -> None:
    entries = kv.items("m")
    assert not caller.asked
    next(entries)
    for number in range(24_000, 25_000):
        kv.delete("m", f"k{number:05d}")
    kv.put("m", "k00000x", "in a page that was read")
    kv.put("m", "k20000x", "in a page to come")
    rest = [key for key, _ in entries]
    assert rest == [f"k{number:05d}" for number in range(1, 20_001)] + ["k20000x"] + [
        f"k{number:05d}" for number in range(20_001, 24_000)
    ]


def test_the_awaitable_items(kv: KV) -> None:
    async def collect() -> dict[str, Any]:
        return {key: value async for key, value in kv.aitems("m")}

    assert asyncio.run(collect()) == kv.list("m")


def test_items_of_a_map_that_is_not_there(kv: KV) -> None:
    entries = kv.items("none")
    with pytest.raises(Rejected, match="there is no map"):
        next(entries)
