"""What servers send must be durable before they send it (Raft §5.1, §5.2, §5.3).

Checks messages as they leave, against the simulated disk of the sender. Knows nothing of logs
except the entry that a message names.
"""

from __future__ import annotations

from collections.abc import Sequence

from braft_core.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    Message,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from braft_core.raft.types import HardState
from braft_testing.simulation.disk import LogImage
from braft_testing.simulation.errors import InvariantBroken

__all__ = ["DurabilityInvariants"]


class DurabilityInvariants:
    """Records every vote that was sent, over crashes too."""

    def __init__(self) -> None:
        self._votes: dict[tuple[str, int], str] = {}
        #: The servers that granted a PreVote to a candidate in a term.
        self._willing: dict[tuple[str, int], set[str]] = {}

    def vote(self, server: str, term: int, candidate: str) -> None:
        """Record the vote of ``server`` for ``candidate``.

        :raises InvariantBroken: if it voted for another one in that term.
        """
        first = self._votes.setdefault((server, term), candidate)
        if first != candidate:
            raise InvariantBroken(
                "one vote per term", f"{server} votes for {first} and {candidate} in {term}"
            )

    def elected(self, server: str, term: int, voters: Sequence[str]) -> None:
        """Check that a majority of ``voters`` voted for the new leader ``server``.

        :raises InvariantBroken: if not.
        """
        count = sum(1 for voter in voters if self._votes.get((voter, term)) == server)
        if 2 * count <= len(voters):
            raise InvariantBroken(
                "a leader was elected by a majority",
                f"{server} leads term {term} with the votes of {count} of {voters}",
            )

    def campaign(self, server: str, term: int, voters: Sequence[str]) -> None:
        """Check that a majority granted a PreVote before a campaign without TimeoutNow (§9.6).

        :raises InvariantBroken: if not, since the campaign disturbs a healthy cluster.
        """
        willing = {server} | self._willing.get((server, term), set())
        count = sum(1 for voter in voters if voter in willing)
        if 2 * count <= len(voters):
            raise InvariantBroken(
                "PreVote before a campaign",
                f"{server} campaigns in term {term}, which {count} of {voters} agreed to",
            )

    def check(self, image: LogImage, message: Message, request: Message | None) -> None:
        """Check a message; ``image`` is the sender's disk, ``request`` what is answered.

        :raises InvariantBroken: if a crash could still undo what it says.
        """
        if isinstance(message, RequestPreVote | TimeoutNow | TimeoutNowResponse):
            return
        if image.hard_state.term < message.term:
            raise InvariantBroken(
                "terms are durable before they are sent",
                f"{message}, while the disk says {image.hard_state}",
            )
        if isinstance(message, RequestVoteResponse) and message.granted:
            self._check_vote(image, message)
        if isinstance(message, RequestPreVoteResponse) and message.granted:
            term = request.term if isinstance(request, RequestPreVote) else 0
            self._willing.setdefault((message.to, term), set()).add(message.sender)
        installed = isinstance(message, InstallSnapshotResponse) and message.success
        if installed and isinstance(request, InstallSnapshot):
            _check_installed(image, request)
        acknowledges = isinstance(message, AppendEntriesResponse) and message.success
        if acknowledges and isinstance(request, AppendEntries) and not request.heartbeat:
            _check_acknowledgement(image, request)

    def _check_vote(self, image: LogImage, message: RequestVoteResponse) -> None:
        vote = HardState(message.term, message.to)
        # After a later term a vote of this term cannot be given twice any more.
        if image.hard_state.term == message.term and image.hard_state != vote:
            raise InvariantBroken(
                "votes are durable before they are sent",
                f"{message}, while the disk says {image.hard_state}",
            )
        self.vote(message.sender, message.term, message.to)


def _check_installed(image: LogImage, request: InstallSnapshot) -> None:
    meta = request.meta
    if image.hard_state.term <= request.term and image.term_at(meta.index) != meta.term:
        raise InvariantBroken(
            "acknowledged entries are durable",
            f"{request.to} acknowledges the snapshot at {meta.index} to {request.sender}, its disk"
            f" ends at {image.last_index}",
        )


def _check_acknowledgement(image: LogImage, request: AppendEntries) -> None:
    if image.hard_state.term > request.term:
        return  # replaced by a later leader, whom no holder of the entry can have elected
    index, term = request.prev_log_index, request.prev_log_term
    if request.entries:
        index, term = request.entries[-1].index, request.entries[-1].term
    if image.term_at(index) != term:
        raise InvariantBroken(
            "acknowledged entries are durable",
            f"{request.to} acknowledges {index} of term {term} to {request.sender}, its disk"
            f" holds term {image.term_at(index)} there",
        )
