"""How long a server that is about to end waits for its callers. Seconds."""

from __future__ import annotations

__all__ = ["DRAIN", "LIVELY", "STOP_GRACE"]

#: For callers to be answered and to go elsewhere, when the node is about to stop.
DRAIN = 0.5
#: A connection that was used within so many seconds may bring a request at any moment.
LIVELY = 1.0
#: For requests under way to finish when the server stops.
STOP_GRACE = 0.5
