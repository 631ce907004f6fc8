"""The event trace of a simulation: the last lines for people, a digest for comparison.

Two runs are the same if and only if their digests are. Lines hold only values that follow from the
seed: no ids of objects, no order of sets, no real time.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

from braft_core.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    Message,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)

__all__ = ["Trace", "describe"]

_CHUNK = 512


class Trace:
    """Collects lines; keeps the last ``keep`` of them and a digest over all."""

    def __init__(self, now: Callable[[], float], keep: int = 60, echo: bool = False) -> None:
        self._now = now
        self._tail: deque[str] = deque(maxlen=keep)
        self._pending: list[str] = []
        self._hash = hashlib.blake2b(digest_size=16)
        self._echo = echo

    def add(self, line: str) -> None:
        """Record one event at the present virtual time."""
        line = f"{self._now():.6f} {line}"
        self._tail.append(line)
        self._pending.append(line)
        if self._echo:
            print(line)  # noqa: T201 - the output of --trace
        if len(self._pending) >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._hash.update("\n".join(self._pending).encode() + b"\n")
            self._pending.clear()

    @property
    def digest(self) -> str:
        """Hexadecimal digest of every line so far."""
        self._flush()
        return self._hash.hexdigest()

    def tail(self, lines: int = 40) -> list[str]:
        """Return the last lines."""
        return list(self._tail)[-lines:]


def describe(message: Message) -> str:
    """Describe a message on one short line: kind, term, and what it is about."""
    match message:
        case AppendEntries():
            if message.heartbeat:
                return f"Heartbeat t{message.term}"
            return (
                f"Append t{message.term} prev {message.prev_log_index}/{message.prev_log_term}"
                f" +{len(message.entries)} commit {message.leader_commit}"
            )
        case AppendEntriesResponse():
            verdict = "ok" if message.success else "no"
            return f"AppendResp t{message.term} {verdict} last {message.last_log}"
        case RequestVote():
            forced = " transfer" if message.leadership_transfer else ""
            last = f"{message.last_log_index}/{message.last_log_term}"
            return f"Vote t{message.term} last {last}{forced}"
        case RequestPreVote():
            return f"PreVote t{message.term} last {message.last_log_index}/{message.last_log_term}"
        case RequestVoteResponse():
            return f"VoteResp t{message.term} {'yes' if message.granted else 'no'}"
        case RequestPreVoteResponse():
            return f"PreVoteResp t{message.term} {'yes' if message.granted else 'no'}"
        case InstallSnapshot():
            return f"Install t{message.term} {message.meta.index}/{message.meta.term}"
    return type(message).__name__
