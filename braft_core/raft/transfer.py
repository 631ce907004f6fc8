"""Leadership transfer (thesis §3.10): bring the target up to date, then send it TimeoutNow."""

from __future__ import annotations

from braft_core.errors import Busy, Rejected
from braft_core.raft.messages import TimeoutNow, TimeoutNowResponse
from braft_core.raft.progress import ProgressState
from braft_core.raft.state import NEVER, RaftState

__all__ = ["abort_if_late", "begin", "best_successor", "hand_over_now", "on_caught_up"]


def best_successor(state: RaftState) -> str:
    """Return the voter that follows with the longest log; "" if no voter is in contact.

    Of equals it is the first one of the configuration. Voters that do not answer are left out.
    """
    oldest = state.now - state.config.election_timeout
    following = [
        voter
        for voter in state.other_voters
        if (progress := state.progress.get(voter)) is not None
        and progress.state is ProgressState.REPLICATE
        and progress.last_contact >= oldest
    ]
    return max(following, key=lambda v: state.progress[v].match_index, default="")


def begin(state: RaftState, to: str) -> str:
    """Start a transfer to ``to``, or to the best successor, and return its id.

    Proposals are refused until the transfer is done or an election timeout has passed.

    :raises Busy: another transfer is under way, or no other voter is in contact.
    :raises Rejected: ``to`` is not another voter.
    """
    if state.transfer_to:
        raise Busy(f"leadership is already being transferred to {state.transfer_to}")
    target = to or best_successor(state)
    if not target:
        raise Busy("there is no other voter in contact to transfer leadership to", successor="")
    if target not in state.other_voters:
        raise Rejected(
            f"cannot transfer leadership to {target!r}: it is not another voter of this cluster",
            server=target,
            voters=list(state.other_voters),
        )
    state.transfer_to = target
    state.transfer_sent = False
    state.transfer_deadline = state.now + state.config.election_timeout
    on_caught_up(state, target)
    return target


def on_caught_up(state: RaftState, server: str) -> None:
    """Send TimeoutNow if ``server`` is the target and holds our whole log."""
    if server != state.transfer_to or state.transfer_sent:
        return
    progress = state.progress.get(server)
    if progress is not None and progress.match_index == state.log.last_index:
        _send_timeout_now(state, server)
        state.transfer_sent = True


def abort_if_late(state: RaftState) -> None:
    """End a transfer that has not succeeded in time, and accept proposals again."""
    if state.now >= state.transfer_deadline:
        state.transfer_to = ""
        state.transfer_deadline = NEVER


def hand_over_now(state: RaftState) -> None:
    """Send TimeoutNow to the best successor if its log is complete; for a removed leader."""
    target = best_successor(state)
    if target and state.progress[target].match_index == state.log.last_index:
        _send_timeout_now(state, target)


def respond(state: RaftState, message: TimeoutNow) -> None:
    """Acknowledge a TimeoutNow; the caller starts the campaign."""
    state.messages.append(
        TimeoutNowResponse(
            sender=state.server_id,
            to=message.sender,
            request_id=message.request_id,
            context=message.context,
        )
    )


def _send_timeout_now(state: RaftState, to: str) -> None:
    state.lease_invalidated = True
    request = TimeoutNow(sender=state.server_id, to=to, request_id=state.request_id())
    state.messages.append(request)
