"""``$cluster``: the capabilities that all members share, and when their states are compared.

Every node has this service. The leader commits an agreement when every member of the
configuration has declared its capabilities; the *feature level* in it gates new formats. An
agreement outlives leaders, snapshots and members that are down for a while.

A *checkpoint* is an entry after which every node captures the state of its services for a digest
(:mod:`braft_core.runtime.digests`): members compare the digests of one index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from braft_core.abc import CommandContext
from braft_core.errors import DecodeError, InvalidArgument
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.unsupported import UnsupportedEncoding
from braft_core.services.capabilities import FEATURE_LEVEL, NONE, Capabilities
from braft_core.services.envelope import encode_command
from braft_core.services.service import StateMachineService, command, query

__all__ = [
    "CLUSTER",
    "ClusterService",
    "agreement_command",
    "checkpoint_command",
    "is_agreement",
    "is_internal",
]

CLUSTER = "$cluster"


class ClusterService(StateMachineService):
    """The agreement. Any thread may read :attr:`agreed`.

    :param level: the newest feature level that this node knows.
    """

    name = CLUSTER

    def __init__(self, level: int = FEATURE_LEVEL) -> None:
        self._level = level
        #: Replaced, never changed.
        self.agreed: Capabilities = NONE
        #: The index of the entry that holds the agreement, 0 for none.
        self.agreed_index = 0
        self._on_checkpoint: Callable[[int], None] = _ignore

    def call_at_checkpoints(self, callback: Callable[[int], None]) -> None:
        """Call ``callback`` within each checkpoint with its index.

        It must not raise: the error would be the answer.
        """
        self._on_checkpoint = callback

    @command
    def agree(self, context: CommandContext, capabilities: bytes) -> int:
        """Replace the agreement; return its index. The feature level never falls.

        :raises UnsupportedEncoding: the feature level is newer than this node knows.
        """
        try:
            agreed = Capabilities.decode(capabilities)
        except DecodeError as error:
            raise InvalidArgument(error.message) from error
        if agreed.level < self.agreed.level:
            raise InvalidArgument(
                f"feature level {agreed.level} is below the cluster's, {self.agreed.level}"
            )
        self._check_level(agreed.level)
        self.agreed, self.agreed_index = agreed, context.index
        return context.index

    @command
    def checkpoint(self, context: CommandContext) -> int:
        """Capture the state after all entries up to here; return the index."""
        self._on_checkpoint(context.index)
        return context.index

    def _check_level(self, level: int) -> None:
        if level > self._level:
            raise UnsupportedEncoding(
                f"the cluster uses feature level {level}; this braft knows levels up to "
                f"{self._level}: upgrade it",
                level=level,
            )

    @query
    def agreement(self) -> bytes:
        """Return the agreed capabilities, encoded."""
        return self.agreed.encode()

    def digest_chunks(self) -> Iterator[bytes]:
        """See :meth:`Service.digest_chunks`.

        The index stands for the agreement: a later version may store more of it than this one.
        """
        return iter([b"%d" % self.agreed_index])

    def dump(self) -> Any:
        """See :meth:`StateMachineService.dump`."""
        return [self.agreed_index, self.agreed.encode()]

    def check_snapshot(self, chunks: Iterator[bytes]) -> None:
        """See :meth:`Service.check_snapshot`.

        :raises DecodeError: it is something else.
        :raises UnsupportedEncoding: as :meth:`load`.
        """
        ClusterService(self._level).restore(chunks)

    def load(self, value: Any) -> None:
        """See :meth:`StateMachineService.load`.

        :raises DecodeError: it is something else.
        :raises UnsupportedEncoding: its feature level is newer than this node knows.
        """
        match value:
            case [int(index), bytes(capabilities)]:
                agreed = Capabilities.decode(capabilities)
                self._check_level(agreed.level)
                self.agreed, self.agreed_index = agreed, index
                return
        raise DecodeError("not the agreement of a cluster")


def _ignore(index: int) -> None:
    """Ignore the checkpoint: nothing compares digests."""


#: How the data of an entry with an agreement begins.
_AGREE = encode_command(MsgpackSerializer(), CLUSTER, "agree", [b""])[:-2]


def agreement_command(capabilities: Capabilities) -> bytes:
    """Return the command that commits an agreement."""
    return encode_command(MsgpackSerializer(), CLUSTER, "agree", [capabilities.encode()])


def is_agreement(data: bytes) -> bool:
    """Return whether an entry's data is an agreement."""
    return data.startswith(_AGREE)


def checkpoint_command() -> bytes:
    """Return the command that commits a checkpoint."""
    return _CHECKPOINT


_CHECKPOINT = encode_command(MsgpackSerializer(), CLUSTER, "checkpoint", [])


def is_internal(data: bytes) -> bool:
    """Return whether the entry is internal: no caller submitted it."""
    return data == _CHECKPOINT or is_agreement(data)
