"""Service: a part of the replicated state machine."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

__all__ = ["CommandContext", "Service"]


class CommandContext(NamedTuple):
    """What a command may know besides its arguments; the same on every node."""

    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index
    term: int
    #: The leader's wall clock when it appended the command, nanoseconds since the epoch.
    #: The only time a command may use: it is in the log, so it is the same everywhere.
    appended_at: int


class Service(abc.ABC):
    """A named part of the state machine. All methods run on the applier thread, one at a time.

    :meth:`apply` must be deterministic: equal state and equal commands give equal state and equal
    answers on every node. No clock, no randomness, no I/O, no iteration over a set.
    Most services derive from :class:`braft_core.services.StateMachineService` instead, which turns
    methods marked ``@command`` and ``@query`` into these calls.
    """

    name: ClassVar[str]
    #: Whether each answer of :meth:`query` is a plain value and shares no mutable part with the
    #: state. If not, the state machine checks and copies each answer.
    answers_are_fresh: ClassVar[bool] = False

    @abc.abstractmethod
    def apply(self, command: str, args: Sequence[Any], context: CommandContext) -> Any:
        """Execute a committed command and return a plain value.

        If it raises, the caller gets the error, and the result is the same on every node: a
        :class:`~braft_core.errors.Rejected` as it is, any other exception as
        :class:`~braft_core.errors.CommandFailed`.
        """

    def command_signatures(self) -> Mapping[str, tuple[int, int | None]] | None:
        """Return the commands with the least and the most arguments (``None``: any number).

        A node never executes, answers or proposes a command that is not in this table, and no
        leader appends one that a member lacks. ``None``, the default, accepts every command. All
        nodes must then run the same code, or answer unknown commands in the same way.
        Called once, when the node is made.
        """
        return None

    @abc.abstractmethod
    def query(self, query: str, args: Sequence[Any]) -> Any:
        """Answer a read from the current state, changing nothing."""

    @abc.abstractmethod
    def snapshot(self) -> Iterator[bytes]:
        """Capture the state now and return an iterator over its bytes in chunks.

        Called on the applier thread; the capture must be cheap. The iterator is consumed on
        another thread while commands go on being applied, and must show the captured state.
        """

    @abc.abstractmethod
    def restore(self, chunks: Iterator[bytes]) -> None:
        """Replace the whole state by what :meth:`snapshot` wrote."""

    def check_snapshot(self, chunks: Iterator[bytes]) -> None:  # noqa: B027 - see its docstring
        """Raise if :meth:`restore` could not read these bytes; change nothing.

        *Any thread*, also while commands are applied. braft calls it with a snapshot from a peer
        before the snapshot replaces the state. A refused snapshot is never restored. The default
        accepts every snapshot.
        """

    def digest_chunks(self) -> Iterator[bytes] | None:
        """Capture the state now and return bytes that are equal if the states are equal.

        Members of a cluster compare digests of these bytes. A member whose digest differs from that
        of the majority refuses reads. As with :meth:`snapshot`, the iterator is consumed later, on
        another thread. By default these are the bytes of :meth:`snapshot`. Override it if those
        depend on more than the state, such as the order of a set or the number of restores.
        ``None``: this service has no digest.
        """
        return self.snapshot()
