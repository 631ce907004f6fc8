"""Dispatch a message: check the protocol's rules, then its term, then call its handler."""

from __future__ import annotations

from braft_core.raft import durability, election, reads, replication, rules, snapshot, transfer
from braft_core.raft.limits import MAX_TERM_STEP
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
)
from braft_core.raft.state import RaftState
from braft_core.raft.types import Role

__all__ = ["step"]


def step(state: RaftState, message: Message) -> None:
    """Process a message.

    :raises ProtocolViolation: it breaks a rule. It is not answered and changes nothing, except
        perhaps the term (see :func:`_refuse_far_term`).
    """
    rules.check(state, message)
    if rules.exceeds_term_step(state, message):
        _refuse_far_term(state, message)
    match message:
        case AppendEntries():
            _on_append(state, message)
        case AppendEntriesResponse():
            if _current(state, message.term) and state.role is Role.LEADER:
                replication.on_append_response(state, message)
                reads.confirm(state)
        case RequestPreVote():
            election.on_pre_vote(state, message)
        case RequestPreVoteResponse():
            if message.granted or _current(state, message.term):
                election.on_pre_vote_response(state, message)
        case RequestVote():
            election.on_vote(state, message)
        case RequestVoteResponse():
            if _current(state, message.term):
                election.on_vote_response(state, message)
        case TimeoutNow():
            _on_timeout_now(state, message)
        case InstallSnapshot():
            _on_install(state, message)
        case InstallSnapshotResponse():
            if _current(state, max(message.term, 1)) or not message.success:
                _on_install_response(state, message)


def _refuse_far_term(state: RaftState, message: Message) -> None:
    """Refuse a message whose term is far beyond ours, but raise our term by a limited step.

    A single forged message cannot exhaust the terms, and servers whose terms are far apart still
    converge. There is at most one step per election timeout, so that 2**62 terms last for thousands
    of years. A message that would not make us adopt its term causes no step.

    :raises ProtocolViolation: always.
    """
    adopts = not isinstance(message, RequestVote) or election.may_vote(state, message)
    due = state.now >= state.term_stepped_at + state.config.election_timeout
    reached = state.current_term
    if due and adopts:
        state.term_stepped_at = state.now
        state.become_follower(reached + MAX_TERM_STEP, "", "saw a term that is far beyond")
    raise rules.violation(
        message,
        f"its term is more than {MAX_TERM_STEP} beyond {reached}, the term of server "
        f"{state.server_id}",
    )


def _current(state: RaftState, term: int) -> bool:
    """Adopt a newer term; return True if the message is of the current one."""
    if term > state.current_term:
        state.become_follower(term, "", f"saw term {term}")
    return term == state.current_term


def _on_append(state: RaftState, message: AppendEntries) -> None:
    if message.term < state.current_term:
        replication.reject(state, message)
        return
    _follow(state, message)
    replication.on_append(state, message)


def _on_install(state: RaftState, message: InstallSnapshot) -> None:
    if message.term < state.current_term:
        snapshot.respond(state, message, False)
        return
    _follow(state, message)
    snapshot.on_install(state, message)


def _on_install_response(state: RaftState, message: InstallSnapshotResponse) -> None:
    if state.role is Role.LEADER and snapshot.on_response(state, message):
        replication.advance_commit(state)


def _follow(state: RaftState, message: AppendEntries | InstallSnapshot) -> None:
    """Follow the sender, which leads the current term or a newer one that we adopt."""
    state.become_follower(message.term, message.sender, f"{message.sender} leads")
    state.leader_contact = state.now
    state.fast_retries_left = 0
    state.reset_election_timer()


def _on_timeout_now(state: RaftState, message: TimeoutNow) -> None:
    transfer.respond(state, message)
    follows = state.role is Role.FOLLOWER and message.sender == state.leader
    may_campaign = state.may_campaign and state.campaign_enabled
    if follows and may_campaign and durability.vote_is_durable(state):
        election.campaign(state, "leadership transfer", transfer=True)
