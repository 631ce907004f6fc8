"""Frames of HTTP/2 that carry no request: their rules and their effect on a connection.

Each handler takes the flags, the stream's number and the payload. It raises ``ConnectionFailed``
for what ends the connection (RFC 9113, section 6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from braft_core.http2 import frames
from braft_core.http2.frames import ConnectionFailed
from braft_core.http2.host import FloodGuard, Host
from braft_core.http2.sender import Sender
from braft_core.http2.streams import Stream

__all__ = ["DRAIN_PING", "HANDLERS"]

#: Octets below which a WINDOW_UPDATE is one of too many.
_TINY_UPDATE: Final = 128
#: Seconds for which a reset of a new stream counts.
_YOUNG: Final = 1.0
#: Octets in one of our DATA frames, however much the peer takes.
_MAX_FRAME_SENT: Final = 2**16
#: The payload of the PING whose answer shows that the peer saw our GOAWAY.
DRAIN_PING: Final = b"draining"


class _Connection(Protocol):
    """What the frames act on."""

    settings_seen: bool

    @property
    def host(self) -> Host: ...

    @property
    def sender(self) -> Sender: ...

    @property
    def guard(self) -> FloodGuard: ...

    @property
    def streams(self) -> dict[int, Stream]: ...

    @property
    def last_stream(self) -> int: ...

    @property
    def drain_began(self) -> float | None: ...

    def reset(self, stream: Stream, code: int) -> None: ...

    def stop_streams(self) -> None: ...


def _on_priority(connection: _Connection, _flags: int, number: int, payload: bytes) -> None:
    """Check the frame; priorities are ignored."""
    if not number:
        raise ConnectionFailed(frames.PROTOCOL_ERROR, "PRIORITY on stream 0")
    if len(payload) != 5:
        _failed_frame(connection, number, frames.FRAME_SIZE_ERROR)
    elif int.from_bytes(payload[:4], "big") & frames.MAX_STREAM_ID == number:
        _failed_frame(connection, number, frames.PROTOCOL_ERROR)


def _failed_frame(connection: _Connection, number: int, code: int) -> None:
    """End a stream, open or not, because of a frame without other effect."""
    connection.guard.note("streams that failed", connection.host.limits.max_resets)
    if (stream := connection.streams.get(number)) is not None:
        connection.reset(stream, code)
    else:
        connection.sender.control(frames.rst_stream(number, code))


def _on_rst_stream(connection: _Connection, _flags: int, number: int, payload: bytes) -> None:
    if len(payload) != 4:
        raise ConnectionFailed(frames.FRAME_SIZE_ERROR, f"RST_STREAM of {len(payload)} octets")
    if not number & 1 or number > connection.last_stream:
        raise ConnectionFailed(frames.PROTOCOL_ERROR, f"RST_STREAM on idle stream {number}")
    stream = connection.streams.get(number)
    if stream is None or connection.host.now - stream.born < _YOUNG:
        # Deadlines of many calls may pass at once; to end calls that just began is an attack.
        connection.guard.note("resets", connection.host.limits.max_resets)
    if stream is not None:
        stream.remote_closed = True
        stream.abandon()


def _on_settings(connection: _Connection, flags: int, number: int, payload: bytes) -> None:
    if number:
        raise ConnectionFailed(frames.PROTOCOL_ERROR, f"SETTINGS on stream {number}")
    connection.guard.note("SETTINGS frames", connection.host.limits.max_settings)
    if flags & frames.ACK:
        if payload:
            raise ConnectionFailed(frames.FRAME_SIZE_ERROR, "SETTINGS with ACK and values")
        return
    values = frames.parse_settings(payload)
    sender = connection.sender
    connection.settings_seen = True
    sender.control(frames.frame(frames.SETTINGS, frames.ACK, 0))
    if values.get(frames.SETTINGS_HEADER_TABLE_SIZE, 4096) < 4096:
        sender.announce_no_table()
    if (size := values.get(frames.SETTINGS_MAX_FRAME_SIZE)) is not None:
        sender.frame_size = min(size, _MAX_FRAME_SENT)
    if (window := values.get(frames.SETTINGS_INITIAL_WINDOW_SIZE)) is not None:
        change = window - sender.initial_window
        sender.initial_window = window
        for stream in list(connection.streams.values()) if change else ():
            if not sender.open_stream_window(stream, change):
                raise ConnectionFailed(frames.FLOW_CONTROL_ERROR, "a window is too large")


def _on_push_promise(connection: _Connection, _flags: int, _number: int, _payload: bytes) -> None:
    raise ConnectionFailed(frames.PROTOCOL_ERROR, "a client sent PUSH_PROMISE")


def _on_ping(connection: _Connection, flags: int, number: int, payload: bytes) -> None:
    if number:
        raise ConnectionFailed(frames.PROTOCOL_ERROR, f"PING on stream {number}")
    if len(payload) != 8:
        raise ConnectionFailed(frames.FRAME_SIZE_ERROR, f"PING of {len(payload)} octets")
    if connection.sender.answered:
        # Clients of gRPC measure the bandwidth with a PING for each burst of answers.
        connection.sender.answered = False
        connection.guard.forget("PING frames")
    connection.guard.note("PING frames", connection.host.limits.max_pings)
    if not flags & frames.ACK:
        connection.sender.control(frames.frame(frames.PING, frames.ACK, 0, payload))
    elif payload == DRAIN_PING and connection.drain_began is not None:
        connection.stop_streams()


def _on_goaway(connection: _Connection, _flags: int, number: int, payload: bytes) -> None:
    """Check the frame: we open no streams, so there is nothing to stop."""
    if number:
        raise ConnectionFailed(frames.PROTOCOL_ERROR, f"GOAWAY on stream {number}")
    if len(payload) < 8:
        raise ConnectionFailed(frames.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} octets")


def _on_window_update(connection: _Connection, _flags: int, number: int, payload: bytes) -> None:
    if len(payload) != 4:
        raise ConnectionFailed(frames.FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {len(payload)} octets")
    increment = int.from_bytes(payload, "big") & frames.MAX_WINDOW
    if increment < _TINY_UPDATE:
        connection.guard.note("tiny WINDOW_UPDATE frames", connection.host.limits.max_empty_frames)
    if not number:
        if not increment:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        connection.sender.open_window(increment)
        return
    stream = connection.streams.get(number)
    if stream is None:
        if not number & 1 or number > connection.last_stream:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, f"WINDOW_UPDATE on idle stream {number}")
    elif not increment:
        _failed_frame(connection, number, frames.PROTOCOL_ERROR)
    elif not connection.sender.open_stream_window(stream, increment):
        _failed_frame(connection, number, frames.FLOW_CONTROL_ERROR)


HANDLERS: Final[dict[int, Callable[[_Connection, int, int, bytes], None]]] = {
    frames.PRIORITY: _on_priority,
    frames.RST_STREAM: _on_rst_stream,
    frames.SETTINGS: _on_settings,
    frames.PUSH_PROMISE: _on_push_promise,
    frames.PING: _on_ping,
    frames.GOAWAY: _on_goaway,
    frames.WINDOW_UPDATE: _on_window_update,
}
