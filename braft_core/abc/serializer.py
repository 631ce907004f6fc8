"""Serializer: commands, queries and answers as bytes."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

__all__ = ["Serializer"]


class Serializer(abc.ABC):
    """Encodes plain values as bytes and decodes them. Stateless: several threads call it at once.

    Plain values are ``None``, ``bool``, ``int`` of up to 64 bits, ``float``, ``str``, ``bytes``,
    lists (a tuple comes back as one) and string-keyed dicts of these, nested up to 128 deep; exact
    types, no subclasses. Decoding must never execute anything found in the data.
    """

    name: ClassVar[str]
    #: The second byte of every command that this serializer encoded, 1-255. Unique; never changes.
    tag: ClassVar[int]

    @abc.abstractmethod
    def dumps(self, value: Any) -> bytes:
        """Encode. :raises TypeError: for a value it cannot represent."""

    @abc.abstractmethod
    def loads(self, data: bytes) -> Any:
        """Decode. :raises DecodeError: on any bytes that are not a complete valid encoding."""
