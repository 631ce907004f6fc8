"""Forged messages, as an attacker who reaches a server's port might send them.

Forges messages in the name of a member or of an unknown server. They break a rule of the protocol,
or an honest server may have sent them long ago. What a real leader could send now is never forged:
no server could recognise that, and none is expected to survive it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from braft_core.errors import ProtocolViolation
from braft_core.raft import types
from braft_core.raft.limits import MAX_INDEX, MAX_TERM, MAX_TERM_STEP
from braft_core.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    Message,
    Request,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from braft_core.raft.types import (
    EMPTY_CONFIGURATION,
    Configuration,
    Entry,
    EntryType,
    Role,
    SnapshotMeta,
    encode_configuration,
)
from braft_testing.simulation.core import Core
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.process import FORGED, PendingRequest
from braft_testing.simulation.trace import describe

if TYPE_CHECKING:
    from braft_testing.simulation.server import Server

__all__ = ["check_rejection", "forge", "send_forged"]

#: The id of an unknown server.
UNKNOWN_SERVER = "x1"
_NOBODY = encode_configuration(EMPTY_CONFIGURATION)
#: A request id that was never used.
_NEVER_ASKED = 1 << 40


def send_forged(server: Server, rng: random.Random) -> None:
    """Send a forged message to a server's core; replies are discarded."""
    live, world = server.process, server.world
    message = forge(live.core, world.server_ids, rng)
    pending = PendingRequest(message.sender, FORGED, message, world.scheduler.now)
    if isinstance(message, Request):
        message.context = pending
        live.unanswered[id(pending)] = pending
    world.trace.add(f"{server.id} <- forged, {message.sender} {describe(message)}")
    try:
        live.core.step(message)
    except ProtocolViolation:
        live.unanswered.pop(id(pending), None)


def check_rejection(
    server: Server, message: Message, term: int, violation: ProtocolViolation
) -> None:
    """Check the reason for which a server in ``term`` rejects a real message of a server.

    After forged messages have raised some terms, other servers need several steps to catch up.

    :raises InvariantBroken: if the message should have been accepted.
    """
    forged = server.world.faults.injected["forgery"]
    far = not isinstance(message, TimeoutNow | TimeoutNowResponse) and (
        message.term - term > MAX_TERM_STEP
    )
    if not (forged and far):
        raise InvariantBroken(
            "messages of real servers are never rejected as forged", f"{server.id}: {violation}"
        )
    server.process.unanswered.pop(id(message.context), None)


def forge(core: Core, server_ids: Sequence[str], rng: random.Random) -> Message:
    """Return a forged message for the server of that core in its present state."""
    others = [server_id for server_id in server_ids if server_id != core.server_id]
    sender = rng.choice([*others, UNKNOWN_SERVER])
    kind = rng.choice(_KINDS)
    message = kind(core, sender, rng)
    return message if message is not None else _stale_append(core, sender, rng)


def _append(
    core: Core,
    sender: str,
    term: int,
    prev_log_index: int = 0,
    entries: Sequence[Entry] = (),
    leader_commit: int = 0,
) -> AppendEntries:
    prev_term = core.log.term_at(prev_log_index) or 0
    return AppendEntries(
        sender, core.server_id, term, prev_log_index, prev_term, list(entries), leader_commit
    )


def _second_leader(core: Core, sender: str, rng: random.Random) -> Message | None:
    """Claim to lead the present term, which another server or this one leads."""
    leader = core.server_id if core.role is Role.LEADER else core.leader
    if not leader or sender == leader:
        return None
    term, last = core.current_term, core.last_index
    if rng.random() < 0.3:
        return _append(core, sender, term)
    if rng.random() < 0.2:
        meta = SnapshotMeta("forged", last + 5, term, _members(sender), 1)
        return InstallSnapshot(sender, core.server_id, term, meta)
    forged = Entry(last + 1, term, EntryType.COMMAND, b"forged")
    return _append(core, sender, term, last, [forged], last + 1)


def _members(server_id: str) -> Configuration:
    return Configuration((types.Server(server_id, server_id),))


def _broken_entries(core: Core, sender: str, rng: random.Random) -> Message:
    """Send entries that no log can hold, of the present term or the next one."""
    term, last = core.current_term + rng.choice((0, 1)), core.last_index
    index, kind, data = last + 1, int(EntryType.COMMAND), b"forged"
    forged = rng.choice(
        (
            [Entry(index + 1, term, kind, data)],
            [Entry(index, term, kind, data), Entry(index + 2, term, kind, data)],
            [Entry(index, term, kind, data), Entry(index, term, kind, data)],
            [Entry(index + 1, term, kind, data), Entry(index, term, kind, data)],
            [Entry(index, term + 1, kind, data)],
            [Entry(index, term, kind, data), Entry(index + 1, term - 1, kind, data)],
            [Entry(index, 0, kind, data)],
            [Entry(index, term, -1, data)],
            [Entry(index, term, EntryType.CONFIGURATION, data)],
            [Entry(index, term, EntryType.CONFIGURATION, _NOBODY)],
        )
    )
    return _append(core, sender, term, last, forged, rng.choice((0, last, MAX_INDEX)))


def _other_past(core: Core, sender: str, rng: random.Random) -> Message | None:
    """Claim to be a newer leader whose log contradicts this server's committed entries."""
    commit, term = core.commit_index, core.current_term + 1
    if commit <= core.log.compacted_index + 1:
        return None
    entries = [Entry(index, term, EntryType.NOOP, b"") for index in (commit, commit + 1)]
    message = _append(core, sender, term, commit - 1, entries)
    if rng.random() < 0.3:
        message.prev_log_index, message.prev_log_term = commit, term
        message.entries = ()
    return message


def _far_term(core: Core, sender: str, rng: random.Random) -> Message:
    to, last = core.server_id, core.last_index
    near = core.current_term + MAX_TERM_STEP + 1
    term = rng.choice((near, MAX_TERM - 1, MAX_TERM, 1 << 63, 1 << 63, (1 << 63) - 1))
    messages: tuple[Message, ...] = (
        _append(core, sender, term),
        RequestVote(sender, to, term, last + 1, core.current_term, rng.random() < 0.5),
        RequestPreVote(sender, to, term, last + 1, core.current_term),
        AppendEntriesResponse(sender, to, term, False, last, request_id=_NEVER_ASKED),
        RequestVoteResponse(sender, to, term, False, request_id=_NEVER_ASKED),
        InstallSnapshotResponse(sender, to, term, False, request_id=_NEVER_ASKED),
    )
    return rng.choice(messages)


def _bad_numbers(core: Core, sender: str, rng: random.Random) -> Message:
    to, term, number = core.server_id, core.current_term + 1, rng.choice((-1, 1 << 63))
    meta = SnapshotMeta("forged", core.last_index + 1, term + 1, _members(sender), 1)
    messages: tuple[Message, ...] = (
        AppendEntries(sender, to, term, number, term, (), 0),
        AppendEntries(sender, to, term, 0, 0, (), number),
        AppendEntries(sender, to, number, 0, 0, (), 0),
        RequestVote(sender, to, term, number, term),
        RequestPreVote(sender, to, term, 1, number),
        AppendEntriesResponse(sender, to, term, True, number, request_id=_NEVER_ASKED),
        InstallSnapshot(sender, to, term, meta),
        InstallSnapshot(sender, to, term, meta._replace(term=term, index=0)),
        InstallSnapshot(
            sender, to, term, meta._replace(term=term, configuration=EMPTY_CONFIGURATION)
        ),
    )
    return rng.choice(messages)


def _bad_names(core: Core, sender: str, rng: random.Random) -> Message:
    me, term = core.server_id, core.current_term + 1
    messages: tuple[Message, ...] = (
        AppendEntries(me, me, term, 0, 0, (), 0),
        RequestVote(me, me, term, MAX_INDEX, term),
        AppendEntries(sender, "x2", term, 0, 0, (), 0),
        RequestVote(sender, "x2", term, MAX_INDEX, term, True),
        RequestVoteResponse(me, me, core.current_term, True, request_id=_NEVER_ASKED),
    )
    return rng.choice(messages)


def _stale_append(core: Core, sender: str, rng: random.Random) -> Message:
    """Send what a past leader may have sent, or claims to have sent."""
    if core.current_term <= 1:
        return _stale_answer(core, sender, rng)
    term, last = rng.randint(1, core.current_term - 1), core.last_index
    index = rng.randint(1, last + 3)
    entries = [Entry(index, term, EntryType.COMMAND, b"late")] if rng.random() < 0.5 else []
    message = AppendEntries(
        sender, core.server_id, term, index - 1, term if index > 1 else 0, entries, last + 9
    )
    meta = SnapshotMeta("late", last + 5, term, _members(sender), 1)
    votes = RequestVote(sender, core.server_id, term, MAX_INDEX, term)
    return rng.choice((message, InstallSnapshot(sender, core.server_id, term, meta), votes))


def _stale_answer(core: Core, sender: str, rng: random.Random) -> Message:
    """Send responses without a request, or a TimeoutNow that the leader did not send."""
    to, term = core.server_id, core.current_term
    never = _NEVER_ASKED
    messages: list[Message] = [
        AppendEntriesResponse(sender, to, term, True, MAX_INDEX, lease=True, request_id=never),
        AppendEntriesResponse(sender, to, term, False, 0, stamp=MAX_INDEX, request_id=never),
        RequestVoteResponse(sender, to, term, True, request_id=never),
        RequestPreVoteResponse(sender, to, term, True, request_id=never),
        InstallSnapshotResponse(sender, to, term, True, request_id=never),
    ]
    if sender != core.leader:
        messages.append(TimeoutNow(sender, to))
    return rng.choice(messages)


_KINDS: tuple[Callable[[Core, str, random.Random], Message | None], ...] = (
    _second_leader,
    _second_leader,
    _broken_entries,
    _broken_entries,
    _other_past,
    _far_term,
    _bad_numbers,
    _bad_names,
    _stale_append,
    _stale_answer,
)
