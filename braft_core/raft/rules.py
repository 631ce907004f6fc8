"""The rules of the protocol, which each message must keep before it changes anything.

A *stale* message is one that a correct peer may send late, twice or out of order. Raft itself deals
with it: it is answered or ignored. A message *breaks a rule* if no correct peer can ever send it.
It is refused with :class:`~braft_core.errors.ProtocolViolation`: it changes nothing and is not
answered. ``docs/divergence.md`` has the table.

The sender need not be a member: a server must process requests of servers that its configuration
does not name (Raft §6).
"""

from __future__ import annotations

from collections.abc import Sequence

from braft_core.errors import DecodeError, InvariantViolation, ProtocolViolation
from braft_core.raft.limits import MAX_ENTRIES, MAX_INDEX, MAX_TERM, MAX_TERM_STEP
from braft_core.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    Message,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from braft_core.raft.state import RaftState
from braft_core.raft.types import (
    Configuration,
    Entry,
    EntryType,
    Role,
    check_configuration,
    decode_configuration,
)

__all__ = ["check", "exceeds_term_step", "violation"]

_CONFIGURATION = int(EntryType.CONFIGURATION)
#: An entry's type is one byte, as in HashiCorp raft.
_MAX_TYPE = 255
_MAX_TIME = (1 << 63) - 1


def check(state: RaftState, message: Message) -> None:
    """Refuse a message that breaks a rule, without changing anything.

    :raises ProtocolViolation: with the rule.
    """
    if message.to != state.server_id:
        raise violation(message, f"it is for server {message.to!r:.80}")
    if message.sender == state.server_id:
        raise violation(message, "it names this server itself as its sender")
    match message:
        case AppendEntries():
            _check_append(state, message)
        case AppendEntriesResponse():
            _check_term(message, message.term, least=0)
            _check_index(message, "last log index", message.last_log)
            _check_index(message, "stamp", message.stamp)
        case RequestVote() | RequestPreVote():
            _check_candidate(message)
        case RequestVoteResponse() | RequestPreVoteResponse() | InstallSnapshotResponse():
            _check_term(message, message.term, least=0)
        case InstallSnapshot():
            _check_snapshot(state, message)
        case TimeoutNow() | TimeoutNowResponse():
            pass
        case _:
            raise InvariantViolation(f"the core was handed a {type(message).__name__}")


def exceeds_term_step(state: RaftState, message: Message) -> bool:
    """Return True if the message's term is further beyond ours than one message may raise it.

    A PreVote does not raise our term and is answered whatever its term. So a server whose term is
    far ahead can become a candidate, and its vote requests raise the others' terms step by step.
    """
    if isinstance(message, RequestPreVote | TimeoutNow | TimeoutNowResponse):
        return False
    return message.term - state.current_term > MAX_TERM_STEP


def violation(message: Message, rule: str) -> ProtocolViolation:
    """Return the error for a message that breaks a rule."""
    return ProtocolViolation(
        f"{type(message).__name__} of server {message.sender!r:.80}: {rule}",
        sender=message.sender,
        rule=rule,
    )


def _check_term(message: Message, term: int, least: int = 1) -> None:
    if not least <= term < MAX_TERM:
        raise violation(message, f"term {term}; terms are from {least} to {MAX_TERM - 1}")


def _check_index(message: Message, name: str, index: int) -> None:
    if not 0 <= index <= MAX_INDEX * 2 - 1:
        raise violation(message, f"{name} {index}; it is from 0 to {MAX_INDEX * 2 - 1}")


def _check_append(state: RaftState, message: AppendEntries) -> None:
    _check_term(message, message.term)
    _check_position(message)
    if message.entries:
        _check_entries(message, message.entries)
    _check_leader(state, message)
    if message.term >= state.current_term:
        _check_committed(state, message)


def _check_position(message: AppendEntries) -> None:
    prev_index, prev_term = message.prev_log_index, message.prev_log_term
    if not 0 <= prev_index <= MAX_INDEX or not 0 <= message.leader_commit <= MAX_INDEX:
        raise violation(
            message,
            f"previous index {prev_index}, commit index {message.leader_commit}; "
            f"indexes are from 0 to {MAX_INDEX}",
        )
    if not 0 <= prev_term <= message.term or (prev_index == 0) != (prev_term == 0):
        raise violation(
            message,
            f"previous entry {prev_index} of term {prev_term} in a message of term {message.term}",
        )


def _check_entries(message: AppendEntries, entries: Sequence[Entry]) -> None:
    """Check that entries are consecutive and that their terms never decrease (Raft §5.3)."""
    if len(entries) > MAX_ENTRIES:
        raise violation(message, f"{len(entries)} entries; at most {MAX_ENTRIES} are accepted")
    last_index, last_term, term = message.prev_log_index, message.prev_log_term, message.term
    for index, entry_term, kind, data, _, appended_at in entries:
        if index != last_index + 1:
            raise violation(message, f"entry {index} behind entry {last_index}")
        if not last_term <= entry_term <= term or entry_term == 0:
            raise violation(
                message, f"entry {index} of term {entry_term} behind one of term {last_term}"
            )
        last_index, last_term = index, entry_term
        if kind == _CONFIGURATION:
            _check_configuration_entry(message, index, data)
        elif not 0 <= kind <= _MAX_TYPE:
            raise violation(
                message, f"entry {index} of type {kind}; types are from 0 to {_MAX_TYPE}"
            )
        if not 0 <= appended_at <= _MAX_TIME:
            raise violation(message, f"entry {index} was appended at {appended_at} ns")


def _check_configuration_entry(message: AppendEntries, index: int, data: bytes) -> None:
    try:
        configuration = decode_configuration(data)
    except DecodeError as error:
        raise violation(message, f"entry {index} is {error}") from error
    _check_voters(message, configuration)


def _check_voters(message: Message, configuration: Configuration) -> None:
    if not configuration.voters:
        raise violation(message, "a configuration without a voter")


def _check_leader(state: RaftState, message: AppendEntries | InstallSnapshot) -> None:
    """Refuse a second leader of the current term (Raft §5.2).

    A server that knows no leader accepts any sender, since it cannot tell which one is false.
    """
    if message.term != state.current_term:
        return
    leader = state.server_id if state.role is Role.LEADER else state.leader
    if leader and message.sender != leader:
        raise violation(message, f"there are two leaders in term {message.term}: {leader} leads it")


def _check_committed(state: RaftState, message: AppendEntries) -> None:
    """Refuse entries that contradict committed ones, which every leader's log holds (Raft §5.4)."""
    log, commit = state.log, state.commit_index
    prev_index = message.prev_log_index
    if prev_index > commit:
        return
    known = log.term_at(prev_index)
    if known is not None and known != message.prev_log_term and not message.heartbeat:
        raise violation(
            message,
            f"committed entry {prev_index} has term {known} here, not {message.prev_log_term}",
        )
    for entry in message.entries[: commit - prev_index]:
        known = log.term_at(entry.index)
        if known is not None and known != entry.term:
            raise violation(
                message,
                f"it replaces committed entry {entry.index} of term {known} by one of term "
                f"{entry.term}",
            )


def _check_candidate(message: RequestVote | RequestPreVote) -> None:
    _check_term(message, message.term)
    index, term = message.last_log_index, message.last_log_term
    if not 0 <= index <= MAX_INDEX or not 0 <= term < MAX_TERM:
        raise violation(
            message,
            f"last entry {index} of term {term}; indexes are from 0 to {MAX_INDEX}, terms below "
            f"{MAX_TERM}",
        )


def _check_snapshot(state: RaftState, message: InstallSnapshot) -> None:
    meta = message.meta
    _check_term(message, message.term)
    if not 0 < meta.index <= MAX_INDEX or not 0 <= meta.configuration_index <= meta.index:
        raise violation(
            message,
            f"a snapshot at {meta.index}, with the configuration of {meta.configuration_index}",
        )
    if not 0 < meta.term <= message.term:
        raise violation(
            message, f"a snapshot of term {meta.term} in a message of term {message.term}"
        )
    try:
        check_configuration(meta.configuration)
    except DecodeError as error:
        raise violation(message, error.message) from error
    _check_voters(message, meta.configuration)
    _check_leader(state, message)
