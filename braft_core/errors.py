"""Every error that braft raises, in one tree.

The tree answers one question first: *may the caller try again?*

::

    BraftError
    ├── ConfigError               a setting is wrong: names the setting, the value, what is accepted
    ├── PluginError
    │   ├── PluginLoadError       a plugin could not be imported or breaks a hook's rules
    │   ├── PluginNotFound        nothing installed provides the name that was asked for
    │   └── PluginConflict        two distributions claim one name
    ├── NotApplied                the command was surely NOT applied; trying again is safe
    │   ├── NotLeader             this node does not lead; carries the leader it knows
    │   ├── NoLeader              no leader is known (no quorum, or an election is under way)
    │   ├── TooStale              a stale read would exceed the staleness that the caller allows
    │   ├── DeadlineExceeded      a read was not served in time; reads change nothing
    │   ├── NotReady              the node has not formed or joined a cluster yet; says why
    │   ├── Busy                  too many outstanding requests, or a change is already pending
    │   ├── TooLarge              the command exceeds the size limit
    │   ├── NotSupported          a member of the cluster could not execute the command; names it
    │   ├── InvalidRequest        the call itself makes no sense; trying it again will not help
    │   └── Stopped               the node was stopped
    │       └── ForkedProcess     the node belongs to the process before a fork
    ├── OutcomeUnknown            the command MAY have been applied; its deadline has passed
    ├── Rejected                  the cluster applied the command and its answer is an error
    │   ├── CommandFailed         the service raised; carries type and message
    │   ├── InvalidArgument       the service does not accept an argument: a map name, a key
    │   ├── Conflict              a condition of the command did not hold (a revision, say)
    │   ├── LeaseNotFound         the store has no such lease: it has expired or was revoked
    │   ├── LeaseExists           a lease with this id exists already
    │   ├── Compacted             a revision of the store is too old: the history was compacted
    │   ├── FutureRevision        the store has no such revision yet
    │   ├── KeyNotFound           the store has no key whose value or lease could be kept
    │   ├── TooManyOps            a transaction has too many operations
    │   ├── DuplicateKey          a transaction writes a key twice
    │   ├── AnswerTooLarge        the answer of a command would have too many records
    │   ├── NoSpace               the store's quota would be exceeded
    │   ├── SessionExpired        the command's session is gone; a retried one may have been applied
    │   ├── UnknownService        the state machine has no such service
    │   └── UnknownCommand        the service has no such command or query
    ├── LeaseLost                 this process does not hold its lease any more; another may act
    │   └── LockLost              this process does not hold its lock, or its seat, any more
    ├── LeadershipLost            this process does not lead any more; another may act
    ├── NotAcquired               a lock, a seat or the leadership was not to be had in time
    ├── DecodeError               bytes that are not what they should be
    ├── ProtocolViolation         a peer's message breaks a rule of the protocol and was refused
    ├── TransportError
    │   ├── Unreachable           a peer cannot be reached, or not in time
    │   ├── AccessDenied          a peer asks for a token that was not sent, or for another one
    │   └── WrongCluster          a peer is of another cluster, or not the node that was meant
    ├── StorageError
    │   ├── StorageLocked         another process uses the data directory
    │   ├── StorageForeign        the data directory is not one of ours, or of a newer format
    │   ├── StorageCorrupt        a record fails its checksum
    │   ├── StorageGone           the files were deleted, moved or replaced while in use
    │   └── StorageFull           no space left
    └── InvariantViolation        a rule does not hold in this node itself: a bug; the node stops

Errors that cross the wire do so by their ``code`` (see :func:`to_wire`).
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AccessDenied",
    "AnswerTooLarge",
    "BraftError",
    "Busy",
    "CommandFailed",
    "Compacted",
    "ConfigError",
    "Conflict",
    "DeadlineExceeded",
    "DecodeError",
    "DuplicateKey",
    "ForkedProcess",
    "FutureRevision",
    "InvalidArgument",
    "InvalidRequest",
    "InvariantViolation",
    "KeyNotFound",
    "LeadershipLost",
    "LeaseExists",
    "LeaseLost",
    "LeaseNotFound",
    "LockLost",
    "NoLeader",
    "NoSpace",
    "NotAcquired",
    "NotApplied",
    "NotLeader",
    "NotReady",
    "NotSupported",
    "OutcomeUnknown",
    "PluginConflict",
    "PluginError",
    "PluginLoadError",
    "PluginNotFound",
    "ProtocolViolation",
    "Rejected",
    "SessionExpired",
    "Stopped",
    "StorageCorrupt",
    "StorageError",
    "StorageForeign",
    "StorageFull",
    "StorageGone",
    "StorageLocked",
    "TooLarge",
    "TooManyOps",
    "TooStale",
    "TransportError",
    "UnknownCommand",
    "UnknownService",
    "Unreachable",
    "WrongCluster",
    "from_wire",
    "to_wire",
]


class BraftError(Exception):
    """Root of all braft errors.

    ``data`` holds the facts of the failure as plain values (strings, numbers, ``None``), so that
    programs need not parse the message. It crosses the wire with the error.
    """

    code: ClassVar[str] = "error"
    #: ``True`` when repeating the same request cannot apply it twice.
    safe_to_retry: ClassVar[bool] = False

    def __init__(self, message: str = "", **data: Any) -> None:
        super().__init__(message or self.__doc__ or self.code)
        self.data: dict[str, Any] = data

    @property
    def message(self) -> str:
        """The human-readable message."""
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.data))


def _rebuild(cls: type[BraftError], message: str, data: dict[str, Any]) -> BraftError:
    return cls(message, **data)


class ConfigError(BraftError):
    """A setting is wrong."""

    code = "config"


class PluginError(BraftError):
    """A plugin cannot be used."""

    code = "plugin"


class PluginLoadError(PluginError):
    """A plugin could not be loaded; ``data`` has ``plugin``, ``distribution`` and ``version``."""

    code = "plugin_load"


class PluginNotFound(PluginError):
    """No installed plugin provides the name; ``data`` has ``kind``, ``name`` and ``known``."""

    code = "plugin_not_found"


class PluginConflict(PluginError):
    """Two plugins claim one name; ``data`` has ``kind``, ``name`` and ``distributions``."""

    code = "plugin_conflict"


class NotApplied(BraftError):
    """The request was surely not applied; it is safe to try again."""

    code = "not_applied"
    safe_to_retry = True


class NotLeader(NotApplied):
    """This node is not the leader; ``data['leader']`` is the server id of the leader it knows."""

    code = "not_leader"


class NoLeader(NotApplied):
    """No leader is known."""

    code = "no_leader"


class TooStale(NotApplied):
    """A stale read could be older than the caller allows; ``data['staleness']`` in seconds."""

    code = "too_stale"


class DeadlineExceeded(NotApplied):
    """A read was not served before its deadline. Reads change nothing, so repeating it is safe."""

    code = "deadline_exceeded"


class NotReady(NotApplied):
    """The node is not (yet) part of a formed cluster; the message says what it waits for."""

    code = "not_ready"


class Busy(NotApplied):
    """Too much is outstanding; wait a little and try again."""

    code = "busy"


class TooLarge(NotApplied):
    """The command is larger than the limit; ``data`` has ``size`` and ``limit`` in bytes."""

    code = "too_large"
    safe_to_retry = False


class InvalidRequest(NotApplied):
    """The call makes no sense; ``data`` has the ``value`` and what is ``accepted``."""

    code = "invalid_request"
    safe_to_retry = False


class NotSupported(NotApplied):
    """Not every member could execute the command.

    ``data`` has the ``member`` (a server id), its ``address`` and what it ``lacks``.
    """

    code = "not_supported"
    safe_to_retry = False


class Stopped(NotApplied):
    """The node was stopped before it accepted the request."""

    code = "stopped"


class ForkedProcess(Stopped):
    """The node was made before ``fork()``; a child process has to make its own."""

    code = "forked"


class OutcomeUnknown(BraftError):
    """The request may have been applied, or may still be applied.

    braft retries a command of a session until its deadline, see ``docs/sessions.md``.
    """

    code = "outcome_unknown"


class Rejected(BraftError):
    """The cluster agreed on the command, and its answer is this error."""

    code = "rejected"


class CommandFailed(Rejected):
    """The service raised while executing; ``data`` has ``type`` and ``service``/``command``."""

    code = "command_failed"


class InvalidArgument(Rejected):
    """The service does not accept an argument of the command; nothing was changed."""

    code = "invalid_argument"


class Conflict(Rejected):
    """A condition stated in the command did not hold."""

    code = "conflict"


class LeaseNotFound(Rejected):
    """The store has no such lease: it has expired or was revoked. ``data`` has ``lease``."""

    code = "lease_not_found"


class LeaseExists(Rejected):
    """A lease with this id exists already. ``data`` has ``lease``."""

    code = "lease_exists"


class Compacted(Rejected):
    """A revision of the store can no longer be read.

    ``data`` has the ``revision`` and ``compacted``, the oldest that can be.
    """

    code = "compacted"


class FutureRevision(Rejected):
    """The store has no such revision yet. ``data`` has the ``revision`` and the ``current`` one."""

    code = "future_revision"


class KeyNotFound(Rejected):
    """The store has no such key, so its value or lease cannot be kept. ``data`` has ``key``."""

    code = "key_not_found"


class TooManyOps(Rejected):
    """A transaction has too many operations. ``data`` has ``count`` and ``limit``."""

    code = "too_many_ops"


class DuplicateKey(Rejected):
    """A transaction writes a key twice. ``data`` has ``key``."""

    code = "duplicate_key"


class AnswerTooLarge(Rejected):
    """The answer of a command would have too many records. ``data`` has ``count`` and ``limit``."""

    code = "answer_too_large"


class NoSpace(Rejected):
    """The store's quota would be exceeded. ``data`` has ``size`` and ``limit`` in bytes."""

    code = "no_space"


class SessionExpired(Rejected):
    """The session of the command is gone, and with it the memory of what was applied.

    This attempt was not applied. ``data['maybe_applied']`` is ``True`` if an earlier attempt of the
    command may have been.
    """

    code = "session_expired"


class UnknownService(Rejected):
    """The state machine has no service of that name; ``data`` has ``service`` and ``known``."""

    code = "unknown_service"


class UnknownCommand(Rejected):
    """There is no such command or query; ``data`` has ``service``, ``command``, ``known``."""

    code = "unknown_command"


class LeaseLost(BraftError):
    """This process does not hold its lease any more; another may act. ``data`` has ``lease``."""

    code = "lease_lost"


class LockLost(LeaseLost):
    """This process lost its lock or seat; ``data`` has ``name``, ``token`` and ``lease``."""

    code = "lock_lost"


class LeadershipLost(BraftError):
    """This process does not lead any more; ``data`` has ``name`` ("" for Raft) and ``token``."""

    code = "leadership_lost"


class NotAcquired(BraftError):
    """A lock, seat or leadership was not to be had; ``data`` has ``name`` and ``wait`` (s)."""

    code = "not_acquired"


class DecodeError(BraftError):
    """Bytes from the network or the disk are not in the expected format."""

    code = "decode"


class ProtocolViolation(BraftError):
    """A peer sent a message that breaks a rule of the protocol; it was refused.

    ``data`` has the ``sender`` as it calls itself and the ``rule``.
    """

    code = "protocol"


class TransportError(BraftError):
    """A call to another node failed."""

    code = "transport"


class Unreachable(TransportError):
    """The node at that address did not answer.

    ``data['sent']`` is ``False`` when the request certainly never reached the peer, and
    ``data['answered']`` is ``True`` when something answers that is not understood: its setting of
    TLS or of the transport differs.
    """

    code = "unreachable"


class AccessDenied(TransportError):
    """The peer asks for a token that the call did not carry; nothing was done there."""

    code = "access_denied"


class WrongCluster(TransportError):
    """The peer belongs to another cluster, or is another server than the one addressed."""

    code = "wrong_cluster"


class StorageError(BraftError):
    """A storage operation failed."""

    code = "storage"


class StorageLocked(StorageError):
    """Another process holds the data directory."""

    code = "storage_locked"


class StorageForeign(StorageError):
    """The data directory belongs to something else, or to a newer braft."""

    code = "storage_foreign"


class StorageCorrupt(StorageError):
    """A stored record fails its checksum; ``data`` has ``index`` where known."""

    code = "storage_corrupt"


class StorageGone(StorageError):
    """The store's files were deleted, moved or replaced while in use; ``data`` has ``path``."""

    code = "storage_gone"


class StorageFull(StorageError):
    """No space is left where the store lives."""

    code = "storage_full"


class InvariantViolation(BraftError):
    """A rule does not hold in the node's own state. This is a bug: the node stops."""

    code = "invariant"


def _walk(cls: type[BraftError]) -> list[type[BraftError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in _walk(sub))]


_BY_CODE: dict[str, type[BraftError]] = {cls.code: cls for cls in _walk(BraftError)}


def to_wire(error: BraftError) -> tuple[str, str, dict[str, Any]]:
    """Split an error into ``(code, message, data)``, ready for any serializer of plain values."""
    return error.code, error.message, error.data


def from_wire(code: str, message: str, data: dict[str, Any]) -> BraftError:
    """Rebuild an error from :func:`to_wire`'s parts; an unknown code becomes ``BraftError``."""
    clean = {str(key): value for key, value in data.items() if str(key) not in ("self", "message")}
    return _BY_CODE.get(code, BraftError)(message, **clean)
