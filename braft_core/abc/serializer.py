"""Serializer: commands, queries and answers as bytes."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

__all__ = ["Serializer"]


class Serializer(abc.ABC):
    """Turns plain values into bytes and back. Called from several threads at once; stateless.

    Plain values are ``None``, ``bool``, ``int`` of up to 64 bits, ``float``, ``str``, ``bytes``,
    lists (a tuple comes back as one) and string-keyed dicts of these, nested up to 128 deep; exact
    types, no subclasses. Decoding must never execute anything found in the data.
    """

    name: ClassVar[str]
    #: First byte of everything this serializer wrote to the log, 1-255, unique and for ever.
    tag: ClassVar[int]

    @abc.abstractmethod
    def dumps(self, value: Any) -> bytes:
        """Encode. :raises TypeError: for a value it cannot represent."""

    @abc.abstractmethod
    def loads(self, data: bytes) -> Any:
        """Decode. :raises DecodeError: on any bytes that are not a complete valid encoding."""
