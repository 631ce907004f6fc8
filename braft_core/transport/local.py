"""This node's end of its connections, as far as every transport needs it."""

from __future__ import annotations

from collections import Counter

from braft_core.abc import Identity, TransportHandler, TransportOptions
from braft_core.transport.codec import EntriesCache, encode_header
from braft_core.transport.tls import Certificates

__all__ = ["LocalNode"]


class LocalNode:
    """Who we are, whom we tell, and what we count. Used on the loop only.

    :raises ConfigError: a TLS file cannot be used.
    """

    def __init__(self, options: TransportOptions, handler: TransportHandler) -> None:
        self.options = options
        self.handler = handler
        self.entries = EntriesCache()
        self.certificates = Certificates(options.tls) if options.tls is not None else None
        #: ``refused_*``: who or what we refused; ``refused_by_peer``; ``dropped``: not sent.
        self.counters: Counter[str] = Counter()
        self._header_of = ("", "")
        self._header = b""

    @property
    def identity(self) -> Identity:
        """Who this node is now."""
        return self.handler.identity

    @property
    def header(self) -> bytes:
        """The encoded RPC header."""
        identity = self.handler.identity
        who = (identity.server_id, identity.address)
        if who != self._header_of:
            self._header_of, self._header = who, encode_header(*who)
        return self._header
