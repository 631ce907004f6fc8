"""The discovery suite itself: a correct discovery passes, each broken one fails its check."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar

import pytest

from braft_core.abc import Contact, Discovery, DiscoveryContext
from braft_core.errors import ConfigError, Unreachable
from braft_testing.discovery import DiscoveryConformance, discovery_context

RULES = sorted(name for name in vars(DiscoveryConformance) if name.startswith("test_"))


class Twin(Discovery):
    """A correct discovery that uses every part of the interface; finds what its spec lists."""

    name = "twin"
    poll_interval = 0.01

    def __init__(self, spec: str, context: DiscoveryContext) -> None:
        super().__init__(spec, context)
        if "+" in spec:
            raise ConfigError(f"twin: {spec!r}: no plus signs")
        self.task: asyncio.Task[Any] | None = None

    async def start(self) -> None:
        self.task = asyncio.create_task(asyncio.sleep(60))

    async def discover(self) -> list[Contact]:
        if self.spec == "broken":
            raise Unreachable("twin: nobody to ask")
        return [Contact(host, 15000, self.name) for host in self.spec.split(",")]

    async def stop(self) -> None:
        if self.task:
            self.task.cancel()
            await asyncio.wait([self.task])


class Suite(DiscoveryConformance):
    deadline = 0.3
    max_pause = 0.2
    bad_specs: ClassVar[dict[str, str]] = {"a+b": "a+b"}
    twin: type[Discovery] = Twin

    def make(self) -> Discovery:
        return self.twin("a,::1", discovery_context())

    def make_failing(self) -> Discovery | None:
        return self.twin("broken", discovery_context())

    def make_with_spec(self, spec: str) -> Discovery:
        return self.twin(spec, discovery_context())


class TestGoodTwin(Suite):
    deadline = 40.0
    max_pause = 1.0


class Describing(Twin):
    def describe(self) -> str:
        return f"finds {self.spec}"


class Expecting(Twin):
    @property
    def expect(self) -> int | None:
        return 0


class Credulous(Twin):
    def __init__(self, spec: str, context: DiscoveryContext) -> None:
        super().__init__(spec.replace("+", ""), context)


class Vague(Twin):
    def __init__(self, spec: str, context: DiscoveryContext) -> None:
        try:
            super().__init__(spec, context)
        except ConfigError:
            raise ConfigError("twin: something is wrong") from None


def answering(*contacts: Any) -> type[Discovery]:
    class Answering(Twin):
        async def discover(self) -> list[Contact]:
            await super().discover()
            return list(contacts)

    return Answering


class Forgetful(Twin):
    rounds = 0

    async def discover(self) -> list[Contact]:
        self.rounds += 1
        return (await super().discover())[: 1 if self.rounds > 1 else None]


class Silent(Twin):
    async def discover(self) -> list[Contact]:
        return [] if self.spec == "broken" else await super().discover()


class Stubborn(Twin):
    async def watch(self) -> AsyncIterator[list[Contact]]:
        yield await self.discover()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)


class Swallowing(Twin):
    async def watch(self) -> AsyncIterator[list[Contact]]:
        yield await self.discover()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


class Ending(Twin):
    async def watch(self) -> AsyncIterator[list[Contact]]:
        if self.spec == "never":
            yield []


class Mute(Twin):
    async def watch(self) -> AsyncIterator[list[Contact]]:
        await asyncio.sleep(60)
        yield []


class Blocking(Twin):
    async def discover(self) -> list[Contact]:
        # In small steps: while the machine is suspended, a blocked loop cannot be noticed.
        for _ in range(60):
            time.sleep(0.01)  # noqa: ASYNC251 - the fault
        return await super().discover()


class NeedsStart(Twin):
    async def stop(self) -> None:
        if self.task is None:
            raise RuntimeError("not started")
        await super().stop()


class Once(Twin):
    stopped = False

    async def stop(self) -> None:
        if self.stopped:
            raise RuntimeError("stopped already")
        self.stopped = True
        await super().stop()


class LeavesTask(Twin):
    async def stop(self) -> None:
        self.task = None


RELEASE = threading.Event()


class LeavesThread(Twin):
    async def start(self) -> None:
        await super().start()
        threading.Thread(target=RELEASE.wait, daemon=True).start()


FAULTS: list[tuple[str, type[Discovery]]] = [
    ("test_describes_itself_by_its_scheme", Describing),
    ("test_expect_is_a_positive_number_of_nodes", Expecting),
    ("test_bad_spec_is_named", Credulous),
    ("test_bad_spec_is_named", Vague),
    ("test_discovers_contacts", answering()),
    ("test_discovers_contacts", answering(("a", 1, ""))),
    ("test_discovers_contacts", answering(Contact("", 1))),
    ("test_discovers_contacts", answering(Contact("[::1]", 1))),
    ("test_discovers_contacts", answering(Contact("a", 0))),
    ("test_discovers_contacts", answering(Contact("a", 65536))),
    ("test_discovers_contacts", answering(Contact("a", 1), Contact("a", 1, "x"))),
    ("test_discovers_the_same_again", Forgetful),
    ("test_failure_is_not_an_empty_list", Silent),
    ("test_watch_yields_a_set_and_can_be_cancelled", Stubborn),
    ("test_watch_yields_a_set_and_can_be_cancelled", Swallowing),
    ("test_watch_yields_a_set_and_can_be_cancelled", Ending),
    ("test_watch_yields_a_set_and_can_be_cancelled", Mute),
    ("test_never_blocks_the_loop", Blocking),
    ("test_stop_without_start", NeedsStart),
    ("test_stop_twice", Once),
    ("test_stop_leaves_no_task", LeavesTask),
    ("test_stop_leaves_no_thread", LeavesThread),
]


@pytest.fixture(autouse=True)
def _release_threads() -> Iterator[None]:
    RELEASE.clear()
    yield
    RELEASE.set()


@pytest.mark.parametrize(
    ("rule", "twin"), FAULTS, ids=lambda part: part if isinstance(part, str) else part.__name__
)
def test_a_broken_twin_fails(rule: str, twin: type[Discovery]) -> None:
    suite = Suite()
    suite.twin = twin
    method: Callable[[], None] = getattr(suite, rule)
    failure = AssertionError, TimeoutError, RuntimeError, pytest.fail.Exception
    with pytest.raises(failure):
        method()


def test_every_rule_has_a_broken_twin() -> None:
    assert sorted({rule for rule, _ in FAULTS}) == RULES


@pytest.mark.parametrize("rule", RULES)
def test_the_broken_twins_of_one_rule_are_otherwise_sound(rule: str) -> None:
    suite = Suite()
    suite.deadline = 40.0  # type: ignore[misc]  # room for a busy machine
    suite.max_pause = 1.0  # type: ignore[misc]
    getattr(suite, rule)()


def test_rules_that_do_not_apply_are_skipped_with_a_reason() -> None:
    class Plain(Suite):
        bad_specs: ClassVar[dict[str, str]] = {}

        def make_failing(self) -> Discovery | None:
            return None

    for rule in ("test_bad_spec_is_named", "test_failure_is_not_an_empty_list"):
        with pytest.raises(pytest.skip.Exception, match=r"\w+ \w+"):
            getattr(Plain(), rule)()


@pytest.mark.parametrize("method", ["make", "make_with_spec"])
def test_a_missing_factory_is_named(method: str) -> None:
    suite = DiscoveryConformance()
    with pytest.raises(NotImplementedError, match=method):
        suite.make_with_spec("x") if method == "make_with_spec" else suite.make()
