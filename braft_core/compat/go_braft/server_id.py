"""Server ids as the Go original makes them.

A server id is base64url, without padding, of a msgpack map: a KSUID, and host name, address and
ports (as a Sqid) of the node when it was created. The id never changes, so only its KSUID stays
true. Servers of other implementations may have ids of any form.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgpack
from ksuid import Ksuid
from ksuid.ksuid import EPOCH_STAMP
from sqids import Sqids

from braft_core.errors import DecodeError

__all__ = [
    "RaftID",
    "decode_server_id",
    "decode_server_id_or_none",
    "encode_server_id",
    "host_name",
    "new_ksuid",
    "new_raft_id",
    "short_id",
]

_SQIDS = Sqids()
_LATEST_KSUID = 2**32 - 1
#: Characters that are shown of an id of another form.
_SHORT = 16
_KEYS = {"ID": "id", "Hostname": "hostname", "IP": "ip", "Sqid": "sqid"}


@dataclass(frozen=True, slots=True)
class RaftID:
    """The contents of a server id. ``as_dict`` has the keys of ``GET /raft``'s ``raftID``."""

    id: str
    hostname: str
    ip: str
    sqid: str

    @property
    def ports(self) -> tuple[int, int, int] | None:
        """The Raft, discovery and HTTP port at creation, ``None`` if the Sqid is not of three."""
        numbers = _SQIDS.decode(self.sqid)
        # A Sqid has one canonical form; other texts may decode, too.
        if len(numbers) != 3 or _SQIDS.encode(numbers) != self.sqid:
            return None
        raft, discovery, http = numbers
        return raft, discovery, http

    def as_dict(self) -> dict[str, str]:
        """Return the fields as plain values."""
        return {name: getattr(self, name) for name in _KEYS.values()}


def new_ksuid(
    random_bytes: Callable[[int], bytes] = secrets.token_bytes, now: float | None = None
) -> str:
    """Return a new KSUID: seconds since May 2014 in 32 bits, then 128 random bits.

    A wall clock outside that range counts as its nearest end: the random bits alone make the id
    unique, and a machine without a battery-backed clock boots in 1970.
    """
    now = time.time() if now is None else now
    seconds = min(max(int(now) - EPOCH_STAMP, 0), _LATEST_KSUID)
    moment = seconds.to_bytes(Ksuid.TIMESTAMP_LENGTH_IN_BYTES, "big")
    payload = random_bytes(Ksuid.PAYLOAD_LENGTH_IN_BYTES)
    return str(Ksuid.from_bytes(moment + payload))


def new_raft_id(ip: str, ports: tuple[int, int, int], hostname: str = "") -> RaftID:
    """Return a new identity; ``hostname`` defaults to this host's."""
    return RaftID(
        id=new_ksuid(),
        hostname=hostname or host_name(),
        ip=ip,
        sqid=_SQIDS.encode(ports),
    )


def host_name() -> str:
    """Return this host's name, with ``?`` for each character that is not printable.

    The kernel accepts any bytes, and the name ends up in server ids, logs and HTTP headers.
    """
    return "".join(char if char.isprintable() else "?" for char in socket.gethostname())


def encode_server_id(raft_id: RaftID) -> str:
    """Return the server id of an identity, byte for byte as the original makes it."""
    fields = {key: getattr(raft_id, name) for key, name in _KEYS.items()}
    packed: bytes = msgpack.packb(fields)
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode("ascii")


def decode_server_id(server_id: str) -> RaftID:
    """Return the identity in a server id.

    :raises DecodeError: the id has another form, which is valid: a HashiCorp peer may have any.
    """
    try:
        packed = base64.b64decode(
            server_id + "=" * (-len(server_id) % 4), altchars=b"-_", validate=True
        )
        fields = msgpack.unpackb(packed, raw=False, strict_map_key=True)
    # msgpack's errors have no common base besides ValueError; the rest is text and base64.
    except (ValueError, binascii.Error, msgpack.exceptions.UnpackException) as error:
        raise DecodeError(f"server id {server_id!r} does not have braft's form: {error}") from error
    if not isinstance(fields, dict) or not all(isinstance(fields.get(k), str) for k in _KEYS):
        raise DecodeError(
            f"server id {server_id!r} does not have braft's form: a map of {', '.join(_KEYS)}"
        )
    return RaftID(**{name: fields[key] for key, name in _KEYS.items()})


def decode_server_id_or_none(server_id: str) -> RaftID | None:
    """Return the identity in a server id, ``None`` for an id of another form."""
    try:
        return decode_server_id(server_id)
    except DecodeError:
        return None


def short_id(server_id: str) -> str:
    """Return a server id for people: the KSUID in it, or its first 16 characters.

    For log lines, beside the address. Commands take the whole id, and ``GET /raft`` shows it.
    """
    raft_id = decode_server_id_or_none(server_id)
    return raft_id.id if raft_id is not None else server_id[:_SHORT]
