"""The state machine: all services of a node. It turns log entries into answers.

Owns decoding, routing, the sessions by which a retried command is applied once, and the rule that a
failing command is answered with its error and does not stop the node.
Not thread-safe: the applier thread owns it. Must not know Raft beyond the shape of an entry.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from braft_core.abc import CommandContext, Serializer, Service, SlicedCapture
from braft_core.errors import (
    BraftError,
    CommandFailed,
    DecodeError,
    InvalidArgument,
    InvalidRequest,
    PluginConflict,
    PluginError,
    Rejected,
    UnknownCommand,
    UnknownService,
    to_wire,
)
from braft_core.raft.types import Entry, EntryType
from braft_core.serializers.command_types import TYPES
from braft_core.serializers.plain import check_plain
from braft_core.serializers.typed_values import detached_copy
from braft_core.serializers.unsupported import UnsupportedEncoding
from braft_core.services.capabilities import (
    FEATURE_LEVEL,
    Capabilities,
    Commands,
    Need,
    Signature,
    type_fields,
)
from braft_core.services.digests import code_of
from braft_core.services.envelope import (
    FORMAT,
    FORMATS,
    IN_SESSION,
    SESSION_ID_BYTES,
    decode_command,
    decode_session_stamp,
    read_need,
)
from braft_core.services.sessions import NEW, SessionTable
from braft_core.services.snapshot_stream import read_sections, write_sections

__all__ = ["SESSIONS", "Outcome", "SliceReader", "StateMachine"]

logger = logging.getLogger(__name__)

#: The answer to a command: a plain value, or the ``BraftError`` for the caller.
Outcome = Any

#: The name of the built-in service that opens (``open(id)``) and closes (``close(id)``) sessions,
#: and of its section in a snapshot. No other service can have it.
SESSIONS = "$sessions"

#: Makes an iterator for another thread of a capture that only the owner of the state may touch.
SliceReader = Callable[[SlicedCapture], Iterator[bytes]]

#: ``tuple.__new__`` skips the Python-level ``__new__`` of a named tuple.
_new_tuple: Any = tuple.__new__
_COMMAND = int(EntryType.COMMAND)
#: Entries that only Raft uses.
_NOT_APPLIED = frozenset({EntryType.NOOP, EntryType.BARRIER, EntryType.CONFIGURATION})
_IN_SESSION = frozenset(bytes((byte,)) for byte in FORMATS if byte & IN_SESSION)
_PLAIN = frozenset({FORMAT, FORMAT | IN_SESSION})
_MAX_EXECUTABLE = 4096
_SESSION_COMMANDS: Commands = {"open": Signature(1, 1), "close": Signature(1, 1)}


class StateMachine:
    """Applies committed entries to the services, in order.

    An entry that this node cannot execute, because it lacks something, is neither answered nor
    skipped. Other members may execute it, and the states would differ from then on.
    """

    def __init__(
        self,
        services: Iterable[Service],
        serializers: Mapping[int, Serializer],
        level: int = FEATURE_LEVEL,
    ) -> None:
        """Create the state machine.

        :param serializers: by tag, all that may have written commands into the log.
        :param level: the newest feature level that this node knows.

        :raises PluginConflict: two services have one name.
        :raises PluginError: a service has no name, or its snapshot() does not capture at once.
        """
        self._serializers = dict(serializers)
        self._level = level
        self._services: dict[str, Service] = {}
        #: ``None`` for a service that does not list its commands.
        self._commands: dict[str, Commands | None] = {SESSIONS: _SESSION_COMMANDS}
        #: Service, command and number of arguments of commands that are known to be executable.
        self._executable: set[tuple[str, str, int]] = set()
        self._sessions = SessionTable()
        self._codes = {SESSIONS: code_of(self._sessions)}
        #: Services that have executed a command or were restored. Only they are in snapshots.
        self._used: set[str] = set()
        self._read_slices: SliceReader = _on_this_thread
        for service in services:
            _check_service(service)
            if service.name in self._services:
                raise PluginConflict(
                    f"two services have the name {service.name!r}",
                    kind="service",
                    name=service.name,
                )
            self._services[service.name] = service
            self._commands[service.name] = _signatures(service)
            self._codes[service.name] = code_of(service)

    @property
    def capabilities(self) -> Capabilities:
        """What this node can execute. May be called from any thread."""
        return Capabilities(
            level=self._level,
            formats=FORMATS,
            serializers=frozenset(self._serializers),
            services=self._commands,
            types=type_fields(TYPES),
        )

    @property
    def serializers(self) -> Mapping[int, Serializer]:
        """The serializers by tag."""
        return self._serializers

    @property
    def names(self) -> tuple[str, ...]:
        """The services' names, in the order of the constructor."""
        return tuple(self._services)

    @property
    def used(self) -> frozenset[str]:
        """The services that have executed a command or were restored; only they are captured."""
        return frozenset(self._used)

    def apply(self, entry: Entry) -> Outcome:
        """Apply one entry and return its answer; ``None`` for entries that are not commands.

        A command's failure is returned as a ``BraftError``. Only what stops this *node* is raised:
        ``MemoryError``, exceptions that do not derive from ``Exception``, and
        ``UnsupportedEncoding``, which names what this node lacks.
        """
        index, term, kind, data, _, appended_at = entry
        if kind != _COMMAND:
            if kind not in _NOT_APPLIED:
                raise UnsupportedEncoding(f"an entry of type {kind}; upgrade this node", type=kind)
            return None
        context: CommandContext = _new_tuple(CommandContext, (index, term, appended_at))
        if data[:1] in _IN_SESSION:
            return self._apply_once(data, context)
        return self._execute(data, context)

    def _apply_once(self, data: bytes, context: CommandContext) -> Outcome:
        """Apply a command of a session, or return its kept answer if it is a retry."""
        try:
            session, sequence, first_unacknowledged = decode_session_stamp(data)
        except DecodeError as error:
            return error.with_traceback(None)
        outcome = self._sessions.begin(session, sequence, first_unacknowledged, context.appended_at)
        if outcome is NEW:
            outcome = self._execute(data, context)
            self._sessions.finish(session, sequence, outcome)
        return outcome

    def _execute(self, data: bytes, context: CommandContext) -> Outcome:
        try:
            name, command, args = decode_command(self._serializers, data)
        except UnsupportedEncoding:
            raise
        except DecodeError as error:
            return error.with_traceback(None)
        if (name, command, len(args)) not in self._executable:
            self._check_executable(name, command, len(args))
        service = self._services.get(name)
        if service is None:
            return self._apply_builtin(command, args, context)
        self._used.add(name)
        try:
            answer = service.apply(command, args, context)
            return answer if answer is None else detached_copy(answer)
        except (MemoryError, UnsupportedEncoding):
            raise  # a failure of this process; on other members the command may have succeeded
        except Exception as error:  # noqa: BLE001 - the failure is the answer, the same on every node
            return _failure(error, name, command)

    def _check_executable(self, service: str, command: str, count: int) -> None:
        """Check that this node has the command, with that number of arguments.

        :raises UnsupportedEncoding: it lacks it.
        """
        try:
            self.check_call(service, command, count)
        except Rejected as error:
            raise UnsupportedEncoding(
                f"{error.message}; upgrade this node, or give it what the command needs",
                service=service,
                command=command,
            ) from error
        if len(self._executable) < _MAX_EXECUTABLE:
            self._executable.add((service, command, count))

    def check_call(self, service: str, command: str, count: int) -> None:
        """Refuse a call that must not become a log entry. May be called from any thread.

        :raises UnknownService, UnknownCommand: there is no such service or command here.
        :raises CommandFailed: the command takes another number of arguments.
        """
        if (service, command, count) in self._executable:
            return
        if service not in self._commands:
            raise self._unknown(service)
        commands = self._commands[service]
        if commands is None:
            return
        signature = commands.get(command)
        if signature is None:
            raise UnknownCommand(
                f"service {service!r} has no command {command!r}; it has "
                f"{', '.join(sorted(commands)) or 'none'}",
                service=service,
                command=command,
                known=sorted(commands),
            )
        if not signature.accepts(count):
            raise CommandFailed(
                f"{service}.{command} was given {count} argument(s); accepted: {_range(signature)}",
                type="TypeError",
                service=service,
                command=command,
            )

    def _apply_builtin(self, command: str, args: list[Any], context: CommandContext) -> Outcome:
        match command, args:
            case "open", [bytes(session)] if len(session) == SESSION_ID_BYTES:
                return self._sessions.open(session, context.appended_at)
            case "close", [bytes(session)]:
                return self._sessions.close(session, context.appended_at)
        return InvalidArgument(
            f"a session has an id of {SESSION_ID_BYTES} bytes, and {command} was given {args!r:.80}"
        )

    def check_readable(self, data: bytes) -> None:
        """Refuse another node's command that this node cannot read. Any thread.

        Without typed arguments this reads only two bytes.

        :raises InvalidRequest: something is not installed here; the message names it.
        """
        if len(data) > 1 and data[0] in _PLAIN and data[1] in self._serializers:
            return
        try:
            decode_command(self._serializers, data)
        except UnsupportedEncoding as error:
            raise InvalidRequest(f"this node cannot read the command: {error.message}") from error
        except DecodeError as error:
            raise InvalidRequest(error.message) from error

    def check_known(self, data: bytes) -> Need:
        """Refuse another node's command that must not become a log entry. Any thread.

        :returns: what it needs.

        :raises InvalidRequest: it is not a command, or this node cannot read it.
        :raises UnknownService, UnknownCommand, CommandFailed: as :meth:`check_call`.
        """
        self.check_readable(data)
        try:
            need = read_need(self._serializers, data)
        except DecodeError as error:
            raise InvalidRequest(error.message) from error
        self.check_call(need.service, need.command, need.arguments)
        return need

    def apply_many(self, entries: Sequence[Entry], outcomes: list[Outcome]) -> None:
        """Apply entries in order, appending the outcome of each applied entry to ``outcomes``.

        :raises UnsupportedEncoding: about the first that was not applied; see :meth:`apply`.
        """
        for entry in entries:
            outcomes.append(self.apply(entry))

    def query(self, service: str, query: str, args: Sequence[Any]) -> Any:
        """Answer a query with a plain value that the caller may change.

        :raises UnknownService, UnknownCommand: there is no such service or query.
        :raises Rejected: the service refused; :class:`CommandFailed` if it failed.
        """
        target = self._services.get(service)
        if target is None:
            raise self._unknown(service)
        try:
            answer = target.query(query, args)
            return answer if target.answers_are_fresh else detached_copy(answer)
        except MemoryError:
            raise
        except Exception as error:  # a service's failure is the caller's answer
            raise _failure(error, service, query) from error

    def read_slices_with(self, reader: SliceReader) -> None:
        """Have a thread-safe iterator made of each capture that is read in slices.

        Without it, captures are consumed on the thread that owns this state machine.
        """
        self._read_slices = reader

    def _portable(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        return self._read_slices(chunks) if isinstance(chunks, SlicedCapture) else chunks

    def snapshot(self) -> Iterator[bytes]:
        """Capture all services now; another thread may consume the iterator later.

        A service that never executed a command is left out. So nodes that do not have it yet can
        read the snapshot, and equal states have equal snapshots on nodes of different versions.
        """
        captured = [
            (name, self._portable(service.snapshot()))
            for name, service in self._services.items()
            if name in self._used
        ]
        if self._sessions:
            captured.append((SESSIONS, self._sessions.snapshot()))
        return write_sections(captured)

    def capture_digests(self) -> list[tuple[str, bytes, Iterator[bytes]]]:
        """Capture all services now: name, hash of the code, and the bytes to be hashed.

        Another thread may consume the iterators later. A service is left out if it has no digest or
        fails to provide the bytes.
        """
        captured = [(SESSIONS, self._codes[SESSIONS], self._sessions.digest_chunks())]
        for name, service in self._services.items():
            try:
                chunks = service.digest_chunks()
            except MemoryError:
                raise
            except Exception:  # a failing service does not stop the node
                logger.exception("service %r has no digest of its state", name)
                continue
            if chunks is not None:
                captured.append((name, self._codes[name], self._portable(chunks)))
        return captured

    def check_snapshot(self, chunks: Iterable[bytes]) -> None:
        """Refuse a snapshot that :meth:`restore` could not read. Any thread; changes nothing.

        The state of a service that is missing here passes, because a later version of this node may
        read it.

        :raises DecodeError: the snapshot is not whole, or a service cannot read its part.
        """
        seen: set[str] = set()
        try:
            for name, section in read_sections(chunks):
                if name in seen:
                    raise DecodeError(f"not a snapshot: service {name!r} occurs twice")
                seen.add(name)
                service = self._services.get(name)
                with suppress(UnsupportedEncoding):
                    if name == SESSIONS:
                        SessionTable().restore(section)
                    elif service is not None:
                        service.check_snapshot(section)
        except BraftError:
            raise
        except Exception as error:
            raise DecodeError(f"the snapshot cannot be read: {error!r:.200}") from error

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the sessions and the state of every service in the snapshot.

        Other services keep their state. In the same cluster they have executed nothing up to there.

        :param chunks: the bytes of :meth:`snapshot`, cut anywhere.
        :raises DecodeError: the bytes are not a whole snapshot. The state is undefined then.
        :raises UnsupportedEncoding: it holds a service that this node lacks. The state is
            undefined then.
        """
        self._sessions.restore(iter(()))
        self._used.clear()
        for name, section in read_sections(chunks):
            if name == SESSIONS:
                self._sessions.restore(section)
                continue
            service = self._services.get(name)
            if service is None:
                raise UnsupportedEncoding(
                    f"the snapshot holds the state of a service: {self._unknown(name).message}",
                    service=name,
                )
            self._used.add(name)
            service.restore(section)

    def _unknown(self, name: str) -> UnknownService:
        known = sorted(name for name in self._services if not name.startswith("$"))
        return UnknownService(
            f"there is no service {name!r}; this node has {', '.join(known) or 'none'}",
            service=name,
            known=known,
        )


def _on_this_thread(capture: SlicedCapture) -> Iterator[bytes]:
    return capture


def _check_service(service: Service) -> None:
    name = getattr(service, "name", None)
    if not isinstance(name, str) or not name:
        raise PluginError(f"{type(service).__qualname__} has no name")
    if name == SESSIONS:
        raise PluginError(f"{type(service).__qualname__}: the name {name!r} is reserved")
    for method in ("snapshot", "digest_chunks"):
        if inspect.isgeneratorfunction(getattr(type(service), method)):
            raise PluginError(
                f"service {name!r}: {method}() must capture the state when it is called, and a "
                "generator function runs later; return an iterator instead"
            )


def _signatures(service: Service) -> Commands | None:
    listed = service.command_signatures()
    if listed is None:
        return None
    return {name: Signature(least, most) for name, (least, most) in listed.items()}


def _range(signature: Signature) -> str:
    if signature.most is None:
        return f"{signature.least} or more"
    if signature.most == signature.least:
        return str(signature.least)
    return f"{signature.least} to {signature.most}"


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
