"""Further serializers for braft: ``cbor`` and ``json``.

This module registers them. Must not know how braft chooses a serializer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from braft_core.plugin import hookimpl

if TYPE_CHECKING:
    from braft_core.abc import Serializer

__all__ = ["braft_register_serializer"]


@hookimpl
def braft_register_serializer() -> list[type[Serializer]]:
    """Return the serializers ``cbor`` (tag 2) and ``json`` (tag 3)."""
    from braft_serializers.cbor import CborSerializer
    from braft_serializers.json import JsonSerializer

    return [CborSerializer, JsonSerializer]
