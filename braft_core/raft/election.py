"""Elections: PreVote, votes, and protection from removed or partitioned servers.

Raft §5.2 and §5.4.1; thesis §4.2.3 (leader stickiness), §6.2 (check-quorum), §9.6 (PreVote).
"""

from __future__ import annotations

from collections.abc import Mapping

from braft_core.raft import confchange, durability, replication
from braft_core.raft.messages import (
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from braft_core.raft.quorum import majority
from braft_core.raft.state import NEVER, RaftState
from braft_core.raft.types import Entry, EntryType, Role

__all__ = [
    "campaign",
    "check_quorum",
    "election_tick",
    "may_vote",
    "on_leader_lost",
    "on_pre_vote",
    "on_pre_vote_response",
    "on_vote",
    "on_vote_response",
    "own_vote_durable",
    "pre_campaign",
    "set_campaign_enabled",
    "start",
]

_FAST_RETRIES = 6
_FAST_RETRY_WAIT = 0.05


def election_tick(state: RaftState) -> None:
    """Campaign when the election timeout has passed without a leader.

    Do not while our latest vote is being written: it would be wasted, and the vote of the next term
    likewise (a departure, see docs/divergence.md).
    """
    if state.now < max(state.election_deadline, state.vote_lease_until):
        return
    state.reset_election_timer()
    if state.may_campaign and state.campaign_enabled and durability.vote_is_durable(state):
        pre_campaign(state, state.no_leader_reason or "election timeout")


def set_campaign_enabled(state: RaftState, enabled: bool) -> None:
    """Allow or forbid campaigns. Safe, since the server votes and takes entries either way."""
    state.campaign_enabled = enabled
    if not enabled and state.role in (Role.PRE_CANDIDATE, Role.CANDIDATE):
        state.become_follower(state.current_term, "", "it does not stand for election")


def start(state: RaftState) -> None:
    """Start as a follower that campaigns soon (a departure, see docs/divergence.md).

    Waiting for a whole election timeout would only delay a new or restarted cluster. PreVote keeps
    a server that restarts in a running cluster from disturbing it.
    """
    if state.config.lease_reads:
        # A vote lease may have been granted before the restart; we do not know.
        state.vote_lease_until = state.now + state.config.election_timeout
    alone = state.configuration.voters == (state.server_id,)
    state.fast_retries_left = _FAST_RETRIES
    state.no_leader_reason = "no leader was heard since the start"
    state.election_deadline = max(state.now, state.vote_lease_until)
    if not alone:
        state.election_deadline += state.random() * state.config.election_jitter


def on_leader_lost(state: RaftState) -> None:
    """Start a PreVote soon, because the connection to the leader broke.

    This is safe: servers that still hear the leader refuse the PreVote. A killed leader is
    replaced within milliseconds instead of an election timeout.
    """
    state.leader_contact = -NEVER
    state.set_leader("")
    state.no_leader_reason = "lost the connection to the leader"
    state.fast_retries_left = _FAST_RETRIES
    wait = state.random() * state.config.lost_leader_jitter
    soon = max(state.now, state.vote_lease_until) + wait
    state.election_deadline = min(state.election_deadline, soon)


def pre_campaign(state: RaftState, reason: str) -> None:
    """Ask all voters whether they would vote for us, without raising any term (§9.6).

    Late votes of our campaign in the current term still count.
    """
    state.set_leader("")
    state.set_role(Role.PRE_CANDIDATE, reason)
    state.pre_votes = {state.server_id: True}
    state.pre_vote_requests.clear()
    _schedule_fast_retry(state)
    if _has_majority(state, state.pre_votes):
        campaign(state, reason)
        return
    for voter in state.other_voters:
        request_id = state.request_id()
        state.pre_vote_requests[request_id] = voter
        state.respond(
            RequestPreVote(
                sender=state.server_id,
                to=voter,
                term=state.current_term + 1,
                last_log_index=state.log.last_index,
                last_log_term=state.log.last_term,
                request_id=request_id,
            )
        )


def _schedule_fast_retry(state: RaftState) -> None:
    """Schedule an early retry of this campaign, a few times after a leader was lost.

    The survivors often campaign at the same moment and split the vote. Waiting for a whole election
    timeout would then be most of the failover time.
    """
    if state.fast_retries_left:
        state.fast_retries_left -= 1
        wait = _FAST_RETRY_WAIT * (1.0 + 2.0 * state.random())
        state.election_deadline = state.now + wait


def campaign(state: RaftState, reason: str, *, transfer: bool = False) -> None:
    """Become a candidate in the next term. Requests and our own vote wait for the disk (§5.2)."""
    state.current_term += 1
    state.voted_for = state.server_id
    state.set_leader("")
    state.set_role(Role.CANDIDATE, reason)
    state.reset_election_timer()
    _schedule_fast_retry(state)
    state.forget_votes()
    for voter in state.other_voters:
        request_id = state.request_id()
        state.vote_requests[request_id] = voter
        state.messages_after_persist.append(
            RequestVote(
                sender=state.server_id,
                to=voter,
                term=state.current_term,
                last_log_index=state.log.last_index,
                last_log_term=state.log.last_term,
                leadership_transfer=transfer,
                request_id=request_id,
            )
        )


def own_vote_durable(state: RaftState) -> None:
    """Count our own vote once it is durable."""
    if state.role is Role.CANDIDATE and durability.vote_is_durable(state):
        state.votes[state.server_id] = True
        if _has_majority(state, state.votes):
            _become_leader(state)


def _has_majority(state: RaftState, votes: Mapping[str, bool]) -> bool:
    voters = state.log.voters
    granted = sum(1 for voter in voters if votes.get(voter))
    return granted >= majority(len(voters))


def _up_to_date(state: RaftState, last_term: int, last_index: int) -> bool:
    """Return True if a candidate's log is at least as complete as ours (Raft §5.4.1)."""
    return (last_term, last_index) >= (state.log.last_term, state.log.last_index)


def on_pre_vote(state: RaftState, message: RequestPreVote) -> None:
    """Answer whether we would vote. We would not while a leader is alive (thesis §4.2.3)."""
    granted = (
        message.term > state.current_term
        and not state.leader_is_alive
        and state.now >= state.vote_lease_until
        and _up_to_date(state, message.last_log_term, message.last_log_index)
    )
    state.respond(
        RequestPreVoteResponse(
            sender=state.server_id,
            to=message.sender,
            term=state.current_term,
            granted=granted,
            request_id=message.request_id,
            context=message.context,
        )
    )


def on_pre_vote_response(state: RaftState, message: RequestPreVoteResponse) -> None:
    """Count the answer; with a majority, start the real campaign."""
    asked = state.pre_vote_requests
    if state.role is not Role.PRE_CANDIDATE or not _is_ours(asked, message):
        return
    state.pre_votes[message.sender] = message.granted
    if _has_majority(state, state.pre_votes):
        campaign(state, "pre-vote won")


def may_vote(state: RaftState, message: RequestVote) -> bool:
    """Return True unless we hear a leader or granted it a vote lease that is still valid."""
    has_leader = state.leader_is_alive or state.now < state.vote_lease_until
    return message.leadership_transfer or not has_leader


def on_vote(state: RaftState, message: RequestVote) -> None:
    """Grant at most one vote per term, to an up-to-date candidate (Raft §5.2, §5.4.1).

    While a leader is alive, refuse without adopting the term, unless that leader itself asked for
    the election.
    """
    if may_vote(state, message):
        if message.term > state.current_term:
            state.become_follower(message.term, "", f"vote requested in term {message.term}")
        free = state.voted_for in ("", message.sender)
        granted = (
            message.term == state.current_term
            and free
            and _up_to_date(state, message.last_log_term, message.last_log_index)
        )
    else:
        granted = False
    # Only the first time, or repeated requests would keep us from ever campaigning.
    if granted and not state.voted_for:
        state.voted_for = message.sender
        state.reset_election_timer()
        if state.role is Role.PRE_CANDIDATE:
            state.set_role(Role.FOLLOWER, f"voted for {message.sender}")
    state.respond(
        RequestVoteResponse(
            sender=state.server_id,
            to=message.sender,
            term=state.current_term,
            granted=granted,
            request_id=message.request_id,
            context=message.context,
        )
    )


def on_vote_response(state: RaftState, message: RequestVoteResponse) -> None:
    """Count a vote for our campaign in the current term, once per voter.

    Also during a PreVote for the next term: a vote is valid for its whole term, and arrives late
    from a voter with a slow disk.
    """
    campaigning = state.role in (Role.CANDIDATE, Role.PRE_CANDIDATE)
    if not campaigning or message.term != state.current_term:
        return
    if not _is_ours(state.vote_requests, message):
        return
    state.votes[message.sender] = message.granted
    if _has_majority(state, state.votes):
        _become_leader(state)


def _is_ours(asked: dict[int, str], message: RequestVoteResponse | RequestPreVoteResponse) -> bool:
    """Return True, once per request, if this answers a request of the campaign under way."""
    ours = asked.get(message.request_id) == message.sender
    if ours:
        del asked[message.request_id]
    return ours


def _become_leader(state: RaftState) -> None:
    """Become leader and append a no-op, which commits entries of older terms (Raft §5.4.2, §8)."""
    state.forget_votes()
    state.fast_retries_left = 0
    state.set_role(Role.LEADER, "election won")
    state.set_leader(state.server_id)
    state.election_deadline = NEVER
    state.uncommitted_bytes = 0
    state.progress.clear()
    confchange.sync_progress(state)
    index = state.log.last_index + 1
    state.append([Entry(index, state.current_term, EntryType.NOOP, b"")])
    state.heartbeat_due = state.now + state.config.heartbeat_interval
    state.quorum_check_due = state.now + state.config.election_timeout
    replication.heartbeat(state)


def check_quorum(state: RaftState) -> None:
    """Step down if no round with a majority succeeded for an election timeout (§6.2).

    A round counts from the moment when its requests were sent; a late answer proves nothing about
    the time since. A replaced leader therefore steps down within an election timeout and a
    heartbeat interval, however late messages are. The bound of stale reads depends on that.
    """
    if state.now < state.quorum_check_due:
        return
    config = state.config
    state.quorum_check_due = state.now + config.heartbeat_interval
    voters = state.log.voters
    proved = sum(1 for voter in voters if _proved(state, voter))
    if proved < majority(len(voters)):
        state.become_follower(state.current_term, "", "lost contact with a majority")


def _proved(state: RaftState, voter: str) -> bool:
    if voter == state.server_id:
        return True
    return state.now - state.progress[voter].proved_at < state.config.election_timeout
