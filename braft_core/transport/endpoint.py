"""This node's end of its connections: what every transport shares."""

from __future__ import annotations

import logging
from collections import Counter

from braft_core.abc import Identity, TransportHandler, TransportOptions
from braft_core.auth_failures import AuthFailures
from braft_core.transport.admission import NO_PEER, Refusal
from braft_core.transport.certificates import Certificates
from braft_core.transport.raft_codec import EntriesCache, encode_header
from braft_core.transport.tls_probe import TLSProbeCache

__all__ = ["LocalEndpoint"]

_log = logging.getLogger(__name__)


class LocalEndpoint:
    """Identity, handler, tokens, certificates and counters. Used on the loop only.

    :raises ConfigError: a TLS file cannot be used.
    """

    def __init__(self, options: TransportOptions, handler: TransportHandler) -> None:
        self.options = options
        self.handler = handler
        self.timing = options.timing
        self.keyring = options.keyring
        #: Callers without a valid token.
        self.auth_failures = AuthFailures("the Raft port")
        self.entries = EntriesCache()
        self.certificates = Certificates(options.tls) if options.tls is not None else None
        self.tls_probes = TLSProbeCache(self.certificates)
        #: ``refused_*``: what we refused; ``refused_by_peer``; ``dropped``: requests not sent.
        self.counters: Counter[str] = Counter()
        #: By server: why it refuses our token, or why we refuse to call it.
        self.denied: dict[str, str] = {}
        self._header_of = ("", "")
        self._header = b""

    def certificate_refusal(self, certificate: bytes | None) -> Refusal | None:
        """Return why the holder of a certificate is not accepted as a peer, and count it.

        :param certificate: the connection's, DER or PEM; ``None``: the connection has no TLS.
        """
        certificates = self.certificates
        if certificates is None or (certificate is None and certificates.prefer):
            return None
        reason = certificates.peer_refusal(certificate or b"")
        if not reason:
            return None
        self.counters[NO_PEER] += 1
        _log.debug("refused a caller that is not a peer: %s", reason)
        return Refusal(NO_PEER, f"{self.identity.address} takes requests of peers only: {reason}")

    @property
    def identity(self) -> Identity:
        """The node's current identity."""
        return self.handler.identity

    @property
    def header(self) -> bytes:
        """The encoded RPC header."""
        identity = self.handler.identity
        who = (identity.server_id, identity.address)
        if who != self._header_of:
            self._header_of, self._header = who, encode_header(*who)
        return self._header
