"""How one peer stands with us, and so what the node and the log are told of it."""

from __future__ import annotations

import logging

from braft_core.errors import AccessDenied, BraftError
from braft_core.raft.messages import Response
from braft_core.transport.endpoint import LocalEndpoint

__all__ = ["PeerHealthReporter"]


class PeerHealthReporter:
    """Tells each trouble once, until the peer answers again. Used on the loop only.

    :param log: where refusals are told.
    """

    def __init__(self, local: LocalEndpoint, server_id: str, log: logging.Logger) -> None:
        self._local, self._server_id, self._log = local, server_id, log
        self._reported = False
        self._refusal = ""

    def report_dropped(self) -> None:
        """A request to it was not sent, or nobody will answer it."""
        self._local.counters["dropped"] += 1
        if not self._reported:
            self._reported = True
            self._local.handler.on_unreachable(self._server_id)

    def report_connected(self) -> None:
        """There is a connection: the next trouble is news."""
        self._reported = False

    def deliver(self, response: Response) -> None:
        """It answered."""
        self._reported = False
        self.forget_refusal()
        self._local.handler.on_message(response)

    def forget_refusal(self) -> None:
        """Forget why it refused us."""
        self._refusal = ""
        self._local.denied.pop(self._server_id, None)

    def report_refused(self, error: BraftError, address: str) -> None:
        """It will have nothing to do with us."""
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
        """By its certificate it is no peer, so that we have nothing to do with it."""
        if error.message != self._refusal:
            self._refusal = error.message
            self._log.warning("server %s is not talked to: %s", self._server_id, error.message)
