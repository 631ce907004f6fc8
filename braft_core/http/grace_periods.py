"""How long a stopping server waits for its callers, in seconds."""

from __future__ import annotations

__all__ = ["DRAIN", "RECENT", "STOP_GRACE", "WORKER_GRACE"]

#: Most time for callers to get their answers and reconnect elsewhere, before the node stops.
DRAIN = 0.5
#: A connection that was used within this time may bring another request at any moment.
RECENT = 1.0
#: Most time for pending requests to finish when the server stops.
STOP_GRACE = 0.5
#: Most time for blocking work of requests to finish then.
WORKER_GRACE = 1.0
