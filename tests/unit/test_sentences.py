"""docs/operations.md lists exactly the reasons that nodes give for having no leader."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import Contact, TLSFiles
from braft_core.auth_failures import refused_token_message
from braft_core.cluster.address_book import AddressBook, contact_at
from braft_core.cluster.bootstrap import Bootstrap
from braft_core.cluster.bootstrap_facts import BootstrapFacts
from braft_core.cluster.bootstrap_record import EMPTY_RECORD
from braft_core.cluster.discovery_view import contradictions
from braft_core.cluster.interface import RaftView
from braft_core.cluster.joining import JoinAttempts, Refuse, handle_join, lacks_capabilities
from braft_core.cluster.member_rules import explain_no_leader
from braft_core.cluster.messages import (
    default_discovery_message,
    duplicate_id_message,
    no_cluster_message,
    other_proposal_message,
    pending_acceptance_message,
    removed_message,
    rival_cluster_message,
    too_few_nodes_message,
    version_differences_message,
    wrong_cluster_message,
)
from braft_core.cluster.state_comparison import StateComparison
from braft_core.cluster.timing import DEFAULT_TIMING
from braft_core.peer import JoinRequest, ProbeReply
from braft_core.raft.types import Configuration, Server, Suffrage
from braft_core.runtime.applier import ApplyStop
from braft_core.runtime.timing import Timing
from braft_core.runtime.writer import Writer
from braft_core.services.digests import Checkpoint, Digest, encode_checkpoints
from braft_core.tls.expiry import Validity, expiry_message
from braft_core.transport import token_mismatch_error, token_required_error, token_unset_error
from braft_core.transport.certificates import Certificates
from braft_core.transport.grpc.channel_ready import connect_error

A, B, C = "10.0.0.1:15000", "10.0.0.2:15000", "10.0.0.3:15000"
FACTS = BootstrapFacts("a", A, "c", 3)
REPLY = ProbeReply("b", "c", "", 3, False, "", "", B)
VOTERS = Configuration((Server("a", A), Server("b", B), Server("c", C)))


def too_few() -> Iterator[str]:
    connecting = asyncio.run(_why_not())
    for silent in ([], [(Contact("h", 1), "cannot connect")], [(Contact("h", 1), connecting)]):
        yield no_cluster_message(4.0, too_few_nodes_message(FACTS, [], silent), [])
    alone = replace(FACTS, has_discovery=False)
    stranger = replace(REPLY, cluster_name="other")
    yield no_cluster_message(4.0, too_few_nodes_message(alone, [], []), [stranger])


async def _why_not() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        return (await connect_error(address, 1.0)).message.replace(address, "h:1")


def contradicting() -> Iterator[str]:
    for wrong in (
        replace(REPLY, server_id="a"),
        replace(REPLY, address=A),
        replace(REPLY, expect=2),
        replace(REPLY, protocol_min=2, protocol_max=2),
    ):
        yield from contradictions(FACTS, [wrong])


def bootstrap() -> Iterator[str]:
    """Return the messages of a node that waits to bootstrap."""

    def machine(own: str, address: str) -> Bootstrap:
        made = Bootstrap(replace(FACTS, server_id=own, address=address), EMPTY_RECORD, lambda: "x")
        made.start(0.0)
        return made

    blank = machine("a", A)
    yield blank.waiting(1.0)
    blank.listing_failed(1.0, "the API is down")
    yield blank.waiting(1.0)
    blank.contacts_listed(2.0, map(contact_at, (A, B, C)))
    yield blank.waiting(2.0)
    for node in (blank, machine("z", "10.0.0.9:15000")):
        node.contacts_listed(2.0, map(contact_at, (A, B, C)))
        for server_id, address in zip("abc", (A, B, C), strict=True):
            reply = replace(REPLY, server_id=server_id, address=address)
            node.probe_answered(2.0, contact_at(address), reply)
        yield node.waiting(2.0)
        node.tick(10.0)
        yield node.waiting(10.0)


def counting() -> Iterator[str]:
    """Return the message about a discovery that lists names."""

    def listing(names: str, *places: str, **facts: Any) -> str:
        made = Bootstrap(replace(FACTS, **facts), EMPTY_RECORD, lambda: "x")
        made.start(0.0)
        made.contacts_listed(1.0, map(contact_at, places), ["host3"])
        made.contacts_listed(1.0, map(contact_at, places))
        for server_id, place in zip(names, places, strict=True):
            own = A if server_id == "a" else place
            reply = replace(REPLY, server_id=server_id, address=own, expect=facts["expect"])
            made.probe_answered(1.0, contact_at(place), reply)
        return made.waiting(1.0)

    unclear = "braft.example is one name, which may stand for any number of nodes"
    yield listing("a", A, expect=0, unclear=unclear)
    yield listing("aa", A, B, expect=2, listed=True)
    yield listing("b", B, expect=1, listed=True)
    yield listing("abc", A, B, C, expect=2, listed=True)
    yield no_cluster_message(4.0, too_few_nodes_message(FACTS, [], [], ["host3"]), [])


def bootstrap_messages() -> Iterator[str]:
    yield other_proposal_message(["x"])
    yield pending_acceptance_message("x", [Server("b", B)])
    yield pending_acceptance_message("x", [])


def joining() -> Iterator[str]:
    yield JoinAttempts(DEFAULT_TIMING).waiting([])
    member = replace(REPLY, cluster_id="x", initialised=True)
    for request in (JoinRequest("n", B, "c", "", True), JoinRequest("b", B, "c", "", True)):
        decision = handle_join(request, cluster_name="c", cluster_id="x", configuration=VOTERS)
        assert isinstance(decision, Refuse)
        asking = JoinAttempts(DEFAULT_TIMING)
        asking.failed(1.0, A, decision.error.message)
        yield asking.waiting([member])


def without_leader() -> Iterator[str]:
    for seconds, heard in ((11.0, inf), (100.0, inf), (1.0, 0.1)):
        view = RaftView(configuration=VOTERS)
        ages = {"b": heard, "c": heard}
        yield explain_no_leader(view, "a", ages, AddressBook(), seconds, 90.0)
    nonvoter = Configuration((Server("a", A, Suffrage.NONVOTER),))
    yield explain_no_leader(RaftView(configuration=nonvoter), "a", {}, AddressBook(), 1.0, 90.0)
    yield wrong_cluster_message("x", [(B, "y")])
    yield removed_message("x", Server("b", B), rejoin_allowed=True)
    yield removed_message("x", Server("b", B), rejoin_allowed=False)


def notes() -> Iterator[str]:
    yield rival_cluster_message("x", [(B, "y", 2)])
    yield version_differences_message([(B, "service 'kv'")])
    yield duplicate_id_message("a", [A, B])
    yield default_discovery_message("mdns://_braft._tcp", "braft", "x", [Server("b", B)])
    for denial in (token_required_error(B), token_unset_error(B), token_mismatch_error(B)):
        yield refused_token_message([denial.message])


def applying() -> Iterator[str]:
    lacking = "there is no service 'kv'"
    yield ApplyStop(17, lacking).message
    yield ApplyStop(17, f"it cannot be read: {lacking}", state_lost=True).message
    refused = lacks_capabilities("d", "10.0.0.4:15000", "service 'kv'").message
    yield f"joining cluster x; last answer from {A}: {refused}"


def disk() -> Iterator[str]:
    unused: Any = None
    writer = Writer(unused, unused, "w", unused, unused, Timing())
    assert writer.stalled(100.0) == ""
    writer.writing_since = 97.5
    assert writer.stalled(98.0) == ""
    yield f"no writes: {writer.stalled(100.0)}"
    writer.writing_since = inf
    assert writer.slow(100.0) == ""
    writer.writing_since = 98.6
    yield f"no leader for 1 s: all 3 voters answer; {writer.slow(100.0)}"
    writer.writing_since, writer._took, writer._ended = inf, 2.5, 99.0
    assert writer.slow(200.0) == ""
    yield f"no leader for 1 s: all 3 voters answer; {writer.slow(100.0)}"
    yield writer.slow(100.0)


def certificates() -> Iterator[str]:
    """Return the messages about TLS files that existed at the start."""
    made = Certificates.__new__(Certificates)
    made._files = TLSFiles(Path("gone.ca"), Path("gone.cert"), Path("gone.key"))
    yield made._look() or ""
    end = datetime(2030, 1, 1, tzinfo=UTC)
    valid = Validity(end - timedelta(days=365), end)
    yield expiry_message(valid, end - timedelta(days=1))
    yield expiry_message(valid, end)
    yield expiry_message(valid, end - timedelta(days=1), "the CA's certificate in /tls/ca.pem")


def states() -> Iterator[str]:
    """Return the message about members whose states differ."""

    def told(letter: bytes) -> list[Checkpoint]:
        return [Checkpoint(6, {"counter": Digest(b"c" * 8, letter * 16)})]

    for others in (["b", "c"], ["b"]):
        table = StateComparison("a")
        table.set_own(told(b"y"))
        for server_id in others:
            table.learn(server_id, encode_checkpoints(told(b"x")))
        table.compare(VOTERS)
        yield from filter(None, (table.message, table.own_fault))


SOURCES: list[Callable[[], Iterator[str]]] = [
    too_few,
    contradicting,
    bootstrap,
    counting,
    bootstrap_messages,
    joining,
    without_leader,
    notes,
    applying,
    disk,
    certificates,
    states,
]


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_said_is_documented(
    source: Callable[[], Iterator[str]], documented: Callable[[str], list[str]]
) -> None:
    said = list(source())
    assert said
    assert [sentence for sentence in said if not documented(sentence)] == []


def test_what_is_documented_is_said(sentences: dict[str, re.Pattern[str]]) -> None:
    said = [sentence for source in SOURCES for sentence in source()]
    never = [row for row, row_is in sentences.items() if not any(map(row_is.search, said))]
    assert len(sentences) > 25
    assert never == []
