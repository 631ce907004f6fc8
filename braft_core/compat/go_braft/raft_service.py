"""The gRPC service ``Raft`` of the Go original, without its registration and access control.

``ApplyLog`` replicates one serialized command, ``GetDetails`` returns the node's entry of
``GET /raft``. The transport serves :data:`METHODS`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from braft_core import strict_json
from braft_core.abc import TransportHandler
from braft_core.errors import DecodeError
from braft_core.proto import ProtobufError, message_class

__all__ = ["METHODS", "SERVICE", "details_message"]

SERVICE: Final = "Raft"

_ApplyRequest = message_class("ApplyRequest")
_ApplyResponse = message_class("ApplyResponse")
_Details = message_class("GetDetailsResponse")

#: Protobuf field of GetDetailsResponse → key of ``GET /raft``, where they differ.
_DETAILS_KEYS = {"serverId": "serverID"}


async def _apply_log(handler: TransportHandler, data: bytes) -> bytes:
    try:
        command = _ApplyRequest.FromString(data).request
    except ProtobufError as error:
        raise DecodeError(f"not an ApplyRequest: {error}") from error
    answer = await handler.on_apply_log(command)
    encoded: bytes = _ApplyResponse(response=answer).SerializeToString()
    return encoded


async def _get_details(handler: TransportHandler, _data: bytes) -> bytes:
    # The request carries the caller's address; braft learns addresses from announcements.
    return details_message(await handler.on_details())


#: Each takes the node's handler and the request's bytes, and returns the response's.
METHODS: Final[Mapping[str, Callable[[TransportHandler, bytes], Awaitable[bytes]]]] = (
    MappingProxyType({"ApplyLog": _apply_log, "GetDetails": _get_details})
)


def details_message(details: Mapping[str, Any]) -> bytes:
    """Return the ``GetDetailsResponse`` of a node's entry in ``GET /raft``, without absent keys."""
    values: dict[str, Any] = {}
    for field in _Details.DESCRIPTOR.fields:
        value = details.get(_DETAILS_KEYS.get(field.name, field.name))
        if value is None:
            continue
        if field.name == "bizData" and not isinstance(value, str):
            value = strict_json.dumps(value, anything=True)
        values[field.name] = value
    encoded: bytes = _Details(**values).SerializeToString()
    return encoded
