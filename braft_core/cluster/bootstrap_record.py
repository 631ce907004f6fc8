"""The durable state of the bootstrap: the accepted proposal and the rejected ones.

Owns the record and its encoding. Pure: the host of this package stores the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import msgpack

from braft_core.errors import DecodeError
from braft_core.peer import BootstrapProposal

__all__ = ["EMPTY_RECORD", "BootstrapRecord", "decode_record", "encode_record"]

_VERSION = 1
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class BootstrapRecord:
    """What a node must remember through a crash, or it could take part in a second cluster."""

    #: The proposal that this node accepted, if any.
    accepted: BootstrapProposal | None = None
    #: Cluster ids of the proposals that this node rejected for good, oldest first. A proposal that
    #: one of its members rejected can never start, so rejections are as durable as acceptances.
    rejected: tuple[str, ...] = ()


EMPTY_RECORD = BootstrapRecord()


def encode_record(record: BootstrapRecord) -> bytes:
    """Encode the record: msgpack of ``[version, accepted or nil, rejected]``."""
    accepted = record.accepted
    fields = accepted and [
        accepted.cluster_name,
        accepted.cluster_id,
        accepted.configuration,
        accepted.proposer,
    ]
    packed: bytes = msgpack.packb([_VERSION, fields, list(record.rejected)])
    return packed


def decode_record(data: bytes) -> BootstrapRecord:
    """Decode what :func:`encode_record` wrote.

    :raises DecodeError: on any other bytes. There is no default: a node without its acceptance
        could bootstrap a second cluster.
    """
    try:
        raw: Any = msgpack.unpackb(data)
        version, fields, rejected = raw
        if version != _VERSION:
            raise ValueError(f"version {version!r}, this braft reads {_VERSION}")
        return BootstrapRecord(_accepted(fields), tuple(_checked(v, str) for v in rejected))
    # msgpack raises many unrelated types on damaged input; the caller gets one.
    except Exception as error:
        raise DecodeError(f"not a bootstrap record: {error}") from error


def _accepted(fields: Any) -> BootstrapProposal | None:
    if fields is None:
        return None
    name, cluster_id, configuration, proposer = fields
    return BootstrapProposal(
        _checked(name, str),
        _checked(cluster_id, str),
        _checked(configuration, bytes),
        _checked(proposer, str),
    )


def _checked(value: Any, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value
