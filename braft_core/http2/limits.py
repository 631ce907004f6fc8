"""What a peer may cost: sizes, numbers and times of the HTTP/2 and HTTP/1.1 server."""

from __future__ import annotations

from dataclasses import dataclass, fields

from braft_core.errors import ConfigError
from braft_core.http2.frames import MAX_FRAME_SIZE, MAX_WINDOW

__all__ = ["Limits"]

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one server; sizes in octets, times in seconds.

    Raises:
        ConfigError: a value is not a positive number, or contradicts another one.
    """

    #: Connections at once, those in a TLS handshake included. An idle one gives way to a new one.
    max_connections: int = 4096
    #: Until the TLS handshake is done; until the preface or the head of a request has arrived.
    preface_timeout: float = 10.0
    #: Calls at once on one connection, those whose handlers still run after a reset included.
    max_concurrent_streams: int = 1024
    #: A header block as sent, or the head of an HTTP/1.1 request.
    max_header_block: int = 16_384
    #: A header list as decoded (RFC 9113, section 6.5.2).
    max_header_list: int = 16_384
    #: CONTINUATION frames of one header block.
    max_continuations: int = 32
    #: The length of an interval of the following numbers.
    flood_interval: float = 10.0
    #: RST_STREAM frames of a peer in an interval, and streams that it made us reset.
    max_resets: int = 200
    #: PING frames in an interval, since the last answer: clients measure with each answer.
    max_pings: int = 100
    #: SETTINGS frames in an interval.
    max_settings: int = 100
    #: DATA frames without data, and WINDOW_UPDATE of less than 128 octets, in an interval.
    max_empty_frames: int = 1000
    #: A gRPC message, and the body of an HTTP request.
    max_message: int = 2 * _MIB
    #: Octets that a peer may send on a connection before it hears that they were taken.
    connection_window: int = 2**30
    #: Octets after which it hears so.
    replenish: int = 16 * _MIB
    #: Parts of requests, and messages that handlers did not take: of a connection, of all.
    max_buffered: int = 64 * _MIB
    max_buffered_total: int = 256 * _MIB
    #: Answers that the peer's windows hold back: of a connection, of all. No more calls are served
    #: beyond it.
    max_unread: int = 8 * _MIB
    max_unread_total: int = 256 * _MIB
    #: Answers that a socket did not take; nothing more is read from it until it does.
    max_unsent: int = 256 * 1024
    #: For which answers that are held back make no progress, before the connection is closed.
    stall_timeout: float = 30.0
    #: For which a request that is not a stream may arrive.
    request_timeout: float = 60.0
    #: For which an HTTP/1.1 connection waits for the next request.
    idle_timeout: float = 75.0
    #: Fields of the head of an HTTP/1.1 request.
    max_header_fields: int = 100

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ConfigError(f"{field.name} of the HTTP/2 limits is {value!r}, not positive")
        bounds = (
            ("max_message", MAX_FRAME_SIZE, 2**29),
            ("connection_window", 2**16, MAX_WINDOW),
            ("replenish", 1, self.connection_window // 2),
            ("max_concurrent_streams", 1, MAX_WINDOW),
            ("max_header_list", 1, MAX_WINDOW),
        )
        for name, least, most in bounds:
            if not least <= getattr(self, name) <= most:
                raise ConfigError(
                    f"{name} of the HTTP/2 limits is {getattr(self, name)}; "
                    f"accepted are {least} to {most}"
                )

    @property
    def stream_window(self) -> int:
        """What a peer may send on one stream ahead of its handler.

        A whole message always fits, although the peer hears only of every half that was taken.
        """
        return 2 * self.max_message
