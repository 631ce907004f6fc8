"""The registry of command types: classes whose objects may be in commands, answers and snapshots.

On the wire a class has a name that its author chose. Its import path is not used, so that modules
can be moved and classes renamed while old log entries exist. Bytes can name registered classes
only, and nothing to import or to call.

**How a type may change.** An object is stored as its name, its version and its fields by name.

* To add a field, give it a default. Entries without it get the default. The version stays.
* To remove a field, name it in ``removed``. Its values in old entries are dropped.
* For any other change (a new name, meaning or type), increase ``version`` and pass
  ``upgrade(version, fields)``, which converts the fields of an older version.
* A version *newer* than this process knows is refused, and so is an undeclared field. Newer code
  wrote both, and guessing would make the states of nodes differ. A node that finds either in its
  log stops and reports it, as it does for an unknown type.

Use a new field in commands only when every node runs the code that knows it. Defaults and
``upgrade`` must give the same result on every node: no clock, no randomness.
"""

from __future__ import annotations

import enum
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar

from braft_core.errors import DecodeError, PluginConflict, PluginError
from braft_core.serializers.class_fields import ClassFields, read_class_fields
from braft_core.serializers.unsupported import UnsupportedEncoding

__all__ = ["TYPES", "CommandType", "TypeRegistry", "command_type"]

Fields = dict[str, Any]
Upgrade = Callable[[int, Fields], Fields]
_Class = TypeVar("_Class", bound=type)

#: The dot distinguishes authors' names from built-in forms such as "decimal" and "set".
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+")
_NAME_LENGTH: Final = 128


class CommandType(NamedTuple):
    """One registered class."""

    name: str
    version: int
    cls: type
    #: ``None`` for an enum, which is stored as the name of its member.
    class_fields: ClassFields | None
    removed: frozenset[str]
    upgrade: Upgrade | None

    def to_fields(self, value: Any) -> Any:
        """Return what is stored of an object: its fields, or the name of an enum's member."""
        return value.name if self.class_fields is None else self.class_fields.to_fields(value)

    def from_fields(self, version: int, stored: Any) -> Any:
        """Return the object whose fields :meth:`to_fields` returned, perhaps in an older version.

        :raises UnsupportedEncoding: the fields do not fit the class; names the difference.
        :raises DecodeError: no class stores values of this form.
        """
        if not 1 <= version <= self.version:
            raise UnsupportedEncoding(
                f"the data holds version {version} of command type {self.name!r}; "
                f"this process knows versions up to {self.version}: upgrade it",
                type=self.name,
                version=version,
            )
        try:
            if self.class_fields is None:
                return self._member(stored)
            return self._object(self.class_fields, version, stored)
        except DecodeError:
            raise
        except Exception as error:  # the author's constructor and upgrade may raise anything
            raise UnsupportedEncoding(
                f"command type {self.name!r} does not accept what is stored: "
                f"{type(error).__name__}: {error}",
                type=self.name,
                version=version,
            ) from error

    def _member(self, stored: Any) -> Any:
        members: Any = getattr(self.cls, "__members__", {})
        if type(stored) is not str or stored not in members:
            raise UnsupportedEncoding(
                f"enum {self.name!r} has no member {stored!r:.80}; it has {', '.join(members)}",
                type=self.name,
            )
        return members[stored]

    def _object(self, shape: ClassFields, version: int, stored: Any) -> Any:
        if type(stored) is not dict:
            raise DecodeError(f"command type {self.name!r} is stored as a dict of its fields")
        fields: Fields = stored
        if version < self.version and self.upgrade is not None:
            fields = self.upgrade(version, fields)
        fields = {name: value for name, value in fields.items() if name not in self.removed}
        unknown = [name for name in fields if name not in shape.arguments]
        missing = [name for name in shape.required if name not in fields]
        if unknown or missing:
            raise UnsupportedEncoding(self._misfit(version, unknown, missing), type=self.name)
        return shape.from_fields(self.cls, fields)

    def _misfit(self, version: int, unknown: list[str], missing: list[str]) -> str:
        parts = []
        if unknown:
            names = ", ".join(map(repr, unknown))[:200]
            parts.append(f"has {names}, which the class has not (was it removed? declare that)")
        if missing:
            names = ", ".join(map(repr, missing))
            parts.append(f"lacks {names}, which has no default")
        return f"stored version {version} of command type {self.name!r} {' and '.join(parts)}"


class TypeRegistry:
    """Command types by name and by class. Thread-safe.

    Tables are replaced, never changed, so that readers need no lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[str, CommandType] = {}
        self._by_class: dict[type, CommandType] = {}

    def register(
        self,
        cls: type,
        name: str,
        *,
        version: int = 1,
        removed: Iterable[str] = (),
        upgrade: Upgrade | None = None,
    ) -> None:
        """Register ``cls``, without its subclasses, as ``name``. The module explains changes.

        A class may be registered again under its name, as when its module is reloaded.

        :raises PluginError: the class, the name or the version is not accepted.
        :raises PluginConflict: the name or the class is taken.
        """
        if not isinstance(cls, type):
            raise PluginError(f"a command type is a class, not {cls!r:.80}")
        _check_name(cls, name)
        if type(version) is not int or version < 1:
            raise PluginError(f"command type {name!r}: a version is an int from 1, not {version!r}")
        fields = None if _is_enum(cls) else read_class_fields(cls)
        dropped = frozenset(removed)
        if fields is not None and (both := sorted(dropped & set(fields.arguments))):
            raise PluginError(f"command type {name!r} still has the removed {', '.join(both)}")
        self._add(CommandType(name, version, cls, fields, dropped, upgrade))

    def _add(self, new: CommandType) -> None:
        with self._lock:
            present = self._by_name.get(new.name)
            if present is not None and _place(present.cls) != _place(new.cls):
                raise _conflict(f"{_place(present.cls)} is already {new.name!r}", new)
            other = self._by_class.get(new.cls)
            if other is not None and other.name != new.name:
                raise _conflict(f"{_place(new.cls)} is already registered as {other.name!r}", new)
            by_class = {cls: each for cls, each in self._by_class.items() if each is not present}
            self._by_name = {**self._by_name, new.name: new}
            self._by_class = {**by_class, new.cls: new}

    def of(self, cls: type) -> CommandType | None:
        """Return the command type of exactly that class; ``None`` if it has none."""
        return self._by_class.get(cls)

    def named(self, name: str) -> CommandType:
        """Return the command type of that name. :raises UnsupportedEncoding: it is unknown."""
        found = self._by_name.get(name)
        if found is None:
            raise UnsupportedEncoding(
                f"the data holds command type {name!r:.140}, which is not registered in this "
                f"process; registered: {', '.join(sorted(self._by_name)) or 'none'}",
                type=name[:_NAME_LENGTH],
            )
        return found

    @property
    def all(self) -> tuple[CommandType, ...]:
        """All registered command types."""
        return tuple(self._by_name.values())

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._by_name))


#: The types of this process: what :func:`command_type` registers and every node uses.
TYPES: Final = TypeRegistry()


def command_type(
    name: str,
    *,
    version: int = 1,
    removed: Iterable[str] = (),
    upgrade: Upgrade | None = None,
    registry: TypeRegistry = TYPES,
) -> Callable[[_Class], _Class]:
    """Decorate a class whose objects may be in commands, answers and snapshots.

    Place it above ``@dataclass`` or its like. ``name`` is lower-case words with at least one dot,
    such as ``"orders.place"``, and must always mean this class. See :meth:`TypeRegistry.register`.
    """

    def register(cls: _Class) -> _Class:
        registry.register(cls, name, version=version, removed=removed, upgrade=upgrade)
        return cls

    return register


def _is_enum(cls: type) -> bool:
    if issubclass(cls, enum.Flag):
        raise PluginError(f"{cls.__qualname__} is a Flag: its values have no single name")
    return issubclass(cls, enum.Enum)


def _check_name(cls: type, name: object) -> None:
    if type(name) is not str or len(name) > _NAME_LENGTH or not _NAME.fullmatch(name):
        raise PluginError(
            f"{cls.__qualname__}: the name of a command type is lower-case words with dots, "
            f"'orders.place', of at most {_NAME_LENGTH} characters, not {name!r:.150}"
        )


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _conflict(message: str, new: CommandType) -> PluginConflict:
    return PluginConflict(message, kind="command type", name=new.name)
