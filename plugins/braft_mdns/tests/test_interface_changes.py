"""Sockets are reopened on changed interfaces; a script replaces the machine's interfaces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest

from braft_core.abc import Contact
from braft_core.errors import ConfigError, Unreachable
from braft_mdns import discovery as module
from braft_mdns.discovery import MdnsDiscovery
from braft_mdns.interfaces import Chosen
from braft_testing.discovery import discovery_context

HOME = Chosen(["192.0.2.1"], ((2, ("192.0.2.1",)),))
AGAIN = Chosen(["192.0.2.1"], ((7, ("192.0.2.1",)),))
AWAY = Chosen(["198.51.100.7"], ((2, ("198.51.100.7",)),))
GONE = ConfigError("interface 'eth0' does not exist or has no address")
#: Number of checks after which no further change follows.
ENOUGH = 20

Script = list[Chosen | ConfigError]


class Scripted(MdnsDiscovery):
    """Records each open; fails the given number of times."""

    def __init__(self, failures: int = 0) -> None:
        options = {"look_again": 0.001}
        super().__init__("", discovery_context(ip="192.0.2.1", options=options))
        self.begun: list[tuple[str, Chosen]] = []
        self.failures = failures

    def _open(self, chosen: Chosen) -> None:
        if self.begun and self.failures:
            self.failures -= 1
            raise Unreachable("cannot use multicast")
        self._current = self.context.ip, chosen
        self.begun.append(self._current)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], Iterator[int]]:
    """Return ``play(script)``: set the checks' results (the last repeats); yield their number."""

    def play(script: Script) -> Iterator[int]:
        count = 0

        def choose(ip: str, interface: str) -> Chosen:
            nonlocal count
            found = script[min(count, len(script) - 1)]
            count += 1
            if isinstance(found, ConfigError):
                raise found
            return found

        monkeypatch.setattr(module, "choose_interfaces", choose)
        while True:
            yield count

    return play


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(40):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def answer(discovery: MdnsDiscovery) -> list[Contact]:
    """Return the contacts as soon as :meth:`discover` no longer raises."""
    async with asyncio.timeout(40):
        while True:
            with suppress(Unreachable):
                return await discovery.discover()
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("script", "begun"),
    [
        ([HOME], [HOME]),
        ([HOME, HOME, AWAY], [HOME, AWAY]),
        ([HOME, AWAY, HOME], [HOME]),
        ([HOME, AWAY, AGAIN], [HOME, AGAIN]),
        ([HOME, AGAIN], [HOME, AGAIN]),
        ([HOME, GONE, GONE, HOME], [HOME, HOME]),
        ([HOME, GONE], [HOME]),
        ([HOME, HOME, AWAY, AWAY, AWAY, HOME], [HOME, AWAY, HOME]),
    ],
    ids=[
        "nothing changes",
        "another address",
        "for one check",
        "settles late",
        "the interface is another one",
        "it has no address for a while",
        "it has none any more",
        "there and back",
    ],
)
def test_it_reopens_when_changed_interfaces_stay_changed(
    script: Script, begun: Script, checks: Any
) -> None:
    async def main() -> None:
        counted = checks(script)
        next(counted)
        discovery = Scripted()
        await discovery.start()
        await until(lambda: next(counted) >= ENOUGH)
        await discovery.stop()
        assert [chosen for _, chosen in discovery.begun] == begun

    run(main)


def test_a_move_is_announced_at_once(checks: Any) -> None:
    async def main() -> None:
        counted = checks([HOME, AWAY])
        next(counted)
        discovery = Scripted()
        discovery.options = discovery.options.model_copy(update={"look_again": 3600.0})
        await discovery.start()
        await discovery.move("198.51.100.7")
        await until(lambda: len(discovery.begun) == 2)
        await discovery.stop()
        assert discovery.begun == [("192.0.2.1", HOME), ("198.51.100.7", AWAY)]

    run(main)


def test_a_failed_open_is_an_error_until_it_succeeds(
    checks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        next(checks([HOME, AWAY]))
        discovery = Scripted(failures=3)
        await discovery.start()
        assert await discovery.discover() == []
        await until(lambda: discovery.failures == 2)
        with pytest.raises(Unreachable, match="cannot use multicast"):
            await discovery.discover()
        await until(lambda: len(discovery.begun) == 2)
        assert await answer(discovery) == []
        await discovery.stop()
        with pytest.raises(Unreachable, match="not started"):
            await discovery.discover()

    caplog.set_level(logging.WARNING)
    run(main)
    assert [record.getMessage() for record in caplog.records] == ["cannot use multicast"]
