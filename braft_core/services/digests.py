"""Digests of the services' states at one log index, as values and as bytes between nodes.

Members compare them: at one index, equal code must have given equal states. During a rolling
upgrade members run different code, whose states may look different without being wrong; so each
digest carries a hash of the code that made it, and only digests of equal code are compared.
Pure, but for reading the source of the services' modules. Must not know members or Raft.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgpack

from braft_core.errors import DecodeError
from braft_core.serializers.command_types import TYPES
from braft_core.services.capabilities import type_fields

__all__ = [
    "KEPT",
    "MAX_BYTES",
    "Checkpoint",
    "Digest",
    "code_of",
    "decode_checkpoints",
    "encode_checkpoints",
    "new_hash",
]

#: How many of the newest checkpoints a node keeps and reports to others.
KEPT: Final = 4
#: Longest encoding that is accepted, bytes.
MAX_BYTES: Final = 1 << 16
#: The most services whose digests are reported, and the longest name of one, bytes.
_MAX_SERVICES: Final = 256
_MAX_NAME: Final = 200
_CODE, _SIZE = 8, 16
#: Version of this encoding and of what is hashed. Only equal versions can be compared.
_VERSION: Final = 1
_MAX_INDEX: Final = 2**63 - 1


class Digest(NamedTuple):
    """The digest of one service's state."""

    #: Hash of the code that made the state.
    code: bytes
    value: bytes

    @property
    def text(self) -> str:
        """The value as users see it."""
        return self.value.hex()


class Checkpoint(NamedTuple):
    """The digests of all services after one entry was applied."""

    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index
    digests: Mapping[str, Digest]


def new_hash() -> Any:
    """Return an empty hash for the bytes of one state; its ``digest()`` is the value."""
    return blake2b(digest_size=_SIZE)


def code_of(service: object) -> bytes:
    """Return a hash of the code of a service: the modules of its classes, and their types.

    Where the source is not there it is that of the classes' names.
    """
    hashed = blake2b(digest_size=_CODE)
    packages = set()
    for cls in type(service).__mro__[:-1]:
        hashed.update(f"{cls.__qualname__}\0{_source(cls.__module__)}\0".encode())
        packages.add(cls.__module__.partition(".")[0])
    types = {
        known.name for known in TYPES.all if known.cls.__module__.partition(".")[0] in packages
    }
    for name, fields in sorted(type_fields(TYPES).items()):
        if name in types:
            hashed.update(repr((name, fields.version, sorted(fields.names))).encode())
    return hashed.digest()


@functools.cache
def _source(module: str) -> str:
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):
        return ""


def encode_checkpoints(checkpoints: Sequence[Checkpoint]) -> bytes:
    """Return the bytes that :func:`decode_checkpoints` reads, b"" for none.

    What would not be accepted there is left out, the oldest checkpoints first.
    """
    rows = [[index, _reported(digests)] for index, digests in checkpoints[-KEPT:]]
    while rows:
        packed: bytes = msgpack.packb([_VERSION, rows])
        if len(packed) <= MAX_BYTES:
            return packed
        del rows[0]
    return b""


def _reported(digests: Mapping[str, Digest]) -> dict[str, list[bytes]]:
    names = [name for name in sorted(digests) if len(name.encode()) <= _MAX_NAME]
    return {name: [*digests[name]] for name in names[:_MAX_SERVICES]}


def decode_checkpoints(data: bytes) -> tuple[Checkpoint, ...]:
    """Decode what :func:`encode_checkpoints` wrote; b"" has no checkpoints.

    The data of a later version decodes to no checkpoints, so nothing is compared.

    :raises DecodeError: it is something else, or longer than ``MAX_BYTES``.
    """
    if not data:
        return ()
    if len(data) > MAX_BYTES:
        raise DecodeError(f"state digests of {len(data)} bytes; accepted are {MAX_BYTES}")
    try:
        return _decoded(msgpack.unpackb(data))
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise DecodeError(f"not state digests ({len(data)} bytes): {error}") from error


def _decoded(parts: Any) -> tuple[Checkpoint, ...]:
    match parts:
        case [int(version), *_] if type(version) is int and version > _VERSION:
            return ()
        case [int(version), list(rows)] if (
            type(version) is int and version == _VERSION and len(rows) <= KEPT
        ):
            checkpoints = tuple(map(_checkpoint, rows))
            if _rises(checkpoint.index for checkpoint in checkpoints):
                return checkpoints
    raise ValueError("its parts are others")


def _checkpoint(row: Any) -> Checkpoint:
    match row:
        case [int(index), dict(digests)] if len(digests) <= _MAX_SERVICES:
            if type(index) is int and 0 < index <= _MAX_INDEX:
                read = {_name(name): _digest(pair) for name, pair in digests.items()}
                return Checkpoint(index, MappingProxyType(read))
    raise ValueError("an index and digests were expected")


def _name(value: Any) -> str:
    if type(value) is not str or len(value.encode()) > _MAX_NAME:
        raise ValueError("the name of a service was expected")
    return value


def _digest(pair: Any) -> Digest:
    match pair:
        case [bytes(code), bytes(value)] if len(code) == _CODE and len(value) == _SIZE:
            return Digest(code, value)
    raise ValueError("a digest was expected")


def _rises(numbers: Iterable[int]) -> bool:
    return all(one < two for one, two in itertools.pairwise(numbers))
