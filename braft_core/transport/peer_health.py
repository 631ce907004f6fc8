"""Reports a peer's connectivity to the node and the log."""

from __future__ import annotations

import logging

from braft_core.errors import AccessDenied, BraftError
from braft_core.raft.messages import Response
from braft_core.transport.endpoint import LocalEndpoint

__all__ = ["PeerHealthReporter"]


class PeerHealthReporter:
    """Reports each failure of one peer once, until it answers again. Used on the loop only.

    :param log: the transport's logger, for refusals.
    """

    def __init__(self, local: LocalEndpoint, server_id: str, log: logging.Logger) -> None:
        self._local, self._server_id, self._log = local, server_id, log
        self._reported = False
        self._refusal = ""

    def report_dropped(self) -> None:
        """Count a request that was dropped, or will get no response."""
        self._local.counters["dropped"] += 1
        if not self._reported:
            self._reported = True
            self._local.handler.on_unreachable(self._server_id)

    def report_connected(self) -> None:
        """Note that a connection stands, so that the next failure is reported."""
        self._reported = False

    def deliver(self, response: Response) -> None:
        """Hand a response to the node."""
        self._reported = False
        self.forget_refusal()
        self._local.handler.on_message(response)

    def forget_refusal(self) -> None:
        """Forget why the peer refused us."""
        self._refusal = ""
        self._local.denied.pop(self._server_id, None)

    def report_refused(self, error: BraftError, address: str) -> None:
        """Count and log that the peer rejected us."""
        self._local.counters["refused_by_peer"] += 1
        if isinstance(error, AccessDenied):
            self._local.denied[self._server_id] = error.message
        if error.message != self._refusal:
            self._refusal = error.message
            self._log.warning(
                "%s: %s, known as server %s, refuses us: %s",
                type(error).__name__,
                address,
                self._server_id,
                error.message,
            )

    def report_untrusted(self, error: BraftError) -> None:
        """Log that we do not connect: the server's certificate is not a peer's."""
        if error.message != self._refusal:
            self._refusal = error.message
            self._log.warning("not connecting to server %s: %s", self._server_id, error.message)
