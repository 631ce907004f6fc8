"""The frames of the wire format. Pure; knows no sockets.

A frame is a header of 13 bytes, ``length of the body (4) kind (1) request id (8)``, big-endian,
and the body. The first frame of a connection is a ``HELLO`` that begins with :data:`MAGIC`; nothing
else is read before it is answered by ``WELCOME`` or ``REFUSED``. A server with a token answers by a
``CHALLENGE`` first, and continues after the ``PROOF``. Then each body begins with a MAC, from the
``WELCOME`` on.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from braft_core.errors import DecodeError
from braft_core.proof import NONCE

__all__ = [
    "HEADER",
    "HELLO_LIMIT",
    "VERSION_MAX",
    "VERSION_MIN",
    "Channel",
    "Frame",
    "FrameReader",
    "Hello",
    "Kind",
    "decode_hello",
    "encode_hello",
]

MAGIC = b"braft-tcp\x00"
#: Range of versions of this framing that are spoken.
VERSION_MIN = 1
VERSION_MAX = 1

HEADER = struct.Struct("!IBQ")
#: Largest body of a frame before the handshake is over, in both directions.
HELLO_LIMIT = 8 << 10
#: Consumed bytes that may stand before a frame that is still incomplete.
_SLACK = 64 << 10


class Kind(IntEnum):
    """The kind of a frame. A number is never reused for another kind."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    PING = 4
    PONG = 5
    #: The sender closes the connection in order.
    GOAWAY = 6
    CHALLENGE = 7
    PROOF = 8
    APPEND_ENTRIES = 16
    REQUEST_VOTE = 17
    REQUEST_PRE_VOTE = 18
    TIMEOUT_NOW = 19
    INSTALL_SNAPSHOT = 20
    #: Contents of the snapshot, as they are.
    CHUNK = 21
    #: The contents are complete; their CRC-32, 4 bytes.
    END = 22
    RESPONSE = 32
    CALL = 48
    REPLY = 49
    #: A call or a transfer failed; the error.
    ERROR = 50
    CANCEL = 51


class Channel(IntEnum):
    """What a connection is for."""

    BULK = 1
    CONTROL = 2
    SNAPSHOT = 3
    CALLS = 4


class Frame(NamedTuple):
    """One frame; ``kind`` may be an unknown number."""

    kind: int
    request_id: int
    body: bytes


class FrameReader:
    """Cuts a stream of bytes into frames. What it holds is bounded by ``limit`` and one read.

    :param limit: largest body in bytes. It may be changed between frames.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer: bytes | bytearray = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Add what was received. Ask :meth:`next` until it has no more before adding again."""
        if self._at == len(self._buffer):
            self._buffer, self._at = data, 0
            return
        if not isinstance(self._buffer, bytearray):
            self._buffer, self._at = bytearray(self._buffer[self._at :]), 0
        elif self._at > _SLACK:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    @property
    def awaited(self) -> int:
        """Bytes of the body that is incomplete; 0 if none was announced."""
        if len(self._buffer) < self._at + HEADER.size:
            return 0
        length: int = HEADER.unpack_from(self._buffer, self._at)[0]
        return length

    def next(self) -> Frame | None:
        """Return the next frame, or ``None`` while it is incomplete.

        :raises DecodeError: its announced length exceeds the limit. Nothing after it can be read.
        """
        start = self._at + HEADER.size
        if len(self._buffer) < start:
            return None
        length, kind, request_id = HEADER.unpack_from(self._buffer, self._at)
        if length > self.limit:
            raise DecodeError(f"a frame of {length} bytes; at most {self.limit} are accepted")
        end = start + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[start:end])
        self._at = end
        if end == len(self._buffer):
            self._buffer, self._at = b"", 0
        return Frame(kind, request_id, body)


class Hello(NamedTuple):
    """The caller, the intended server and the channel."""

    channel: Channel
    #: The caller's cluster; "" if it is in none.
    cluster_id: str
    sender: str
    #: The server that is meant; "" on the calls channel, which go to an address.
    to: str
    #: Asks the server to prove the token; b"" from a node without one.
    nonce: bytes = b""
    cluster_name: str = ""
    version_min: int = VERSION_MIN
    version_max: int = VERSION_MAX


def encode_hello(hello: Hello) -> bytes:
    """Return the body of a ``HELLO``."""
    # The channel is called "lane" on the wire. Older nodes expect "token"; no token is sent.
    fields = {"lane" if key == "channel" else key: each for key, each in hello._asdict().items()}
    packed: bytes = msgpack.packb(fields | {"token": ""})
    return MAGIC + packed


def decode_hello(body: bytes) -> Hello:
    """Read a ``HELLO``; keys that are not known are ignored.

    :raises DecodeError: the bytes are malformed.
    """
    if not body.startswith(MAGIC):
        raise DecodeError("the caller does not speak the protocol of the transport tcp")
    try:
        fields = msgpack.unpackb(body[len(MAGIC) :])
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise DecodeError(f"not a hello: {error}") from error
    if not isinstance(fields, dict):
        raise DecodeError("not a hello: no map")
    return Hello(
        channel=_channel(fields.get("lane")),
        cluster_id=_typed(fields, "cluster_id", str),
        sender=_typed(fields, "sender", str),
        to=_typed(fields, "to", str),
        nonce=_nonce(fields.get("nonce", b"")),
        cluster_name=_typed({"cluster_name": ""} | fields, "cluster_name", str),
        version_min=_typed(fields, "version_min", int),
        version_max=_typed(fields, "version_max", int),
    )


def _nonce(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) not in (0, NONCE):
        raise DecodeError(f"not a hello: nonce is {value!r:.80}")
    return value


def _channel(value: object) -> Channel:
    try:
        return Channel(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise DecodeError(f"not a hello: channel {value!r} is not known") from error


def _typed(fields: dict[Any, Any], key: str, kind: type[Any]) -> Any:
    value = fields.get(key)
    if type(value) is not kind:
        raise DecodeError(f"not a hello: {key} is {value!r:.80}")
    return value
