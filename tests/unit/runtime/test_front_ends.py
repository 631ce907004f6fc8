"""Front ends of plugins: their loop, and how a node starts and stops them."""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Iterator
from typing import Any, cast

import pytest

from braft_core.abc import FrontEnd
from braft_core.errors import ConfigError, PluginLoadError
from braft_core.plugin import hookimpl
from braft_core.plugin.manager import Plugins
from braft_core.runtime.blocking import check_may_block
from braft_core.runtime.front_ends import FrontEnds
from braft_core.runtime.platform import THREADS
from braft_core.runtime.timing import DEFAULT_TIMING
from braft_core.tokens import Keyring

_NAME = "braft-test-serve"


class _Lab(FrontEnd):
    def __init__(self, said: list[str], name: str, failing: Exception | None = None) -> None:
        self.said, self.name, self.failing = said, name, failing
        self.thread = ""
        self.wrong = ""

    @property
    def address(self) -> str:
        return "127.0.0.1:1"

    async def start(self) -> None:
        self.thread = threading.current_thread().name
        self.said.append(f"start {self.name}")
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="loop of the front ends"):
            check_may_block()
        if self.failing:
            raise self.failing

    def refresh(self) -> None:
        self.said.append(f"refresh {self.name}")
        if self.name == "sullen":
            raise RuntimeError("no")

    @property
    def trouble(self) -> str:
        if self.name == "sullen":
            raise RuntimeError("no")
        return self.wrong

    async def stop(self, grace: float) -> None:
        assert 0 < grace < 5
        self.said.append(f"stop {self.name}")
        if self.name == "sullen":
            raise RuntimeError("no")


def _plugin(answer: Any, seen: list[Any] | None = None) -> types.ModuleType:
    module = types.ModuleType("lab")

    @hookimpl
    def braft_serve(node: Any, keyring: Keyring) -> Any:
        if seen is not None:
            seen.extend((node, keyring))
        if isinstance(answer, Exception):
            raise answer
        return answer

    module.__dict__["braft_serve"] = braft_serve
    return module


@pytest.fixture
def plugins() -> Plugins:
    return Plugins()


@pytest.fixture
def front_ends(plugins: Plugins) -> Iterator[FrontEnds]:
    made = FrontEnds(plugins, THREADS, _NAME, DEFAULT_TIMING)
    yield made
    made.stop()
    assert _NAME not in {thread.name for thread in threading.enumerate()}


_node: Any = object()


def test_they_share_a_thread_and_stop_in_the_reverse_order(
    plugins: Plugins, front_ends: FrontEnds
) -> None:
    said: list[str] = []
    seen: list[Any] = []
    one, two = _Lab(said, "one"), _Lab(said, "sullen")
    plugins.register(_plugin(one, seen), "one")
    plugins.register(_plugin(None), "none")
    plugins.register(_plugin(two), "two")
    keyring = Keyring()
    front_ends.start(_node, keyring)
    assert seen == [_node, keyring]
    assert one.thread == two.thread == _NAME
    front_ends.stop()
    front_ends.stop()
    assert said == ["start one", "start sullen", "stop sullen", "stop one"]


def test_each_reloads_and_tells_what_is_wrong(plugins: Plugins, front_ends: FrontEnds) -> None:
    said: list[str] = []
    one, two = _Lab(said, "sullen"), _Lab(said, "two")
    plugins.register(_plugin(one), "one")
    plugins.register(_plugin(two), "two")
    front_ends.refresh()
    assert (said, front_ends.troubles) == ([], {})
    front_ends.start(_node, Keyring())
    with pytest.raises(PluginLoadError, match=r"one.*refresh raised RuntimeError\('no'\)"):
        front_ends.refresh()
    assert said[2:] == ["refresh sullen", "refresh two"]
    two.wrong = "the certificate is of another key"
    assert front_ends.troubles == {
        "one": "its trouble cannot be told: RuntimeError('no')",
        "two": "the certificate is of another key",
    }
    front_ends.stop()
    assert front_ends.troubles == {}


def test_without_a_front_end_there_is_no_thread(plugins: Plugins, front_ends: FrontEnds) -> None:
    plugins.register(_plugin(None), "none")
    front_ends.start(_node, Keyring())
    assert _NAME not in {thread.name for thread in threading.enumerate()}


def test_one_that_cannot_start_is_named_and_all_are_stopped(
    plugins: Plugins, front_ends: FrontEnds
) -> None:
    said: list[str] = []
    plugins.register(_plugin(_Lab(said, "one")), "one")
    plugins.register(_plugin(_Lab(said, "two", OSError("the port is in use"))), "two")
    with pytest.raises(ConfigError, match="front end of plugin two cannot start: the port is in"):
        front_ends.start(_node, Keyring())
    front_ends.stop()
    assert said == ["start one", "start two", "stop two", "stop one"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [(cast(Any, object), "accepted: a FrontEnd or None"), (ValueError("no"), "ValueError")],
)
def test_a_hook_that_does_wrong_is_named(
    plugins: Plugins, front_ends: FrontEnds, answer: Any, said: str
) -> None:
    plugins.register(_plugin(answer), "lab")
    with pytest.raises(PluginLoadError, match=said):
        front_ends.start(_node, Keyring())
