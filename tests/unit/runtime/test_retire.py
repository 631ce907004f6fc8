"""How a node that stops hands over leadership, and when it does not try."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from braft_core.errors import NoLeader
from braft_core.raft import Role
from braft_core.runtime.admin import Admin
from braft_core.runtime.requests import Request, settle
from braft_core.runtime.timing import Timing
from braft_testing.core_harness import CoreHarness


def admin_of(harness: CoreHarness, asked: list[str]) -> Admin:
    """Make the admin of server a, whose transfers only fail."""
    core = harness.nodes["a"]

    def refuse(action: Any, waits: Request) -> None:
        asked.append("")
        settle([(waits, NoLeader("the successor did not take over"))])

    driver = SimpleNamespace(core=core, loop=asyncio.get_running_loop(), call=refuse)
    server: Any = SimpleNamespace(
        components=SimpleNamespace(
            server_id="a",
            ephemeral=False,
            settings=SimpleNamespace(heartbeat_interval=0.1),
            timing=Timing(),
        ),
        configuration=core.configuration,
        is_leader=core.role is Role.LEADER,
        running=lambda: SimpleNamespace(core=core, driver=driver),
    )
    return Admin(server)


def retire(harness: CoreHarness, asked: list[str]) -> None:
    async def main() -> None:
        await admin_of(harness, asked).retire(1.0)

    asyncio.run(main())


def test_a_leader_that_nobody_answers_leaves_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness, asked = CoreHarness("abc"), list[str]()
    a = harness.elect("a")
    harness.advance(0.5)
    harness.dead = {"b", "c"}
    for gone in "bc":
        a.connection_lost(gone)
    harness.advance(0.25)
    assert a.role is Role.LEADER
    retire(harness, asked)
    assert asked == []
    assert not caplog.records


def test_one_that_is_answered_tries_and_says_if_it_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    harness, asked = CoreHarness("abc"), list[str]()
    a = harness.elect("a")
    harness.advance(0.5)
    harness.dead = {"b"}
    a.connection_lost("b")
    harness.advance(0.25)
    retire(harness, asked)
    assert asked == [""]
    assert [r.levelname for r in caplog.records] == ["INFO"], "nobody need act on it"
    assert "the successor did not take over" in caplog.text
