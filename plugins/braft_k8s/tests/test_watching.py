"""Watches report changes at once, and the end of a watch changes no contacts."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import Contact
from braft_core.errors import Unreachable
from braft_k8s.discovery import K8sDiscovery
from braft_k8s.watching import Watch, Watches
from braft_testing.discovery import discovery_context

BRAFT = {"app": "braft"}
GONE = json.dumps(
    {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
).encode()
PATIENCE = 40.0


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 100))


def make(kubeconfig: Path, **options: Any) -> K8sDiscovery:
    """Make a discovery that would poll every ten minutes without its watches."""
    slow = {"poll_interval": 600.0, "resync": 600.0}
    context = discovery_context(environ={"KUBECONFIG": str(kubeconfig)}, options=slow | options)
    return K8sDiscovery("svc=braft", context)


class Seen:
    """Follows a discovery in a task; keeps its last set of contacts.

    :param again: watch again after a failure, as a node does.
    """

    def __init__(self, again: bool = False) -> None:
        self.again = again
        self.contacts: list[Contact] | None = None
        self.error: Unreachable | None = None
        self.polls = 0

    async def follow(self, discovery: K8sDiscovery) -> None:
        while self.error is None or self.again:
            try:
                async for contacts in discovery.watch():
                    self.contacts = contacts
                    self.polls += 1
            except Unreachable as error:
                self.error = error

    @property
    def hosts(self) -> list[str]:
        return [contact.host for contact in self.contacts or []]


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def following(discovery: K8sDiscovery, again: bool = False) -> AsyncIterator[Seen]:
    seen = Seen(again)
    task = asyncio.create_task(seen.follow(discovery))
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await discovery.stop()
        assert not _watching(), "its threads have ended"


def test_a_new_pod_is_seen_at_once(api: Any, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.service({"svc": "braft"}, BRAFT)
        async with following(make(kubeconfig)) as seen:
            await until(lambda: api.watching == 2, "services and pods are watched")
            api.pod("10.0.0.1", BRAFT)
            await until(lambda: seen.hosts == ["10.0.0.1"], "the pod is seen")

    run(scenario())


def test_a_new_service_brings_its_pods(api: Any, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.pod("10.0.0.1", BRAFT)
        async with following(make(kubeconfig)) as seen:
            await until(lambda: api.watching == 2, "both are watched")
            assert seen.hosts == []
            api.service({"svc": "braft"}, BRAFT)
            await until(lambda: seen.hosts == ["10.0.0.1"], "its pod is seen")
            api.pod("10.0.0.2", BRAFT)
            await until(lambda: len(seen.hosts) == 2, "pods of the new selector are watched")

    run(scenario())


@pytest.mark.parametrize("last", [b"", GONE, b"{not json"], ids=["ends", "gone", "garbage"])
def test_a_watch_that_ends_is_begun_again(api: Any, kubeconfig: Path, last: bytes) -> None:
    async def scenario() -> None:
        api.service({"svc": "braft"}, BRAFT)
        api.pod("10.0.0.1", BRAFT)
        async with following(make(kubeconfig)) as seen:
            await until(
                lambda: api.watching == 2 and seen.hosts, "both are watched, and one is found"
            )
            await asyncio.to_thread(api.end_watches, last)
            await until(lambda: api.watches >= 4 and api.watching == 2, "both are watched again")
            assert seen.hosts == ["10.0.0.1"]
            api.pod("10.0.0.2", BRAFT)
            await until(lambda: len(seen.hosts) == 2, "news comes through")

    run(scenario())


def test_what_happened_between_two_watches_is_seen(api: Any, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.service({"svc": "braft"}, BRAFT)
        async with following(make(kubeconfig)) as seen:
            await until(lambda: api.watching == 2, "both are watched")
            api.watch_failure = (500, b"")
            await asyncio.to_thread(api.end_watches)
            api.pod("10.0.0.1", BRAFT)
            await until(lambda: seen.hosts == ["10.0.0.1"], "it is listed all the same")
            api.watch_failure = None
            await until(lambda: api.watching == 2, "both are watched again")

    run(scenario())


def test_without_the_verb_watch_it_polls(api: Any, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.service({"svc": "braft"}, BRAFT)
        api.watch_failure = (403, b"")
        async with following(make(kubeconfig, poll_interval=0.05)) as seen:
            await until(lambda: seen.polls > 3, "several polls")
            api.pod("10.0.0.1", BRAFT)
            await until(lambda: seen.hosts == ["10.0.0.1"], "the pod is seen")

    run(scenario())


def test_an_outage_raises_and_is_not_an_empty_set(api: Any, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.service({"svc": "braft"}, BRAFT)
        api.pod("10.0.0.1", BRAFT)
        discovery = make(kubeconfig)
        async with following(discovery) as seen:
            await until(lambda: api.watching == 2, "both are watched")
            api.failure = (503, b"")
            await asyncio.to_thread(api.end_watches)
            await until(lambda: seen.error is not None, "the failure is raised")
            assert seen.hosts == ["10.0.0.1"]
            api.failure = None
            again = Seen()
            task = asyncio.create_task(again.follow(discovery))
            await until(lambda: again.hosts == ["10.0.0.1"], "a new watch succeeds")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(scenario())


def test_a_silent_api_is_not_waited_for_at_the_end(api: Any, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.service({"svc": "braft"}, BRAFT)
        async with following(make(kubeconfig)):
            await until(lambda: api.watching == 2, "both are watched")
            began = time.monotonic()
        assert time.monotonic() - began < 20

    run(scenario())


def test_a_watch_without_an_answer_is_abandoned(api: Any, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.service({"svc": "braft"}, BRAFT)
        api.answering_watches.clear()
        quick = make(kubeconfig, request_timeout=0.5, poll_interval=0.1)
        # On a busy machine a poll may take longer than that.
        async with following(quick, again=True) as seen:
            await until(lambda: seen.polls > 2, "it polls")
            began = time.monotonic()
        assert time.monotonic() - began < 20

    run(scenario())


def _replace_token(kubeconfig: Path) -> None:
    kubeconfig.write_text(kubeconfig.read_text().replace("t0ken", "fresh"))


def test_a_token_that_was_replaced_is_read_again(api: Any, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.service({"svc": "braft"}, BRAFT)
        api.pod("10.0.0.1", BRAFT)
        discovery = make(kubeconfig)
        assert len(await discovery.discover()) == 1
        api.tokens = {"fresh"}
        with pytest.raises(Unreachable, match="401"):
            await discovery.discover()
        await asyncio.to_thread(_replace_token, kubeconfig)
        assert len(await discovery.discover()) == 1
        await discovery.stop()

    run(scenario())


def test_a_watch_stopped_while_it_connects_does_not_begin_to_read() -> None:
    connecting, go, read = threading.Event(), threading.Event(), threading.Event()

    class Api:
        """Connects when the test allows it, and then waits for the server forever."""

        def watch(self, *_: Any) -> nullcontext[object]:
            connecting.set()
            go.wait(PATIENCE)
            return nullcontext(object())

        def chunks(self, _: object) -> list[bytes]:
            read.set()
            return []

        def close(self) -> None:
            """There is nothing to close."""

    api: Any = Api()
    watch = Watch(lambda: api, "pods", BRAFT, lambda: None)
    assert connecting.wait(PATIENCE)
    stopper = threading.Thread(target=watch.stop)
    stopper.start()
    assert watch._stopped.wait(PATIENCE)
    go.set()
    stopper.join(PATIENCE)
    assert not stopper.is_alive()
    assert not read.is_set()


def test_who_follows_after_the_end_begins_no_watch() -> None:
    """Stop before a slow thread starts to follow; the loop does not wait for it."""

    class Api:
        """Sends nothing, and ends every watch at once."""

        def watch(self, *_: Any) -> nullcontext[object]:
            return nullcontext(object())

        def chunks(self, _: object) -> list[bytes]:
            return []

        def close(self) -> None:
            """There is nothing to close."""

    api: Any = Api()
    watches = Watches(lambda: api, BRAFT, lambda: None)
    watches.stop()
    watches.follow([BRAFT])
    left = _watching()
    watches.stop()
    assert not left


def _watching() -> list[str]:
    """Return the threads of all watches."""
    return [t.name for t in threading.enumerate() if t.name.startswith("braft-k8s-")]
