"""The fields of a registered class: how its objects become dicts, and dicts become objects.

Dataclasses, attrs classes and msgspec structs are recognised by their own attributes; neither
attrs nor msgspec is imported. An object is made by calling the constructor of its class with
keyword arguments, so that its checks also run on bytes from a log.
Must not know names on the wire, versions, or what fields hold.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from braft_core.errors import PluginError

__all__ = ["ClassFields", "read_class_fields"]


class ClassFields(NamedTuple):
    """The fields of one class, in the order of their definition."""

    #: Attribute to the keyword by which the constructor takes it (attrs: ``_x`` is given as ``x``).
    arguments: dict[str, str]
    #: Attributes without a default.
    required: tuple[str, ...]

    def to_fields(self, value: Any) -> dict[str, Any]:
        """Return the fields of an object."""
        return {name: getattr(value, name) for name in self.arguments}

    def from_fields(self, cls: type, fields: Mapping[str, Any]) -> Any:
        """Return an object with these fields, and defaults for the others."""
        return cls(**{self.arguments[name]: value for name, value in fields.items()})


def read_class_fields(cls: type) -> ClassFields:
    """Return the fields of a class.

    :raises PluginError: the class is of no supported kind, or its constructor does not take
        exactly its fields.
    """
    arguments = _arguments(cls)
    parameters = inspect.signature(cls).parameters
    missing = [name for name in arguments.values() if name not in parameters]
    if missing:
        raise PluginError(
            f"the constructor of {cls.__qualname__} does not take {', '.join(missing)}; "
            "a command type is made from its fields"
        )
    needed = {name for name, each in parameters.items() if each.default is each.empty}
    extra = sorted(needed - set(arguments.values()))
    if extra:
        raise PluginError(
            f"the constructor of {cls.__qualname__} needs {', '.join(extra)}, which it does not "
            "keep in a field; a command type is made from its fields alone"
        )
    required = tuple(name for name, argument in arguments.items() if argument in needed)
    return ClassFields(arguments, required)


def _arguments(cls: type) -> dict[str, str]:
    if "__attrs_attrs__" in vars(cls):
        fields = vars(cls)["__attrs_attrs__"]
        return {each.name: each.alias for each in fields if each.init}
    if dataclasses.is_dataclass(cls) and "__dataclass_fields__" in vars(cls):
        return {each.name: each.name for each in dataclasses.fields(cls) if each.init}
    if hasattr(cls, "__struct_fields__") and hasattr(cls, "__struct_config__"):
        return {name: name for name in cls.__struct_fields__}
    raise PluginError(
        f"{cls.__qualname__} cannot be a command type; accepted are dataclasses, attrs classes, "
        "msgspec structs and enums (the class itself, not one that it derives from)"
    )
