"""Conformance suite for discoveries: braft's own and those of plugins.

Derive a test class and create the discovery under test; pytest runs the rules::

    from braft_testing.discovery import DiscoveryConformance, discovery_context


    class TestLab(DiscoveryConformance):
        bad_specs = {"a++b": "a++b"}

        def make(self):
            return Lab("a+b", discovery_context())

        def make_failing(self):
            return Lab("a+no-such-host.invalid", discovery_context())

        def make_with_spec(self, spec):
            return Lab(spec, discovery_context())

Owns the rules for every discovery. Must not know how a discovery works. Requires pytest.
"""

# Method names state the rules, and the suite consists of asserts.
# ruff: noqa: D102, S101

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar, TypeVar

import pytest

from braft_core.abc import Contact, Discovery, DiscoveryContext
from braft_core.errors import ConfigError

__all__ = ["DiscoveryConformance", "discovery_context"]

T = TypeVar("T")
#: Start and end by the monotonic clock.
_Span = tuple[float, float]
#: Seconds between two checks for a stalled loop or machine.
_NAP = 0.01


def discovery_context(
    *,
    node_id: str = "node-1",
    ip: str = "127.0.0.1",
    interface: str = "",
    raft_port: int = 15000,
    cluster_name: str = "braft",
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> DiscoveryContext:
    """Return a context as a node creates it; discovery and HTTP port follow the Raft port."""
    return DiscoveryContext(
        node_id=node_id,
        ip=ip,
        interface=interface,
        raft_port=raft_port,
        discovery_port=raft_port + 1,
        http_port=raft_port + 2,
        cluster_name=cluster_name,
        options=options or {},
        environ=environ or {},
    )


class DiscoveryConformance:
    """Rules for every discovery. Each ``test_*`` method is one rule."""

    #: Seconds within which a contact must be found, and within which every call must end.
    deadline: ClassVar[float] = 40.0
    #: Longest time in seconds that the loop may be blocked: consensus is blocked with it.
    max_pause: ClassVar[float] = 1.0
    #: Specs that must be rejected, each with the part of it that the error must name.
    bad_specs: ClassVar[Mapping[str, str]] = {}

    def make(self) -> Discovery:
        """Return a new, unstarted discovery that will find at least one contact."""
        raise NotImplementedError("derive from DiscoveryConformance and define make()")

    def make_failing(self) -> Discovery | None:
        """Return a discovery whose source fails; ``None`` if its source cannot fail."""
        return None

    def make_with_spec(self, spec: str) -> Discovery:
        """Return a discovery for a spec of :attr:`bad_specs`; required if there are any."""
        raise NotImplementedError("define make_with_spec()")

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in a new event loop; override to run it in a special environment."""
        return asyncio.run(main())

    # ---------------------------------------------------------------- rules

    def test_describes_itself_by_its_scheme(self) -> None:
        discovery = self.make()
        text = discovery.describe()
        assert text.startswith(f"{type(discovery).name}://"), f"describe() is {text!r}"
        assert len(text.splitlines()) == 1

    def test_expect_is_a_positive_number_of_nodes(self) -> None:
        expect = self.make().expect
        assert expect is None or (type(expect) is int and expect >= 1), f"expect is {expect!r}"

    def test_bad_spec_is_named(self) -> None:
        if not self.bad_specs:
            pytest.skip("this discovery takes any spec")
        for spec, part in self.bad_specs.items():
            with pytest.raises(ConfigError) as caught:
                self.make_with_spec(spec)
            message = caught.value.message
            assert part in message, f"{part!r} is not named in {message!r}"

    def test_discovers_contacts(self) -> None:
        async def main() -> None:
            async with self._started() as discovery:
                _check_contacts(await self._first_found(discovery))

        self.run(main)

    def test_discovers_the_same_again(self) -> None:
        async def main() -> None:
            async with self._started() as discovery:
                found = await self._first_found(discovery)
                again = await self._first_found(discovery)
                assert set(again) >= set(found), "a contact vanished although nothing changed"

        self.run(main)

    def test_failure_is_not_an_empty_list(self) -> None:
        if self.make_failing() is None:
            pytest.skip("the source of this discovery cannot fail")

        async def main() -> None:
            discovery = self.make_failing()
            assert discovery is not None
            try:
                await discovery.start()
                found = await discovery.discover()
            except Exception:  # noqa: BLE001 - any error of the plugin will do
                return
            finally:
                await discovery.stop()
            raise AssertionError(f"a failed search returned {found!r} instead of raising")

        self.run(main)

    def test_watch_yields_a_set_and_can_be_cancelled(self) -> None:
        async def main() -> None:
            async with self._started() as discovery:
                seen: asyncio.Queue[list[Contact]] = asyncio.Queue()
                task = asyncio.create_task(_collect(discovery, seen))
                try:
                    async with asyncio.timeout(self.deadline):
                        while not (found := await _next(task, seen)):
                            pass
                    _check_contacts(found)
                finally:
                    await self._cancel(task)

        self.run(main)

    def test_never_blocks_the_loop(self) -> None:
        async def main() -> list[_Span]:
            gauge = asyncio.create_task(_pauses())
            await asyncio.sleep(0)
            async with self._started() as discovery:
                await self._first_found(discovery)
            gauge.cancel()
            return await gauge

        with _machine() as stood_still:
            pause = max(end - begin - stood_still(begin, end) for begin, end in self.run(main))
        assert pause < self.max_pause, f"the loop stood still for {pause:.2f} s"

    def test_stop_without_start(self) -> None:
        self.run(self._stop_only)

    async def _stop_only(self) -> None:
        await self.make().stop()

    def test_stop_twice(self) -> None:
        async def main() -> None:
            discovery = self.make()
            await discovery.start()
            await discovery.stop()
            await discovery.stop()

        self.run(main)

    def test_stop_leaves_no_task(self) -> None:
        async def main() -> None:
            before = asyncio.all_tasks()
            async with self._started() as discovery:
                await self._first_found(discovery)
            left = [task for task in asyncio.all_tasks() - before if not task.done()]
            assert not left, f"tasks left after stop(): {left}"

        self.run(main)

    def test_stop_leaves_no_thread(self) -> None:
        before = set(threading.enumerate())

        async def main() -> None:
            async with self._started() as discovery:
                await self._first_found(discovery)

        self.run(main)
        # The loop's default executor ends with the loop; a thread alive now belongs to the
        # discovery.
        left = [thread.name for thread in threading.enumerate() if thread not in before]
        assert not left, f"threads left after stop(): {left}"

    # ---------------------------------------------------------------- helpers

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[Discovery]:
        discovery = self.make()
        try:
            async with asyncio.timeout(self.deadline):
                await discovery.start()
            yield discovery
        finally:
            async with asyncio.timeout(self.deadline):
                await discovery.stop()

    async def _cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel the watching task, and check that it had not ended and ends by that."""
        if task.done():
            task.result()
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=self.deadline)
        assert done, "watch() does not end when its task is cancelled"
        if not task.cancelled():
            # Retrieved, or asyncio would log it whenever the task happens to be collected.
            raise AssertionError("watch() swallows the cancellation of its task") from (
                task.exception()
            )

    async def _first_found(self, discovery: Discovery) -> list[Contact]:
        async with asyncio.timeout(self.deadline):
            while not (found := await discovery.discover()):  # noqa: ASYNC110 - must poll
                await asyncio.sleep(0.02)
        return found


@contextmanager
def _machine() -> Iterator[Callable[[float, float], float]]:
    """Yield a function that returns for how long of a span the whole machine stalled.

    A thread that only sleeps measures it. A stall of the machine is not the discovery's fault.
    """
    overslept: list[_Span] = []
    wake, over = time.monotonic() + _NAP, threading.Event()

    def sleep() -> None:
        nonlocal wake
        while not over.wait(_NAP):
            now = time.monotonic()
            overslept.append((wake, now))
            wake = now + _NAP

    def stood_still(begin: float, end: float) -> float:
        # The sleeping thread may not have recorded the last stall yet, so count the time until now.
        spans = [*overslept, (wake, time.monotonic())]
        return sum(max(0.0, min(end, last) - max(begin, first)) for first, last in spans)

    thread = threading.Thread(target=sleep)
    thread.start()
    try:
        yield stood_still
    finally:
        over.set()
        thread.join()


def _check_contacts(found: list[Contact]) -> None:
    assert isinstance(found, list), f"not a list: {found!r}"
    for contact in found:
        assert isinstance(contact, Contact), f"not a Contact: {contact!r}"
        _check_contact(contact)
    places = [(contact.host, contact.port) for contact in found]
    assert len(set(places)) == len(places), f"a contact appears twice: {found}"


def _check_contact(contact: Contact) -> None:
    host, port = contact.host, contact.port
    assert isinstance(host, str), f"host is no text: {contact!r}"
    assert host, f"host is empty: {contact!r}"
    assert not set(host) & set("[]/, \t\n"), f"host is not bare: {contact!r}"
    assert type(port) is int, f"port is no number: {contact!r}"
    assert 1 <= port <= 65535, f"port is out of range: {contact!r}"


async def _collect(discovery: Discovery, seen: asyncio.Queue[list[Contact]]) -> None:
    # Each base-class watch() is an async generator; plugins override it as one.
    async for found in discovery.watch():
        seen.put_nowait(found)
    raise AssertionError("watch() ended by itself")


async def _next(task: asyncio.Task[None], seen: asyncio.Queue[list[Contact]]) -> list[Contact]:
    """Return the next set of contacts, or raise the error of the watching task if it died."""
    getter = asyncio.create_task(seen.get())
    done, _ = await asyncio.wait({getter, task}, return_when=asyncio.FIRST_COMPLETED)
    if getter in done:
        return getter.result()
    getter.cancel()
    task.result()
    raise AssertionError("watch() ended by itself")


async def _pauses() -> list[_Span]:
    """Return the spans in which the loop did not run this task, once it is cancelled."""
    pauses: list[_Span] = []
    last = time.monotonic()
    try:
        while True:
            await asyncio.sleep(_NAP)
            now = time.monotonic()
            pauses.append((last, now))
            last = now
    except asyncio.CancelledError:
        # Cancelled by the caller that wants the result.
        return [*pauses, (last, time.monotonic())]
