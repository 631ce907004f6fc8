"""The dataclasses of ``braft_core.peer`` to and from protobuf, by one table.

Fields correspond by name. Knows nothing of calls.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from braft_core import peer
from braft_core.errors import DecodeError
from braft_core.proto import ProtobufError, message_class

__all__ = ["METHODS", "decode_peer", "encode_peer", "method_of"]

_T = TypeVar("_T")


def method_of(kind: type[Any]) -> str:
    """The RPC of a request class: ``Probe`` for ``ProbeRequest``."""
    return kind.__name__.removesuffix("Request")


#: RPC name → request class, of service ``braft.v1.Peer``.
METHODS: dict[str, type[peer.PeerRequest]] = {method_of(kind): kind for kind in peer.REPLIES}

#: Class → protobuf class and field names.
_TABLE: dict[type[Any], tuple[Any, tuple[str, ...]]] = {
    kind: (message_class(f"braft.v1.{kind.__name__}"), tuple(f.name for f in fields(kind)))
    for kind in (*peer.REPLIES.keys(), *peer.REPLIES.values())
}


def encode_peer(value: peer.PeerRequest | peer.PeerReply) -> bytes:
    """Serialize a request or reply."""
    cls, names = _TABLE[type(value)]
    encoded: bytes = cls(**{name: getattr(value, name) for name in names}).SerializeToString()
    return encoded


def decode_peer(kind: type[_T], data: bytes) -> _T:
    """Parse a request or reply of that class.

    :raises DecodeError: for bytes that are no such message.
    """
    cls, names = _TABLE[kind]
    try:
        message = cls.FromString(data)
    except ProtobufError as error:
        raise DecodeError(f"not a {kind.__name__}: {error}") from error
    return kind(**{name: _plain(getattr(message, name)) for name in names})


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, bytes, int)) else tuple(value)
