"""A busy namespace causes few requests, and a single change is seen at once."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from braft_k8s import discovery as module
from braft_k8s.discovery import K8sDiscovery
from braft_k8s.pace import FIRST_WAIT, MAX_WAIT, ListPace
from braft_testing.discovery import discovery_context


def _request_times(pace: ListPace, until: float, every: float) -> list[float]:
    """Return when list requests end if changes come at that interval; each takes 10 ms."""
    now, times = 0.0, []
    pace.listed(now)
    while now < until:
        now = (now // every + 1) * every  # the next change after the request
        now += pace.wait(now) + 0.01
        pace.listed(now)
        times.append(now)
    return times


@pytest.mark.parametrize("every", [0.01, 0.05, 0.5, 0.9])
def test_a_namespace_that_never_rests_is_listed_ever_more_rarely(every: float) -> None:
    times = _request_times(ListPace(), 600.0, every)
    assert len([time for time in times if time < 10]) <= 8
    assert max(later - time for time, later in itertools.pairwise(times)) < MAX_WAIT + 1
    assert len(times) <= 600 / MAX_WAIT + 8


def test_single_changes_are_seen_at_once_however_many_came_before() -> None:
    pace = ListPace()
    assert _request_times(pace, 60.0, 2.0)[-1] % 2 == pytest.approx(FIRST_WAIT + 0.01)
    now = _request_times(pace, 60.0, 0.05)[-1]
    assert pace.wait(now + 2 * MAX_WAIT + 0.01) == FIRST_WAIT


def test_the_first_news_of_all_is_not_kept_waiting() -> None:
    assert ListPace().wait(0.0) == FIRST_WAIT
    assert ListPace(most=0.02).wait(0.0) == 0.02


def test_twenty_changes_a_second_cause_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the discovery on a clock that advances when it sleeps."""
    requests: list[float] = []
    context = discovery_context(environ={}, options={"poll_interval": 600.0, "resync": 600.0})

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        now = 0.0
        notify: Any = None

        class Changing:
            """Watches of a namespace with a change after every request."""

            established = True

            def __init__(self, connect: object, labels: object, news: Any) -> None:
                nonlocal notify
                notify = news

            def follow(self, selectors: object) -> None:
                notify()

            def stop(self) -> None:
                """There is nothing to stop."""

        async def sleep(seconds: float) -> None:
            nonlocal now
            now += seconds
            notify()

        async def list_contacts() -> tuple[list[Any], list[dict[str, str]]]:
            requests.append(now)
            return [], []

        monkeypatch.setattr(module, "Watches", Changing)
        monkeypatch.setattr("asyncio.sleep", sleep)
        monkeypatch.setattr(loop, "time", lambda: now)
        discovery = K8sDiscovery("svc=braft", context)
        monkeypatch.setattr(discovery, "_list_contacts", list_contacts)
        watch = discovery.watch()
        while now < 10.0:
            await anext(watch)
        await watch.aclose()  # type: ignore[attr-defined]
        await discovery.stop()

    asyncio.run(scenario())
    assert len(requests) <= 8
    assert requests[1] == pytest.approx(FIRST_WAIT)
