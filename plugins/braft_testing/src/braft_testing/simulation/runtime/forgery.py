"""Forged messages and calls to whole nodes, as of an attacker who reaches a port."""

from __future__ import annotations

import random
from collections.abc import Callable

from braft_core.errors import BraftError
from braft_core.peer import (
    AnnounceRequest,
    BootstrapProposal,
    ChangeMembershipRequest,
    JoinRequest,
    PeerRequest,
    ProbeRequest,
    ProposeRequest,
    ReadIndexRequest,
    TransferLeadershipRequest,
)
from braft_core.raft.messages import InstallSnapshot, Request
from braft_testing.simulation.forged_messages import forge
from braft_testing.simulation.runtime.node import Life, SimulatedNode
from braft_testing.simulation.runtime.observed import Forgery
from braft_testing.simulation.trace import Trace, describe

__all__ = ["call_with_forgery", "send_forgery"]

_NOWHERE = "10.9.9.9:9"


def send_forgery(
    node: SimulatedNode, server_ids: list[str], rng: random.Random, trace: Trace
) -> None:
    """Send a message that breaks a rule of the protocol; whatever answers it is dropped."""
    life = node.life
    if life is None or (replica := node.server.replica) is None:
        return
    message = forge(replica.core, server_ids, rng)
    if isinstance(message, InstallSnapshot):
        return  # an offer without contents never reaches the node
    if isinstance(message, Request):
        message.context = Forgery()
    trace.add(f"{life.process.name} <- forged, {message.sender} {describe(message)}")
    node.server.components.transport.post(lambda handler: handler.on_message(message))


def call_with_forgery(node: SimulatedNode, rng: random.Random, trace: Trace) -> None:
    """Make a call that no node of the cluster makes."""
    life = node.life
    if life is None:
        return
    request = rng.choice(_CALLS)(node, rng)
    trace.add(f"{life.process.name} <- forged {type(request).__name__}")
    life.platform.loops[0].submit(_answered(life, request))


async def _answered(life: Life, request: PeerRequest) -> None:
    """Await the answer to a call. Only a refusal of braft's own may come."""
    try:
        await life.threads._server.handler.on_call(request)
    except BraftError:
        return
    except Exception as error:  # noqa: BLE001 - it is a finding
        life.process.failures.append(f"{type(request).__name__} ended by {error!r}")


def _propose(node: SimulatedNode, rng: random.Random) -> PeerRequest:
    data = rng.choice((b"", b"\x00", b"\xff" * 9, rng.randbytes(20), b"\x01\x00\xc1"))
    return ProposeRequest((data,) * rng.choice((0, 1, 3)), rng.choice((-1, 0, 100, 1 << 60)))


def _read(node: SimulatedNode, rng: random.Random) -> PeerRequest:
    return ReadIndexRequest(rng.choice(("", "another", "\x00")))


def _change(node: SimulatedNode, rng: random.Random) -> PeerRequest:
    kind = rng.choice(("", "nonsense", "promote", "remove_server", "demote_voter"))
    return ChangeMembershipRequest(kind, "nobody", "", rng.choice((-5, 0, 100)))


def _transfer(node: SimulatedNode, rng: random.Random) -> PeerRequest:
    return TransferLeadershipRequest(rng.choice(("nobody", "\x00")), rng.choice((-5, 100)))


def _join(node: SimulatedNode, rng: random.Random) -> PeerRequest:
    name, cluster = rng.choice((("other", ""), ("simulated", "another"), ("", "")))
    server_id = rng.choice(("", "x", node.server_id))
    return JoinRequest(server_id, _NOWHERE, name, cluster, True, rng.choice((b"", b"\xc1")))


def _announce(node: SimulatedNode, rng: random.Random) -> PeerRequest:
    return AnnounceRequest("stranger", _NOWHERE, rng.choice(("", "another")), b"\xc1")


def _proposal(node: SimulatedNode, rng: random.Random) -> PeerRequest:
    data = rng.choice((b"", b"\xc1", rng.randbytes(12)))
    return BootstrapProposal("other", "another", data, "stranger")


def _probe(node: SimulatedNode, rng: random.Random) -> PeerRequest:
    return ProbeRequest(rng.choice(("", "x")), "other", "", rng.choice(("", "nowhere", _NOWHERE)))


_CALLS: tuple[Callable[[SimulatedNode, random.Random], PeerRequest], ...] = (
    _propose,
    _propose,
    _read,
    _change,
    _transfer,
    _join,
    _announce,
    _proposal,
    _probe,
)
