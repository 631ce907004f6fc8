"""The protobuf messages of the wire, in a descriptor pool of their own.

Owns the message classes; knows nothing of what they are for. Two of the three protocols have no
package, so their messages bear names like ``Log`` and ``Raft``. In protobuf's process-wide default
pool they would collide with the messages of the application that embeds braft; and generated
``_pb2`` modules would tie braft to one major version of the protobuf runtime. Both are avoided by
loading the compiled descriptors into a private pool.
"""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, timestamp_pb2

from braft_core.proto.descriptors import DESCRIPTORS

__all__ = ["POOL", "ProtobufError", "message_class"]

#: Every file of this package and what it imports.
POOL = descriptor_pool.DescriptorPool()

#: What the runtime raises for bytes that are no such message.
ProtobufError: type[Exception] = message.DecodeError


def _load() -> None:
    POOL.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    for file in descriptor_pb2.FileDescriptorSet.FromString(base64.b64decode(DESCRIPTORS)).file:
        POOL.AddSerializedFile(file.SerializeToString())


_load()


def message_class(full_name: str) -> Any:
    """Return the message class of that name, such as ``Log`` or ``braft.v1.ProbeRequest``.

    :raises KeyError: if no file of this package defines it.
    """
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(full_name))
