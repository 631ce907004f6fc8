"""Encodes and decodes the dataclasses of ``braft_core.peer`` as protobuf, by one table.

Fields correspond by name. Server ids and addresses from peers are checked here, for every
transport, and messages are bounded before they are parsed. Knows nothing of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar

from braft_core import peer
from braft_core.addresses import check_member_id, check_server_id, parse_address
from braft_core.errors import DecodeError
from braft_core.escaping import printable, shown
from braft_core.proto import ProtobufError, message_class
from braft_core.transport.size_limits import MAX_COMMANDS, has_more_fields

__all__ = ["METHODS", "decode_peer", "encode_peer", "method_of"]

_T = TypeVar("_T")


def method_of(kind: type[Any]) -> str:
    """Return the RPC of a request class: ``Probe`` for ``ProbeRequest``."""
    return kind.__name__.removesuffix("Request").removesuffix("Proposal")


_MAX_NAME: Final = 255
_MAX_REASON: Final = 1024

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

    :raises DecodeError: the bytes are malformed, or an id or an address in them is.
    """
    cls, names = _TABLE[kind]
    if has_more_fields(data, MAX_COMMANDS):
        raise DecodeError(f"a {kind.__name__} of more than {MAX_COMMANDS} parts")
    try:
        message = cls.FromString(data)
    except ProtobufError as error:
        raise DecodeError(f"not a {kind.__name__}: {error}") from error
    found = {name: _checked(kind, name, _plain(getattr(message, name))) for name in names}
    if kind is peer.ChangeMembershipRequest and str(found["kind"]).startswith("add_"):
        check_server_id(found["server_id"])
        parse_address(found["address"])
    return kind(**found)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, bytes, int)) else tuple(value)


def _checked(kind: type[Any], name: str, value: Any) -> Any:
    """Return a field's valid value. :raises DecodeError: naming the field of an invalid one."""
    check = _CHECKS.get((kind, name)) or _CHECKS.get(name)
    if check is None:
        return value
    try:
        return check(value)
    except DecodeError as error:
        raise DecodeError(f"{kind.__name__}.{name}: {error.message}", **error.data) from error


def _address(text: str) -> str:
    return str(parse_address(text))


def _name(text: str) -> str:
    if len(text) > _MAX_NAME or not text.isprintable():
        accepted = f"at most {_MAX_NAME} printable characters"
        raise DecodeError(f"it is {shown(text)}; accepted: {accepted}", accepted=accepted)
    return text


def _or_empty(check: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: check(text) if text else text


#: The check of each field that names something, by class and name, or by name alone. A leader, and
#: a member that is removed, may be servers of another implementation.
_CHECKS: Mapping[str | tuple[type[Any], str], Callable[[Any], Any]] = {
    "server_id": check_server_id,
    "address": _address,
    "leader_id": _or_empty(check_member_id),
    "leader_address": _or_empty(_address),
    "proposer": _or_empty(check_server_id),
    "to": _or_empty(check_member_id),
    "cluster_id": _or_empty(check_server_id),
    "cluster_name": _name,
    "kind": _name,
    "reason": lambda text: printable(text, _MAX_REASON),
    (peer.ChangeMembershipRequest, "server_id"): check_member_id,
    (peer.ChangeMembershipRequest, "address"): _or_empty(_address),
}
