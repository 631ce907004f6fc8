"""Leadership transfer (thesis §3.10): catch the successor up, then bid it to campaign at once."""

from __future__ import annotations

from braft_core.errors import Busy, Rejected
from braft_core.raft.messages import TimeoutNow, TimeoutNowResponse
from braft_core.raft.progress import ProgressState
from braft_core.raft.state import NEVER, RaftState

__all__ = ["abort_if_late", "begin", "best_successor", "hand_over_now", "on_caught_up"]


def best_successor(state: RaftState) -> str:
    """The other voter that follows and whose log is closest to ours; ties by configuration order.

    One that does not answer, or whose connection broke, is no good successor.
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
    """Start handing leadership to ``to`` (or the best successor) and return its id.

    Until it is done, or an election timeout has passed, no proposals are taken.

    :raises Busy: another transfer is under way.
    :raises Rejected: ``to`` does not vote, or there is no other voter.
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
    """If ``server`` is the successor and holds our whole log, bid it to campaign."""
    if server != state.transfer_to or state.transfer_sent:
        return
    progress = state.progress.get(server)
    if progress is not None and progress.match_index == state.log.last_index:
        _send_timeout_now(state, server)
        state.transfer_sent = True


def abort_if_late(state: RaftState) -> None:
    """Take proposals again if the successor did not make it in time."""
    if state.now >= state.transfer_deadline:
        state.transfer_to = ""
        state.transfer_deadline = NEVER


def hand_over_now(state: RaftState) -> None:
    """A leader that just removed itself saves its cluster the wait for an election."""
    target = best_successor(state)
    if target and state.progress[target].match_index == state.log.last_index:
        _send_timeout_now(state, target)


def respond(state: RaftState, message: TimeoutNow) -> None:
    """Acknowledge; the campaign itself is ``election``'s business."""
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
