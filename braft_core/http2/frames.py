"""Frames of HTTP/2 (RFC 9113, sections 4, 6 and 7): their numbers, and the bytes of ours."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

__all__ = ["ConnectionFailed", "StreamFailed", "frame", "goaway", "parse_settings", "settings"]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_SIZE: Final = 9
#: The header of a frame: length and type in one number, flags, stream.
HEADER: Final = struct.Struct(">IBI")

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB

SETTINGS_HEADER_TABLE_SIZE: Final = 0x1
SETTINGS_ENABLE_PUSH: Final = 0x2
SETTINGS_MAX_CONCURRENT_STREAMS: Final = 0x3
SETTINGS_INITIAL_WINDOW_SIZE: Final = 0x4
SETTINGS_MAX_FRAME_SIZE: Final = 0x5
SETTINGS_MAX_HEADER_LIST_SIZE: Final = 0x6

DEFAULT_WINDOW: Final = 65_535
MAX_WINDOW: Final = 2**31 - 1
#: The largest payload that we accept, and the smallest limit that a peer may set.
MAX_FRAME_SIZE: Final = 16_384
_LARGEST_FRAME_SIZE: Final = 2**24 - 1
MAX_STREAM_ID: Final = 2**31 - 1

_SETTING: Final = struct.Struct(">HI")
_GOAWAY: Final = struct.Struct(">II")
#: Octets of explanation in a GOAWAY.
_MAX_DEBUG: Final = 200


class ConnectionFailed(Exception):
    """The peer broke a rule; the whole connection ends with GOAWAY of ``code``."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class StreamFailed(Exception):
    """The peer broke a rule of one stream, which ends with RST_STREAM of ``code``."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    return HEADER.pack(len(payload) << 8 | kind, flags, stream) + payload


def rst_stream(stream: int, code: int) -> bytes:
    """Return a frame that ends ``stream`` at once."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window_update(stream: int, increment: int) -> bytes:
    """Return a frame that lets the peer send ``increment`` octets more."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def goaway(last_stream: int, code: int, debug: str = "") -> bytes:
    """Return a frame that says which streams were processed, and why no more will be."""
    text = debug.encode("ascii", "backslashreplace")[:_MAX_DEBUG]
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last_stream, code) + text)


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in values))


def parse_settings(payload: bytes) -> dict[int, int]:
    """Return the settings of a frame, the last value of each; unknown ones are left in.

    Raises:
        ConnectionFailed: the size or a value is not allowed (RFC 9113, section 6.5).
    """
    if len(payload) % _SETTING.size:
        raise ConnectionFailed(FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} octets")
    found = {}
    for name, value in _SETTING.iter_unpack(payload):
        if name == SETTINGS_ENABLE_PUSH and value > 1:
            raise ConnectionFailed(PROTOCOL_ERROR, f"ENABLE_PUSH is {value}, not 0 or 1")
        if name == SETTINGS_INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFailed(FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE of {value}")
        if name == SETTINGS_MAX_FRAME_SIZE and not MAX_FRAME_SIZE <= value <= _LARGEST_FRAME_SIZE:
            raise ConnectionFailed(PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {value}")
        found[name] = value
    return found


def unpad(flags: int, payload: bytes) -> bytes:
    """Return the payload of DATA or HEADERS without its padding.

    Raises:
        ConnectionFailed: the padding is longer than the frame.
    """
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFailed(PROTOCOL_ERROR, "the padding of a frame is longer than the frame")
    return payload[1 : len(payload) - payload[0]]
