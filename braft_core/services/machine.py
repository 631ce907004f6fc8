"""The state machine: all services of a node, and the way of a log entry to its answer.

Owns decoding, routing, the sessions by which a retried command is applied once, and the rule that
a command's failure is an answer and never the node's.
Not thread-safe: the applier thread owns it. Must not know Raft beyond the shape of an entry.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from braft_core.abc import CommandContext, Serializer, Service
from braft_core.errors import (
    BraftError,
    CommandFailed,
    DecodeError,
    InvalidRequest,
    PluginConflict,
    PluginError,
    Rejected,
    UnknownCommand,
    UnknownService,
    to_wire,
)
from braft_core.raft.types import Entry, EntryType
from braft_core.serializers.missing import NotKnownHere
from braft_core.serializers.plain import check_plain
from braft_core.services.envelope import (
    IN_SESSION,
    TYPED_IN_SESSION,
    VERSION,
    decode_command,
    decode_place,
)
from braft_core.services.sections import read_sections, write_sections
from braft_core.services.sessions import NEW, SessionTable
from braft_core.services.values import own

__all__ = ["SESSIONS", "Outcome", "StateMachine"]

logger = logging.getLogger(__name__)

#: The answer to a command: a plain value, or the ``BraftError`` that a caller is to see.
Outcome = Any

#: The name under which sessions are opened (``open()``, which answers the session's id) and closed
#: (``close(id)``), and that of their section in a snapshot. No service can have it.
SESSIONS = "$sessions"

_COMMAND = int(EntryType.COMMAND)
_OF_SESSIONS = frozenset({bytes((IN_SESSION,)), bytes((TYPED_IN_SESSION,))})
_PLAIN = frozenset({VERSION, IN_SESSION})


class StateMachine:
    """Applies committed entries to the services, in order."""

    def __init__(self, services: Iterable[Service], serializers: Mapping[int, Serializer]) -> None:
        """:param serializers: by tag, all that may have written commands into the log.

        :raises PluginConflict: two services have one name.
        :raises PluginError: a service has no name, or captures its snapshot late.
        """
        self._serializers = dict(serializers)
        self._services: dict[str, Service] = {}
        self._sessions = SessionTable()
        for service in services:
            _check_service(service)
            if service.name in self._services:
                raise PluginConflict(
                    f"two services have the name {service.name!r}",
                    kind="service",
                    name=service.name,
                )
            self._services[service.name] = service

    @property
    def names(self) -> tuple[str, ...]:
        """The services' names, in the order they were given."""
        return tuple(self._services)

    def apply(self, entry: Entry) -> Outcome:
        """Apply one entry; ``None`` for entries that are not commands.

        A command's failure is returned as a ``BraftError``. Only what says that this *node* cannot
        go on is raised: ``MemoryError``, exceptions that are no ``Exception``, and
        ``NotKnownHere``, since others may know what was sent, and apply it.
        """
        index, term, kind, data, _, appended_at = entry
        if kind != _COMMAND:
            return None
        context = CommandContext(index, term, appended_at)
        if data[:1] in _OF_SESSIONS:
            return self._apply_once(data, context)
        return self._execute(data, context)

    def _apply_once(self, data: bytes, context: CommandContext) -> Outcome:
        """A command of a session: the answer that is kept, or else its own, which is then kept."""
        try:
            session, sequence, floor = decode_place(data)
        except DecodeError as error:
            return error.with_traceback(None)
        outcome = self._sessions.begin(session, sequence, floor, context.appended_at)
        if outcome is NEW:
            outcome = self._execute(data, context)
            self._sessions.finish(session, sequence, outcome)
        return outcome

    def _execute(self, data: bytes, context: CommandContext) -> Outcome:
        try:
            name, command, args = decode_command(self._serializers, data)
        except NotKnownHere:
            raise
        except DecodeError as error:
            return error.with_traceback(None)
        service = self._services.get(name)
        if service is None:
            return self._elsewhere(name, command, args, context)
        try:
            answer = service.apply(command, args, context)
            return answer if answer is None else own(answer)
        except MemoryError:
            raise  # about this process, not about the command: others may have succeeded
        except Exception as error:  # noqa: BLE001 - its failure is the answer, on every node alike
            return _failure(error, name, command)

    def _elsewhere(
        self, name: str, command: str, args: list[Any], context: CommandContext
    ) -> Outcome:
        """A command that is for no service: for the sessions, or for nobody."""
        if name != SESSIONS:
            return self._unknown(name)
        match command, args:
            case "open", []:
                return self._sessions.open(context.index, context.appended_at)
            case "close", [int(session)]:
                return self._sessions.close(session, context.appended_at)
        return UnknownCommand(
            f"sessions are opened by 'open' and closed by 'close' with an id, not by {command!r}",
            service=SESSIONS,
            command=command,
            known=["close", "open"],
        )

    def check_known(self, data: bytes) -> None:
        """Refuse a command of somebody else's that this process could not apply. From any thread.

        It costs plain commands nothing but a look at two bytes.

        :raises InvalidRequest: naming what is not installed here.
        """
        if len(data) > 1 and data[0] in _PLAIN and data[1] in self._serializers:
            return
        try:
            decode_command(self._serializers, data)
        except NotKnownHere as error:
            raise InvalidRequest(f"this node cannot read the command: {error.message}") from error
        except DecodeError:
            return  # that is answered when it is applied, by every node alike

    def apply_many(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Apply entries in order; one outcome for each. See :meth:`apply`."""
        return [self.apply(entry) for entry in entries]

    def query(self, service: str, query: str, args: Sequence[Any]) -> Any:
        """Answer a query with a plain value that is the caller's own.

        :raises UnknownService, UnknownCommand: there is no such service or query.
        :raises Rejected: what the service answered; :class:`CommandFailed` if it failed.
        """
        target = self._services.get(service)
        if target is None:
            raise self._unknown(service)
        try:
            return own(target.query(query, args))
        except MemoryError:
            raise
        except Exception as error:  # a service's failure is the caller's answer
            raise _failure(error, service, query) from error

    def snapshot(self) -> Iterator[bytes]:
        """Capture all services now; the iterator may be consumed on another thread, later."""
        captured = [(name, service.snapshot()) for name, service in self._services.items()]
        if self._sessions:
            captured.append((SESSIONS, self._sessions.snapshot()))
        return write_sections(captured)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the sessions, and the state of every service in the snapshot; others keep theirs.

        :param chunks: the bytes of :meth:`snapshot`, cut anywhere.
        :raises DecodeError: they are not a whole snapshot. The state is undefined then.
        :raises UnknownService: the snapshot holds a service that is not installed here.
        """
        self._sessions.restore(iter(()))
        for name, section in read_sections(chunks):
            if name == SESSIONS:
                self._sessions.restore(section)
                continue
            service = self._services.get(name)
            if service is None:
                raise self._unknown(name)
            service.restore(section)

    def _unknown(self, name: str) -> UnknownService:
        known = sorted(name for name in self._services if not name.startswith("$"))
        return UnknownService(
            f"there is no service {name!r}; this node has {', '.join(known) or 'none'}",
            service=name,
            known=known,
        )


def _check_service(service: Service) -> None:
    name = getattr(service, "name", None)
    if not isinstance(name, str) or not name:
        raise PluginError(f"{type(service).__qualname__} has no name")
    if name == SESSIONS:
        raise PluginError(f"{type(service).__qualname__}: the name {name!r} is braft's own")
    if inspect.isgeneratorfunction(type(service).snapshot):
        raise PluginError(
            f"service {name!r}: snapshot() must capture the state when it is called, and a "
            "generator function runs later; return an iterator instead"
        )


def _failure(error: Exception, service: str, command: str) -> BraftError:
    if isinstance(error, Rejected):
        try:
            check_plain({**to_wire(error)[2]})
        except Exception as reason:  # noqa: BLE001 - its class may not have called ours
            error = reason
        else:
            return error.with_traceback(None)
    else:
        logger.warning("%s.%s raised", service, command, exc_info=error)
    return CommandFailed(
        f"{service}.{command} raised {type(error).__name__}: {_message(error)}",
        type=type(error).__name__,
        service=service,
        command=command,
    )


def _message(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a service's own class; its failure must not become ours
        return "(its message cannot be shown)"
