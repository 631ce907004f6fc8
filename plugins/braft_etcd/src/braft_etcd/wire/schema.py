"""Field tables: what a message consists of, read from one line of text each.

``"1 key:bytes; 2 kvs:KeyValue*; 4 version°:int64"``: number, name, type; ``*`` marks a repeated
field (packed if it holds numbers), ``°`` a member of the message's only oneof.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

__all__ = ["Field", "Message", "Schema", "Values", "WireError"]

#: The fields of a message by name. Absent are fields that have their default; see
#: :meth:`Message.new` for a whole one.
Values: TypeAlias = dict[str, Any]

#: Defaults of scalar types; enumerations have 0.
_DEFAULTS: Final[Mapping[str, Any]] = {
    "bytes": b"",
    "string": "",
    "bool": False,
    "int64": 0,
    "uint64": 0,
    "uint32": 0,
    "int32": 0,
}
#: Types whose values are varints on the wire; enumerations are too.
_VARINTS: Final = ("bool", "int64", "uint64", "uint32", "int32")
_FIELD: Final = re.compile(r"(\d+) (\w+)(°?):(\w+)(\*?)")


class WireError(ValueError):
    """Bytes or JSON that are not the message that they should be; says why."""


class Field:
    """One field of a message. Immutable."""

    __slots__ = ("default", "enum", "kind", "message", "name", "number", "oneof", "repeated")

    def __init__(self, number: int, name: str, kind: str, *, repeated: bool, oneof: bool) -> None:
        self.number = number
        self.name = name
        #: The scalar type; ``enum`` or ``message``.
        self.kind = kind
        self.repeated = repeated
        self.oneof = oneof
        #: The message that it holds, or the names of its numbers.
        self.message: Message | None = None
        self.enum: Mapping[int, str] = {}
        #: What an absent field means; None for messages and members of a oneof.
        self.default: Any = None if oneof else _DEFAULTS.get(kind)

    @property
    def is_varint(self) -> bool:
        """Whether a value is one varint."""
        return self.kind == "enum" or self.kind in _VARINTS


class Message:
    """The fields of one message."""

    def __init__(self, name: str, fields: tuple[Field, ...]) -> None:
        #: With its package.
        self.name = name
        self.fields = fields
        self.by_number = {field.number: field for field in fields}
        #: By name, and by the name that JSON may have.
        self.by_name = {field.name: field for field in fields}
        self.by_name |= {_camel(field.name): field for field in fields}
        self.oneof = tuple(field.name for field in fields if field.oneof)
        self._repeated = tuple(field.name for field in fields if field.repeated)
        self._defaults: Values = {}

    def __repr__(self) -> str:
        return f"<Message {self.name}>"

    def seal(self) -> None:
        """Take over the defaults of the fields, once their types are resolved."""
        self._defaults = {field.name: field.default for field in self.fields if not field.repeated}

    def new(self) -> Values:
        """Return the message with every field at its default, lists included."""
        values = self._defaults.copy()
        for name in self._repeated:
            values[name] = []
        return values


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


class Schema:
    """The messages and enumerations of several packages. Built once, then read only."""

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}
        self._enums: dict[str, Mapping[int, str]] = {}

    def __getitem__(self, name: str) -> Message:
        return self._messages[name]

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages.values())

    def add(self, package: str, table: str, enums: str = "") -> None:
        """Add the messages of a package: a line ``Name | fields`` for each.

        :param enums: a line ``Name | 0 NAME; 1 NAME`` for each enumeration.
        """
        for name, text in _lines(enums):
            pairs = (part.split(" ") for part in text.split("; "))
            self._enums[name] = {int(number): word for number, word in pairs}
        added = [(name, text) for name, text in _lines(table)]
        for name, text in added:
            self._messages[name] = Message(f"{package}.{name}", self._fields(text))

    def resolve(self) -> None:
        """Connect the fields with the messages that they hold. Once, after all were added."""
        for message in self:
            for field in message.fields:
                if field.kind in self._enums:
                    field.enum = self._enums[field.kind]
                    field.kind = "enum"
                    field.default = None if field.oneof else 0
                elif field.kind not in _DEFAULTS:
                    field.message = self._messages[field.kind]
                    field.kind = "message"
            message.seal()

    @staticmethod
    def _fields(text: str) -> tuple[Field, ...]:
        if not text:
            return ()
        fields = []
        for part in text.split("; "):
            found = _FIELD.fullmatch(part)
            if found is None:
                raise ValueError(f"{part!r} is not a field; accepted: number name:type")
            number, name, oneof, kind, repeated = found.groups()
            fields.append(
                Field(int(number), name, kind, repeated=bool(repeated), oneof=bool(oneof))
            )
        return tuple(fields)


def _lines(table: str) -> list[tuple[str, str]]:
    rows = []
    for line in table.strip().splitlines():
        name, _, text = line.partition("|")
        rows.append((name.strip(), text.strip()))
    return rows
