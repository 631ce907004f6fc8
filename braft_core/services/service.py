"""``StateMachineService``: a service made of methods marked ``@command`` and ``@query``.

Owns how names and arguments find their method. Must not know how commands travel.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Final,
    Literal,
    NamedTuple,
    ParamSpec,
    TypeVar,
    overload,
)

from braft_core.abc import CommandContext, Service
from braft_core.errors import CommandFailed, PluginError, UnknownCommand
from braft_core.handles import MarkedMethod
from braft_core.serializers.command_types import TYPES
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.typed_values import from_plain, to_plain
from braft_core.services.canonical import canonical_chunks
from braft_core.services.method_types import (
    CommandMarker,
    CommandMethod,
    ContextCommandMethod,
    QueryMarker,
    QueryMethod,
    TakesContext,
)

__all__ = ["StateMachineService", "command", "query"]

_MARK = "_braft_mark"
_COMMAND: Final = "command"
_QUERY: Final = "query"
#: First byte of a snapshot of typed values. No msgpack value begins with it.
_TYPED = b"\xc1"
#: Size of one chunk of a snapshot, bytes.
_CHUNK = 1 << 18

P = ParamSpec("P")
R = TypeVar("R")


class _Mark(NamedTuple):
    kind: str
    name: str | None


class _Handler(NamedTuple):
    """How one command or query is called."""

    attribute: str
    takes_context: bool
    at_least: int
    #: ``None`` for ``*args``.
    at_most: int | None
    parameters: inspect.Signature

    @property
    def signature(self) -> str:
        """The parameters as text, without annotations."""
        shown = [p.replace(annotation=p.empty) for p in self.parameters.parameters.values()]
        return f"({', '.join(map(str, shown))})"


@overload
def command(  # type: ignore[overload-overlap]  # a class is callable; the first overload takes it
    type: type[Any], /
) -> CommandMarker: ...
@overload
def command(method: TakesContext[P, R], /) -> ContextCommandMethod[P, R]: ...
@overload
def command(method: Callable[Concatenate[Any, P], R], /) -> CommandMethod[P, R]: ...
@overload
def command(*, name: str | None = None) -> CommandMarker: ...
def command(method: Callable[..., Any] | None = None, /, *, name: str | None = None) -> Any:
    """Mark a method as a command, named ``name`` in the log (default: as the method).

    ``@command(PlaceOrder)``, with a registered command type, gives the command the type's name. The
    method takes one object of the type.

    A first parameter ``context: CommandContext`` receives the context and is not an argument.
    """
    if isinstance(method, type):
        return _marker(_COMMAND, None, _type_name(method))
    return _marker(_COMMAND, method, name)


def _type_name(cls: type) -> str:
    known = TYPES.of(cls)
    if known is None:
        raise PluginError(
            f"@command({cls.__qualname__}): the class is not a command type; put "
            "@command_type('a.name') above it"
        )
    return known.name


@overload
def query(method: Callable[Concatenate[Any, P], R], /) -> QueryMethod[P, R]: ...
@overload
def query(*, name: str | None = None) -> QueryMarker: ...
def query(method: Callable[..., Any] | None = None, /, *, name: str | None = None) -> Any:
    """Mark a method as a query, named ``name`` (default: as the method). It changes nothing."""
    return _marker(_QUERY, method, name)


def _marker(kind: str, method: Callable[..., Any] | None, name: Any) -> Any:
    if name is not None and (not isinstance(name, str) or not name):
        raise PluginError(f"the name of a {kind} must be a non-empty str, not {name!r}")

    def mark(target: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.isfunction(target):
            raise PluginError(f"@{kind} marks a method, not {target!r}")
        setattr(target, _MARK, _Mark(kind, name))
        return target

    return mark if method is None else mark(method)


class StateMachineService(Service):
    """A service whose commands and queries are its marked methods.

    A derived class inherits them and may override them, with or without the mark. For snapshots it
    defines :meth:`dump` and :meth:`load`, or :meth:`snapshot` and :meth:`restore` if the state is
    too large to be encoded at once.

    Answers may be stored values: the state machine copies them.
    """

    _commands: ClassVar[dict[str, _Handler]] = {}
    _queries: ClassVar[dict[str, _Handler]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the marked methods. :raises PluginError: naming the method that is wrong."""
        super().__init_subclass__(**kwargs)
        cls._commands, cls._queries = dict(cls._commands), dict(cls._queries)
        tables = {_COMMAND: cls._commands, _QUERY: cls._queries}
        for attribute, value in vars(cls).items():
            mark = getattr(value, _MARK, None)
            if isinstance(mark, _Mark):
                _register(cls, tables[mark.kind], attribute, value, mark)
        _check_snapshot(cls)

    def command_signatures(self) -> dict[str, tuple[int, int | None]]:
        """See :meth:`Service.command_signatures`."""
        return {name: (each.at_least, each.at_most) for name, each in self._commands.items()}

    def apply(self, command: str, args: Sequence[Any], context: CommandContext) -> Any:
        """Run the method of a command.

        :raises UnknownCommand: there is no such command.
        :raises CommandFailed: the number of arguments is wrong.
        """
        handler = self._commands.get(command)
        if handler is None:
            raise self._unknown(_COMMAND, command, self._commands)
        given = len(args)
        if given < handler.at_least or (handler.at_most is not None and given > handler.at_most):
            raise self._wrong_arguments(command, handler, given)
        if handler.takes_context:
            return getattr(self, handler.attribute)(context, *args)
        return getattr(self, handler.attribute)(*args)

    def query(self, query: str, args: Sequence[Any]) -> Any:
        """Run the method of a query.

        :raises UnknownCommand: there is no such query.
        :raises CommandFailed: the number of arguments is wrong.
        """
        handler = self._queries.get(query)
        if handler is None:
            raise self._unknown(_QUERY, query, self._queries)
        given = len(args)
        if given < handler.at_least or (handler.at_most is not None and given > handler.at_most):
            raise self._wrong_arguments(query, handler, given)
        return getattr(self, handler.attribute)(*args)

    @classmethod
    def marked_methods(cls) -> dict[str, MarkedMethod]:
        """Return the commands and queries by the names of their methods."""
        tables: tuple[tuple[Literal["command", "query"], dict[str, _Handler]], ...] = (
            (_COMMAND, cls._commands),
            (_QUERY, cls._queries),
        )
        return {
            handler.attribute: MarkedMethod(kind, name, handler.parameters)
            for kind, table in tables
            for name, handler in table.items()
        }

    @classmethod
    def query_names(cls) -> frozenset[str]:
        """Return the names of the queries."""
        return frozenset(cls._queries)

    def dump(self) -> Any:
        """Return the whole state as one plain or typed value.

        It is encoded before the next command runs.
        """
        raise NotImplementedError("a service defines dump() or snapshot()")

    def load(self, value: Any) -> None:
        """Replace the whole state by a value of :meth:`dump`."""
        raise NotImplementedError("a service defines load() or restore()")

    def snapshot(self) -> Iterator[bytes]:
        """See :meth:`Service.snapshot`. Encode the state before returning.

        Commands wait meanwhile, about half a second for a million numbers.
        """
        state = self.dump()
        try:
            return iter(list(MsgpackSerializer().dumps_slowly(state, _CHUNK)))
        except TypeError:
            plain = to_plain(state)
        return iter([_TYPED, *MsgpackSerializer().dumps_slowly(plain, _CHUNK)])

    def restore(self, chunks: Iterator[bytes]) -> None:
        """See :meth:`Service.restore`. :raises DecodeError: for anything but a whole snapshot."""
        self.load(_decoded(chunks))

    def check_snapshot(self, chunks: Iterator[bytes]) -> None:
        """See :meth:`Service.check_snapshot`. Decode the value without calling :meth:`load`.

        A service that overrides :meth:`restore` accepts every snapshot, unless it overrides this
        method as well.

        :raises DecodeError: the bytes are not one whole value.
        """
        if type(self).restore is StateMachineService.restore:
            _decoded(chunks)

    def digest_chunks(self) -> Iterator[bytes] | None:
        """See :meth:`Service.digest_chunks`. The order of a dict does not count.

        For a service that overrides :meth:`snapshot`, return its bytes.
        """
        chunks = self.snapshot()
        if type(self).snapshot is not StateMachineService.snapshot:
            return chunks
        return _canonical_state(chunks)

    def _unknown(self, kind: str, name: str, table: dict[str, _Handler]) -> UnknownCommand:
        known = sorted(table)
        return UnknownCommand(
            f"service {self.name!r} has no {kind} {name!r}; it has {', '.join(known) or 'none'}",
            service=self.name,
            command=name,
            known=known,
        )

    def _wrong_arguments(self, name: str, handler: _Handler, given: int) -> CommandFailed:
        return CommandFailed(
            f"{self.name}.{name}{handler.signature} was given {given} argument(s)",
            type="TypeError",
            service=self.name,
            command=name,
        )


def _decoded(chunks: Iterator[bytes]) -> Any:
    data = b"".join(chunks)
    if data.startswith(_TYPED):
        return from_plain(MsgpackSerializer().loads(data[1:]))
    return MsgpackSerializer().loads(data)


def _canonical_state(chunks: Iterator[bytes]) -> Iterator[bytes]:
    data = b"".join(chunks)
    if data.startswith(_TYPED):
        yield _TYPED
        data = data[1:]
    yield from canonical_chunks(data)


def _register(
    cls: type[StateMachineService],
    table: dict[str, _Handler],
    attribute: str,
    function: Callable[..., Any],
    mark: _Mark,
) -> None:
    where = f"{cls.__qualname__}.{attribute}"
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise PluginError(
            f"{where}: a {mark.kind} must not be async, because it runs on the applier thread"
        )
    if inspect.isgeneratorfunction(function):
        raise PluginError(f"{where}: a {mark.kind} must return its answer, not yield it")
    name = mark.name or attribute
    present = table.get(name)
    if present is not None and present.attribute != attribute:
        raise PluginError(f"{where}: {present.attribute} is already the {mark.kind} {name!r}")
    table[name] = _handler(where, attribute, function, mark.kind)


def _handler(where: str, attribute: str, function: Callable[..., Any], kind: str) -> _Handler:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    takes_context = bool(parameters) and _is_context(parameters[0].annotation)
    if takes_context:
        parameters.pop(0)
        if kind == _QUERY:
            raise PluginError(
                f"{where}: a query has no CommandContext, because it is not in the log"
            )
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD or (
            parameter.kind is inspect.Parameter.KEYWORD_ONLY
            and parameter.default is parameter.empty
        ):
            raise PluginError(
                f"{where}: arguments are sent by position, and {parameter.name!r} has none"
            )
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    endless = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return _Handler(
        attribute,
        takes_context,
        at_least=sum(p.default is p.empty for p in places),
        at_most=None if endless else len(places),
        parameters=inspect.Signature(
            [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        ),
    )


def _is_context(annotation: object) -> bool:
    # An annotation is text if its module postpones them; its names may not be importable here.
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] == CommandContext.__name__
    return annotation is CommandContext


def _check_snapshot(cls: type[StateMachineService]) -> None:
    if not hasattr(cls, "name"):
        return  # a base of services, not a service
    for simple, full in (("dump", "snapshot"), ("load", "restore")):
        if all(
            getattr(cls, method) is getattr(StateMachineService, method)
            for method in (simple, full)
        ):
            raise PluginError(f"{cls.__qualname__} defines neither {simple}() nor {full}()")
