"""What a node can execute, what a log entry needs, and how the two compare.

Each node describes itself (:class:`Capabilities`): the feature level and the formats it knows, its
services with their commands, its serializers and command types. An entry has a :class:`Need`. The
leader appends an entry only if every member of the configuration can execute it; what all of them
can execute is :func:`common`. Pure: values in, values out. Must not know members or Raft.

Commands are compared with the numbers of arguments that they take, because a version that takes one
more answers where an older one refuses. Command types are compared with their version and fields.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import msgpack

from braft_core.errors import DecodeError
from braft_core.serializers.command_types import TypeRegistry
from braft_core.serializers.registry import RESERVED_TAGS

__all__ = [
    "FEATURE_LEVEL",
    "MAX_BYTES",
    "NONE",
    "Capabilities",
    "Need",
    "Signature",
    "TypeFields",
    "common",
    "type_fields",
]

#: The newest feature level that this code knows. A level stands for formats of log entries,
#: snapshots and messages between nodes; :mod:`braft_core.services.cluster` commits it.
FEATURE_LEVEL: Final = 1
#: Longest encoding of capabilities that is read, bytes.
MAX_BYTES: Final = 1 << 18
_VERSION: Final = 1


class Signature(NamedTuple):
    """How many arguments a command takes."""

    least: int
    #: ``None``: any number.
    most: int | None

    def accepts(self, count: int) -> bool:
        """Return whether the command takes that many arguments."""
        return self.least <= count and (self.most is None or count <= self.most)

    def overlap(self, other: Signature) -> Signature | None:
        """Return the numbers of arguments that both take, ``None`` without a common one."""
        least = max(self.least, other.least)
        limits = [most for most in (self.most, other.most) if most is not None]
        most = min(limits) if limits else None
        return None if most is not None and most < least else Signature(least, most)


class TypeFields(NamedTuple):
    """The newest version of a command type, and the fields (or enum members) of that version."""

    version: int
    names: frozenset[str]


class Need(NamedTuple):
    """What one log entry needs of a node that applies it."""

    format: int
    serializer: int
    service: str
    command: str
    arguments: int
    #: Command types in the arguments: name, version, and the fields that are stored.
    types: tuple[tuple[str, int, frozenset[str]], ...] = ()


Commands = Mapping[str, Signature]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a node can execute. Immutable; safe from any thread."""

    level: int
    formats: frozenset[int]
    serializers: frozenset[int]
    #: Commands by service; ``None`` for a service that does not list its commands.
    services: Mapping[str, Commands | None]
    types: Mapping[str, TypeFields]

    def missing(self, need: Need) -> str:
        """Name what is missing for an entry, or return "" if nothing is."""
        if need.format not in self.formats:
            return f"command format {need.format}"
        if need.serializer not in self.serializers:
            return _serializer(need.serializer)
        lack = self._missing_command(need)
        for name, version, fields in () if lack else need.types:
            lack = lack or self._missing_type(name, version, fields)
        return lack

    def _missing_command(self, need: Need) -> str:
        if need.service not in self.services:
            return f"service {need.service!r}"
        commands = self.services[need.service]
        if commands is None:
            return ""
        signature = commands.get(need.command)
        if signature is None:
            return f"command {need.service}.{need.command}"
        if not signature.accepts(need.arguments):
            return f"command {need.service}.{need.command} with {need.arguments} argument(s)"
        return ""

    def _missing_type(self, name: str, version: int, fields: frozenset[str]) -> str:
        known = self.types.get(name)
        if known is None:
            return f"command type {name!r}"
        if version > known.version:
            return f"version {version} of command type {name!r}"
        unknown = fields - known.names if version == known.version else frozenset()
        return f"{', '.join(sorted(unknown))} of command type {name!r}" if unknown else ""

    def lacks(self, other: Capabilities) -> list[str]:
        """List what ``other`` has and this one does not, most general first."""
        lacking = []
        if other.level > self.level:
            lacking.append(f"feature level {other.level}")
        lacking += [f"command format {each}" for each in sorted(other.formats - self.formats)]
        lacking += [_serializer(tag) for tag in sorted(other.serializers - self.serializers)]
        for service in sorted(other.services):
            lacking += self._lacking_commands(service, other.services[service])
        for name, (version, fields) in sorted(other.types.items()):
            lack = self._missing_type(name, version, fields)
            lacking += [lack] if lack else []
        return lacking

    def _lacking_commands(self, service: str, theirs: Commands | None) -> list[str]:
        if service not in self.services:
            return [f"service {service!r}"]
        own = self.services[service]
        if own is None:
            return []
        if theirs is None:
            return [f"service {service!r} with any command"]
        return [
            f"command {service}.{name}"
            for name, signature in sorted(theirs.items())
            if name not in own or own[name].overlap(signature) != signature
        ]

    def digests(self) -> dict[str, str]:
        """Return a short digest of each service's commands; equal commands have equal digests."""
        return {name: _digest(commands) for name, commands in sorted(self.services.items())}

    def encode(self) -> bytes:
        """Return the bytes that :meth:`decode` reads; equal capabilities give equal bytes."""
        parts = [
            _VERSION,
            self.level,
            sorted(self.formats),
            sorted(self.serializers),
            {name: _plain(commands) for name, commands in sorted(self.services.items())},
            {
                name: [known.version, sorted(known.names)]
                for name, known in sorted(self.types.items())
            },
        ]
        packed: bytes = msgpack.packb(parts)
        return packed

    @staticmethod
    def decode(data: bytes) -> Capabilities:
        """Read what :meth:`encode` wrote, also by a later version that appended to it.

        :raises DecodeError: these are not capabilities, or they exceed ``MAX_BYTES``.
        """
        if len(data) > MAX_BYTES:
            raise DecodeError(f"capabilities of {len(data)} bytes; accepted are {MAX_BYTES}")
        try:
            return _decoded(msgpack.unpackb(data))
        except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
            raise DecodeError(f"not capabilities ({len(data)} bytes): {error}") from error


#: The capabilities of a node that can execute nothing.
NONE: Final = Capabilities(0, frozenset(), frozenset(), {}, {})


def common(members: Sequence[Capabilities]) -> Capabilities:
    """Return what all of these can execute; ``NONE`` for no members."""
    return functools.reduce(_both, members) if members else NONE


def _both(one: Capabilities, two: Capabilities) -> Capabilities:
    services = {
        name: _both_commands(commands, two.services[name])
        for name, commands in one.services.items()
        if name in two.services
    }
    types = {
        name: _both_types(known, two.types[name])
        for name, known in one.types.items()
        if name in two.types
    }
    return replace(
        one,
        level=min(one.level, two.level),
        formats=one.formats & two.formats,
        serializers=one.serializers & two.serializers,
        services=services,
        types=types,
    )


def _both_commands(one: Commands | None, two: Commands | None) -> Commands | None:
    if one is None or two is None:
        return two if one is None else one
    overlaps = {name: each.overlap(two[name]) for name, each in one.items() if name in two}
    return {name: overlap for name, overlap in overlaps.items() if overlap is not None}


def _both_types(one: TypeFields, two: TypeFields) -> TypeFields:
    if one.version != two.version:
        return min(one, two, key=lambda known: known.version)
    return TypeFields(one.version, one.names & two.names)


def type_fields(registry: TypeRegistry) -> dict[str, TypeFields]:
    """Describe the registered command types."""
    described = {}
    for known in registry.all:
        if known.class_fields is None:
            names = frozenset(getattr(known.cls, "__members__", {}))
        else:
            names = frozenset(known.class_fields.arguments) | known.removed
        described[known.name] = TypeFields(known.version, names)
    return described


def _serializer(tag: int) -> str:
    name = RESERVED_TAGS.get(tag)
    return f"serializer {name[0]!r} (of {name[1]})" if name else f"the serializer with tag {tag}"


def _plain(commands: Commands | None) -> Any:
    if commands is None:
        return None
    return {name: [each.least, each.most] for name, each in sorted(commands.items())}


def _digest(commands: Commands | None) -> str:
    return hashlib.sha256(msgpack.packb(_plain(commands))).hexdigest()[:12]


def _decoded(parts: Any) -> Capabilities:
    match parts:
        case [
            int(_VERSION),
            int(level),
            list(formats),
            list(tags),
            dict(services),
            dict(types),
            *_,
        ]:
            return Capabilities(
                level=level,
                formats=_numbers(formats),
                serializers=_numbers(tags),
                services={_name(k): _read_commands(v) for k, v in services.items()},
                types={_name(k): _read_type(v) for k, v in types.items()},
            )
    raise ValueError("it has other parts")


def _numbers(items: Iterable[Any]) -> frozenset[int]:
    numbers = frozenset(items)
    if not all(type(number) is int for number in numbers):
        raise ValueError("a number was expected")
    return numbers


def _name(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("a name was expected")
    return value


def _read_commands(value: Any) -> Commands | None:
    if value is None:
        return None
    if type(value) is not dict:
        raise ValueError("commands were expected")
    return {_name(name): _read_signature(each) for name, each in value.items()}


def _read_signature(value: Any) -> Signature:
    match value:
        case [int(least), None]:
            return Signature(least, None)
        case [int(least), int(most)]:
            return Signature(least, most)
    raise ValueError("numbers of arguments were expected")


def _read_type(value: Any) -> TypeFields:
    match value:
        case [int(version), list(names)]:
            return TypeFields(version, frozenset(map(_name, names)))
    raise ValueError("a version and names were expected")
