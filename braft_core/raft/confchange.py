"""Membership changes, one server at a time (thesis §4.1, with the fix of its 2015 erratum).

The fix: a leader changes nothing before it has committed an entry of its own term. With at most one
pending change, the majorities of any two configurations that can be in force then overlap.
"""

from __future__ import annotations

from braft_core.errors import Busy, DecodeError, Rejected
from braft_core.raft import transfer
from braft_core.raft.progress import Progress
from braft_core.raft.ready import ConfigurationCommitted
from braft_core.raft.state import RaftState
from braft_core.raft.types import (
    Configuration,
    Entry,
    EntryType,
    Role,
    Server,
    Suffrage,
    check_configuration,
    encode_configuration,
)

__all__ = ["KINDS", "change", "next_configuration", "on_committed", "sync_progress"]

#: The changes, in HashiCorp's vocabulary; ``promote`` is AddVoter for a member.
KINDS = ("add_voter", "add_nonvoter", "promote", "demote_voter", "remove_server")


def next_configuration(
    current: Configuration, kind: str, server_id: str, address: str = ""
) -> Configuration:
    """Return the configuration after one change; equal to ``current`` if nothing changes.

    Adding a member again updates its address. ``add_nonvoter`` leaves a voter a voter.

    :raises Rejected: the change is not possible, with the reason.
    """
    if kind not in KINDS:
        raise Rejected(f"unknown membership change {kind!r}; accepted: {', '.join(KINDS)}")
    known = current.get(server_id)
    if kind in ("add_voter", "add_nonvoter"):
        return _add(current, known, kind == "add_voter", server_id, address)
    if known is None:
        raise Rejected(
            f"{server_id!r} is not a member of this cluster", server=server_id, member=False
        )
    if kind == "promote":
        return _replace(current, known._replace(suffrage=Suffrage.VOTER))
    if current.voters == (server_id,):
        raise Rejected(f"{server_id!r} is the last voter of this cluster", server=server_id)
    if kind == "demote_voter":
        return _replace(current, known._replace(suffrage=Suffrage.NONVOTER))
    return Configuration(tuple(s for s in current.servers if s.id != server_id))


def _add(
    current: Configuration, known: Server | None, voter: bool, server_id: str, address: str
) -> Configuration:
    if not server_id or not address:
        raise Rejected("a server to be added needs an id and an address")
    for other in current.servers:
        if other.address == address and other.id != server_id:
            raise Rejected(
                f"address {address} already belongs to server {other.id!r}",
                address=address,
                server=other.id,
            )
    votes = voter or (known is not None and known.suffrage is Suffrage.VOTER)
    server = Server(server_id, address, Suffrage.VOTER if votes else Suffrage.NONVOTER)
    if known is not None:
        return _usable(_replace(current, server))
    return _usable(Configuration((*current.servers, server)))


def _usable(configuration: Configuration) -> Configuration:
    """Return the configuration. :raises Rejected: other servers would refuse it."""
    try:
        check_configuration(configuration)
    except DecodeError as error:
        raise Rejected(error.message) from error
    return configuration


def _replace(current: Configuration, server: Server) -> Configuration:
    return Configuration(tuple(server if s.id == server.id else s for s in current.servers))


def change(state: RaftState, kind: str, server_id: str, address: str) -> int:
    """Append the changed configuration and use it at once (Raft §6); return its index.

    :raises Busy: a change is pending, or this leader has not yet committed an entry of its term.
    :raises Rejected: see :func:`next_configuration`.
    """
    log = state.log
    proposed = next_configuration(log.configuration, kind, server_id, address)
    if proposed == log.configuration and log.configuration_index <= state.commit_index:
        return log.configuration_index
    if log.configuration_index > state.commit_index:
        raise Busy(
            f"a membership change at index {log.configuration_index} is still pending",
            index=log.configuration_index,
        )
    if log.term_at(state.commit_index) != state.current_term:
        raise Busy("the leader has not yet committed an entry in its term")
    data = encode_configuration(proposed)
    index = log.last_index + 1
    state.append([Entry(index, state.current_term, EntryType.CONFIGURATION, data)])
    sync_progress(state)
    return index


def sync_progress(state: RaftState) -> None:
    """Keep a :class:`Progress` for each other server of the configuration in use."""
    wanted = [s for s in state.configuration.ids if s != state.server_id]
    for server in list(state.progress):
        if server not in wanted:
            del state.progress[server]
    for server in wanted:
        if server not in state.progress:
            state.progress[server] = Progress(state.log.last_index + 1, state.now)
    if state.transfer_to and state.transfer_to not in state.other_voters:
        state.transfer_deadline = state.now
        transfer.abort_if_late(state)


def on_committed(state: RaftState, previous_commit: int) -> bool:
    """Note a committed configuration; return True if the leader must step down.

    It must if it is no voter of the committed configuration (thesis §4.2.2).
    """
    index = state.log.configuration_index
    if not previous_commit < index <= state.commit_index:
        return False
    state.events.append(ConfigurationCommitted(state.configuration, index))
    return state.role is Role.LEADER and not state.is_voter
