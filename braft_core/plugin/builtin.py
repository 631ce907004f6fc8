"""The classes that braft-core itself provides, registered by the same hooks as those of plugins.

The hooks import their classes, so that classes which are not used cost nothing. This module must
not choose among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from braft_core.plugin import hookimpl

if TYPE_CHECKING:
    from braft_core.abc import Serializer, Service, Storage, Transport


@hookimpl
def braft_register_serializer() -> type[Serializer]:
    """Provide the serializer ``msgpack``."""
    from braft_core.serializers.msgpack import MsgpackSerializer

    return MsgpackSerializer


@hookimpl
def braft_register_service() -> list[type[Service]]:
    """Provide the services ``kv``, ``distribute`` and ``store``."""
    from braft_core.services.distribute import DistributeService
    from braft_core.services.kv import KVService
    from braft_core.services.store import StoreService

    return [KVService, DistributeService, StoreService]


@hookimpl
def braft_register_transport() -> list[type[Transport]]:
    """Provide the transports ``grpc`` and ``memory``."""
    from braft_core.transport.grpc import GrpcTransport
    from braft_core.transport.memory import MemoryTransport

    return [GrpcTransport, MemoryTransport]


@hookimpl
def braft_register_storage() -> list[type[Storage]]:
    """Provide the storages ``sqlite`` and ``memory``."""
    from braft_core.storage.memory import MemoryStorage
    from braft_core.storage.sqlite import SQLiteStorage

    return [SQLiteStorage, MemoryStorage]
