"""The discovery alone, in braft's conformance suite, and in a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

import braft_consul_like
from braft_consul_like.discovery import ConsulLikeDiscovery
from braft_core.abc import Discovery
from braft_core.errors import ConfigError, Unreachable
from braft_testing.discovery import DiscoveryConformance, discovery_context
from braft_testing.memory_cluster import MemoryCluster
from braft_testing.plugins import check_plugin

NOBODY = "http://127.0.0.1:9"  # the discard port, on which nothing listens
PATIENCE = 20.0


def make(url: str, token: str, node_id: str = "n1", **options: Any) -> ConsulLikeDiscovery:
    context = discovery_context(node_id=node_id, options={"token": token, **options})
    return ConsulLikeDiscovery(url, context)


async def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        await asyncio.sleep(0.01)


def test_braft_accepts_the_plugin() -> None:
    registry = check_plugin(braft_consul_like)
    assert registry.get("discovery", "consul-like") is ConsulLikeDiscovery


class TestConformance(DiscoveryConformance):
    bad_specs: ClassVar[dict[str, str]] = {"": "''", "localhost:8500": "'localhost:8500'"}

    @pytest.fixture(autouse=True)
    def _registry(self, registry: Any) -> None:
        self.registry = registry

    def make(self) -> Discovery:
        return make(self.registry.url, self.registry.token)

    def make_failing(self) -> Discovery:
        return make(NOBODY, "")

    def make_with_spec(self, spec: str) -> Discovery:
        return make(spec, "")


def test_a_change_is_seen_at_once(registry: Any) -> None:
    async def main() -> None:
        discovery = make(registry.url, registry.token, wait="60s")
        seen: list[list[str]] = []

        async def follow() -> None:
            async for contacts in discovery.watch():
                seen.append([contact.host for contact in contacts])

        task = asyncio.create_task(follow())
        await until(lambda: seen == [[]], "nobody is there")
        registry.registry.put("braft", "other", "10.0.0.2", 15000, 60)
        await until(lambda: seen[-1] == ["10.0.0.2"], "the other one is there")
        registry.registry.delete("braft", "other")
        await until(lambda: seen[-1] == [], "and gone")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_a_node_that_dies_is_forgotten_and_one_that_lives_is_not(registry: Any) -> None:
    async def main() -> None:
        living = make(registry.url, registry.token, "living", ttl="3s")
        dying = make(registry.url, registry.token, "dying", ttl="3s")

        def listed() -> list[str]:
            return [node["id"] for node in registry.registry.find("braft", 0, 0)["nodes"]]

        # Check the first one first: without announcements it would expire before the other.
        await living.start()
        await until(lambda: listed() == ["living"], "one is listed")
        await dying.start()
        await until(lambda: listed() == ["dying", "living"], "both are listed")
        assert dying._announcing is not None
        dying._announcing.cancel()
        await until(lambda: "dying" not in listed(), "one is forgotten")
        # After a pause of the machine this one is missing, too, until its next announcement.
        await until(lambda: listed() == ["living"], "the other is not")
        await living.stop()

    asyncio.run(main())


def test_a_node_that_stops_withdraws(registry: Any) -> None:
    async def main() -> None:
        leaving = make(registry.url, registry.token, "leaving", ttl="60s")
        looking = make(registry.url, registry.token)
        await leaving.start()
        await until(lambda: registry.registry.find("braft", 0, 0)["nodes"], "it is listed")
        assert len(await looking.discover()) == 1
        await leaving.stop()
        assert await looking.discover() == []

    asyncio.run(main())


def test_a_wrong_token_and_a_wrong_answer_are_errors(registry: Any) -> None:
    with pytest.raises(Unreachable, match="401"):
        asyncio.run(make(registry.url, "wrong").discover())
    registry.registry.put("braft", "evil", "bad host", 1, 60)
    with pytest.raises(Unreachable, match="no registry's answer"):
        asyncio.run(make(registry.url, registry.token).discover())


def test_the_token_is_shown_nowhere(registry: Any) -> None:
    discovery = make(registry.url.replace("//", "//user:s3cret@"), "s3cret")
    assert "s3cret" not in f"{discovery.describe()} {discovery.options!r}"
    with pytest.raises(ConfigError) as caught:
        make(registry.url, "s3cret", ttl=-1)
    assert "s3cret" not in caught.value.message


def test_three_nodes_that_know_nothing_but_the_registry(
    registry: Any, braft_memory_cluster: Callable[..., MemoryCluster]
) -> None:
    """Needs the distribution to be installed: nodes find it by its entry point."""
    cluster = braft_memory_cluster(
        3,
        discovery=f"consul-like:{registry.url}",
        expect=3,
        plugins={"consul-like": {"token": registry.token}},
    )
    cluster.node(0).kv.put("m", "k", "v")
    assert cluster.node(2).kv.get("m", "k") == "v"
    assert len(cluster.node(1).members()) == 3
