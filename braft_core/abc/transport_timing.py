"""How long a transport waits, for what."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TransportTiming"]


@dataclass(frozen=True, slots=True)
class TransportTiming:
    """Durations of a transport, in seconds.

    Users do not set them; tests shorten or lengthen them. A transport uses those that apply to it.
    """

    #: One attempt to connect, TLS handshake included.
    connect: float = 1.0
    #: The peer's part of the handshake that follows: hello, challenge, proof.
    handshake: float = 2.0
    #: The first bytes of an accepted connection.
    first_bytes: float = 5.0
    #: Pause before the next attempt to connect, doubled up to the maximum after each failure.
    reconnect_min: float = 0.05
    reconnect_max: float = 1.0
    #: Interval at which a link checks whether this node has joined a cluster.
    membership_poll: float = 0.05
    #: Pause after accept() failed for want of descriptors or memory.
    accept_pause: float = 1.0
    #: An orderly end of a connection or stream, before it is cut.
    close: float = 0.2

    #: Heartbeats, pre-votes and TimeoutNow; a later response is worthless.
    control_timeout: float = 1.0
    #: A vote: it is stored before it is answered, and counts for its whole term.
    vote_timeout: float = 30.0
    #: Storing entries, for a peer that meanwhile answers heartbeats.
    store_timeout: float = 30.0
    #: A request that is admitted has to arrive: any, and one of bounded size.
    request_timeout: float = 30.0
    small_request_timeout: float = 5.0
    #: A large frame, from its first byte to its last.
    large_frame_timeout: float = 30.0

    #: Silence after which a connection is pinged, and after which it is cut.
    ping_after: float = 10.0
    dead_after: float = 15.0
    #: How long the kernel keeps unacknowledged data (``TCP_USER_TIMEOUT``).
    unacknowledged: float = 5.0
    #: Unused connections of peer calls are closed after this time, at the next call.
    idle_call_connection: float = 60.0
    #: A bulk stream is renewed after this time, before gRPC ends its connection because of its age.
    stream_age: float = 5 * 3600.0

    #: A snapshot's sender: no progress; no answer after the last byte.
    snapshot_stall: float = 10.0
    snapshot_answer: float = 60.0
    #: A braft peer accepts or refuses a snapshot within this time; others only answer at the end.
    snapshot_accept: float = 0.5
    #: A snapshot's receiver checks the rate each time it has waited for the sender this long.
    snapshot_pace: float = 30.0
    #: A snapshot's receiver: no message; then time for the sender to read the answer.
    snapshot_silence: float = 30.0
    snapshot_linger: float = 5.0
