"""The leadership of a node: the term is the token, and its loss is reported in time."""

# ruff: noqa: PT012 - the bodies of statements are tested

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from braft_core import Node
from braft_core.errors import InvalidArgument, InvalidRequest, LeadershipLost, NotAcquired, Stopped
from braft_core.raft import Role
from braft_core.recipes.leadership import RaftTerm
from braft_core.runtime import clock
from braft_core.runtime.conditions import StateCondition
from braft_core.runtime.leadership import LeadershipTerms
from braft_testing.processes import PATIENCE

KEY = "_braft/leadership"


def test_the_leader_acts_with_its_term(node: Node) -> None:
    with node.leadership(wait=PATIENCE) as term:
        assert term.token >= 1
        assert 0 < term.remaining <= node.settings.election_timeout / 2
        term.check()
        node.store.put("x", b"1", if_held=term)
        with node.leadership(wait=0) as again:
            assert again.token == term.token
    assert node.store.get(KEY).value == term.token.to_bytes(8, "big")  # type: ignore[union-attr]
    with pytest.raises(InvalidRequest, match="was used before"):
        term.__enter__()
    unused = node.leadership()
    for use in (unused.fence, unused.check, lambda: unused.lost):
        with pytest.raises(InvalidRequest, match="not held yet"):
            use()
    with pytest.raises(InvalidArgument, match=r"wait is -1"):
        node.leadership(wait=-1)


def test_a_write_after_a_later_claim_is_refused() -> None:
    options: dict[str, Any] = {"discovery": "none", "data_dir": ":memory:", "ip": "127.0.0.1"}
    with Node(rport=0, http=False, request_timeout=PATIENCE, **options) as node:

        async def lead() -> None:
            async with node.leadership(wait=PATIENCE) as term:
                await node.store.aput(KEY, (term.token + 1).to_bytes(8, "big"))
                with pytest.raises(LeadershipLost, match="a later leader has taken over"):
                    await node.store.aput("x", b"1", if_held=term)
                assert term.lost.is_set()
                await asyncio.sleep(PATIENCE)

        with pytest.raises(LeadershipLost, match=r"the term \d+ is over"):
            asyncio.run(lead())
        assert node.store.get("x") is None
        with pytest.raises(NotAcquired, match=r"does not lead within 0\.05 s"):
            node.leadership(wait=0.05).__enter__()
    with pytest.raises(Stopped):
        node.leadership().__enter__()


def test_a_thread_is_told_when_its_node_stops() -> None:
    options: dict[str, Any] = {"discovery": "none", "data_dir": ":memory:", "ip": "127.0.0.1"}
    node = Node(rport=0, http=False, request_timeout=PATIENCE, **options)
    with node, pytest.raises(LeadershipLost), node.leadership(wait=PATIENCE) as term:
        assert not term.lost.is_set()
        node.stop()
        assert term.lost.is_set()
        assert term.remaining == 0
        term.check()


class Terms(LeadershipTerms):
    """Terms by a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.checked = 100.0, 100.0
        super().__init__(StateCondition(), 1.0, 0.2, lambda: self.checked)
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)


def test_a_new_leader_waits_until_any_earlier_one_has_stepped_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terms = Terms(monkeypatch)
    assert terms.wait_for_term(deadline=0) is None
    terms.on_role(Role.FOLLOWER, 3)
    assert terms.wait_for_term(deadline=100) is None
    terms.on_role(Role.LEADER, 4)
    terms.now += 2.1
    assert terms.wait_for_term(deadline=terms.now - 1) is None
    terms.now += 0.2
    term = terms.wait_for_term(deadline=terms.now)
    assert isinstance(term, RaftTerm)
    assert (term.number, term.since) == (4, 100.0)
    assert asyncio.run(terms.await_term(terms.now)) is term


@pytest.mark.parametrize(
    ("role", "term"), [(Role.FOLLOWER, 4), (Role.LEADER, 5), (Role.FOLLOWER, 5)]
)
def test_a_term_is_lost_with_the_role_or_the_term(
    monkeypatch: pytest.MonkeyPatch, role: Role, term: int
) -> None:
    terms = Terms(monkeypatch)
    terms.on_role(Role.LEADER, 4)
    terms.now += 3
    terms.checked = terms.now
    held = terms.wait_for_term(None)
    assert held is not None
    assert terms.remaining(held) == 0.5
    terms.on_role(Role.LEADER, 4)
    assert not held.lost.is_set()
    terms.now += 0.6  # the process stood still
    assert terms.remaining(held) == 0
    terms.on_role(role, term)
    assert held.lost.is_set()
    assert terms.remaining(held) == 0


def test_a_stop_ends_all_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = Terms(monkeypatch)

    async def wait() -> None:
        waiting = asyncio.ensure_future(terms.await_term(None))
        await asyncio.sleep(0)
        terms.stop()
        with pytest.raises(Stopped):
            await waiting
        terms.on_role(Role.LEADER, 9)
        with pytest.raises(Stopped):
            terms.wait_for_term(None)

    asyncio.run(wait())
