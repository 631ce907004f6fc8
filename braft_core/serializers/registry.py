"""Find a serializer by the tag in front of stored bytes, or by name.

Must not know how serializers are discovered or loaded; it gets instances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from braft_core.abc import Serializer
from braft_core.errors import PluginConflict, PluginNotFound
from braft_core.serializers.unsupported import UnsupportedEncoding

__all__ = ["RESERVED_TAGS", "Serializers"]

#: Tags of braft's own serializers, with name and distribution for error messages and checks.
RESERVED_TAGS: Final[Mapping[int, tuple[str, str]]] = MappingProxyType(
    {
        1: ("msgpack", "braft-core"),
        2: ("cbor", "braft-serializers"),
        3: ("json", "braft-serializers"),
    }
)


class Serializers:
    """An immutable set of serializers. Thread-safe."""

    def __init__(self, serializers: Iterable[Serializer]) -> None:
        """Index the serializers.

        :raises PluginConflict: two of them have the same name or tag.
        """
        self._by_name: dict[str, Serializer] = {}
        self._by_tag: dict[int, Serializer] = {}
        for serializer in serializers:
            if self._by_name.setdefault(serializer.name, serializer) is not serializer:
                raise _conflict("name", serializer.name)
            if self._by_tag.setdefault(serializer.tag, serializer) is not serializer:
                raise _conflict("tag", serializer.tag)

    def by_name(self, name: str) -> Serializer:
        """Return the serializer of that name. :raises PluginNotFound: it is not installed."""
        if name not in self._by_name:
            raise PluginNotFound(
                f"no serializer {name!r} is installed; installed: {self._known()}",
                kind="serializer",
                name=name,
                known=list(self._by_name),
            )
        return self._by_name[name]

    def by_tag(self, tag: int) -> Serializer:
        """Return the serializer that wrote bytes with that tag.

        :raises UnsupportedEncoding: it is not installed; the message says what to install.
        """
        if tag not in self._by_tag:
            raise UnsupportedEncoding(
                f"the data was written by a serializer with tag {tag}, which is not installed; "
                f"installed: {self._known()}{_hint(tag)}",
                tag=tag,
            )
        return self._by_tag[tag]

    def _known(self) -> str:
        return ", ".join(f"{each.name} (tag {each.tag})" for each in self._by_tag.values()) or "-"


def _hint(tag: int) -> str:
    if tag not in RESERVED_TAGS:
        return "; install the plugin that provided it when the data was written"
    name, distribution = RESERVED_TAGS[tag]
    return f"; it is that of {name!r}: pip install {distribution}"


def _conflict(what: str, value: object) -> PluginConflict:
    return PluginConflict(
        f"two serializers have the {what} {value!r}", kind="serializer", name=value
    )
