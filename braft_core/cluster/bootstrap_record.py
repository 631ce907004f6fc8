"""What a node must never forget about founding: the configuration it accepted, those it refused.

Owns the record's value and its bytes. Pure; where the bytes are kept is the runtime's business.
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
    """``accepted``: the founding this node promised to take part in, if any.

    ``rejected``: cluster ids of foundings that it refused for good, oldest first. A founding that
    was refused by one of its members can never start, so a refusal must survive a crash as surely
    as an acceptance.
    """

    accepted: BootstrapProposal | None = None
    rejected: tuple[str, ...] = ()


EMPTY_RECORD = BootstrapRecord()


def encode_record(record: BootstrapRecord) -> bytes:
    """The record as bytes: msgpack of ``[version, accepted or nil, rejected]``."""
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
    """Read what :func:`encode_record` wrote.

    :raises DecodeError: on any other bytes. Never guessed: a node that forgot a promise could
        found a second cluster.
    """
    try:
        raw: Any = msgpack.unpackb(data)
        version, fields, rejected = raw
        if version != _VERSION:
            raise ValueError(f"version {version!r}, this braft reads {_VERSION}")
        return BootstrapRecord(_accepted(fields), tuple(_checked(v, str) for v in rejected))
    # msgpack raises many unrelated types on damaged input; the caller gets one.
    except Exception as error:
        raise DecodeError(f"not a founding record: {error}") from error


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
