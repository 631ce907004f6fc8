"""Probing many contacts at once, each with its own deadline."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from braft_core.abc import Contact
from braft_core.cluster.probes import Prober
from braft_core.errors import TransportError, Unreachable, WrongCluster
from braft_core.peer import AnnounceReply, PeerReply, PeerRequest, ProbeReply, ProbeRequest

REPLY = ProbeReply("a", "c", "", 3, False, "", "", "a:1")
CONTACTS = {name: Contact(name, 1) for name in ("good", "dead", "hung", "foreign", "odd")}


async def call(address: str, request: PeerRequest, timeout: float) -> PeerReply:
    assert isinstance(request, ProbeRequest)
    match address:
        case "dead:1":
            raise Unreachable("connection refused")
        case "hung:1":
            await asyncio.Event().wait()
        case "foreign:1":
            raise WrongCluster("another")
        case "odd:1":
            return AnnounceReply("a", "a:1")
    return REPLY


def prober(now: Any = lambda: 7.0) -> Prober:
    return Prober(call, lambda: ProbeRequest("me", "c", "", "me:1"), now, timeout=0.05)


def test_one_silent_contact_delays_no_other() -> None:
    async def scenario() -> None:
        subject = prober()
        assert await subject.probe_all(CONTACTS.values()) == [REPLY]
        outcomes = subject.outcomes
        assert outcomes[CONTACTS["good"]].reply == REPLY
        assert outcomes[CONTACTS["good"]].at == 7.0
        assert "refused" in outcomes[CONTACTS["dead"]].failure
        assert "no answer within 0.05 s" in outcomes[CONTACTS["hung"]].failure
        assert "another" in outcomes[CONTACTS["foreign"]].failure
        assert "AnnounceReply" in outcomes[CONTACTS["odd"]].failure
        subject.forget_except([CONTACTS["good"]])
        assert list(subject.outcomes) == [CONTACTS["good"]]

    asyncio.run(scenario())


@pytest.mark.parametrize(("name", "error"), [("hung", Unreachable), ("odd", TransportError)])
def test_a_probe_ends_in_a_braft_error(name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        asyncio.run(prober().probe(CONTACTS[name]))


def test_a_bug_in_the_transport_is_not_taken_for_silence() -> None:
    async def broken(address: str, request: PeerRequest, timeout: float) -> PeerReply:
        raise ZeroDivisionError

    subject = Prober(broken, lambda: ProbeRequest("me", "c", "", "me:1"), lambda: 0.0, 1.0)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(subject.probe_all(CONTACTS.values()))
