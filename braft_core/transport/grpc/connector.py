"""Makes gRPC channels and servers: options, TLS, listening.

Owns every tunable of the HTTP/2 layer; knows nothing of what is sent.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from braft_core.abc import TransportOptions
from braft_core.addresses import Address, AddressKind, parse_address, parse_listen
from braft_core.errors import ConfigError, DecodeError
from braft_core.file_descriptors import inbound_connection_limit
from braft_core.transport.certificates import Certificates
from braft_core.transport.grpc.call_mac import MAC_SIZE
from braft_core.transport.grpc.port_mux import PortMux
from braft_core.transport.tls_probe import TLSProbe, TLSProbeCache

if TYPE_CHECKING:
    from braft_core.tls.material import TLSMaterial

__all__ = ["MAX_STREAMS", "Connector"]

#: Calls of one connection that may be under way.
MAX_STREAMS = 256

_COMMON = (
    # Pings find dead hosts on idle connections, the only ones that Raft itself does not watch.
    # The timeout is TCP_USER_TIMEOUT too: what the other host does not take for so long is dropped
    # with the connection, instead of arriving when it is of no use any more.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
#: Limits on the memory that a peer can make us use, at either end of a connection.
_BOUNDED = (
    # We never compress, and a hostile client's two megabytes can decompress to gigabytes.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # Otherwise each stream that nobody reads takes in megabytes, where the path is fast.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_metadata_size", 8 << 10),
    ("grpc.absolute_max_metadata_size", 16 << 10),
)
_CLIENT = (
    *_COMMON,
    *_BOUNDED,
    # Cluster traffic never belongs into the proxy of the environment.
    ("grpc.enable_http_proxy", 0),
    # One TCP connection per channel, so that channels do not share flow control.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Doubles as the limit of one attempt to connect.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
)
_SERVER = (
    *_COMMON,
    # A second process on our port must fail, not share it.
    ("grpc.so_reuseport", 0),
    *_BOUNDED,
    # A peer pings every 10 s. A faster one, without a message of ours in between, is cut off.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 8),
    # Seconds for TLS, and for the first frame of HTTP/2.
    ("grpc.server_handshake_timeout_ms", 5_000),
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    # Calls that are not accepted yet.
    ("grpc.server.max_pending_requests", 2_000),
    ("grpc.server.max_pending_requests_hard_limit", 4_000),
    # Rather than at once for all: gRPC spreads these times by a tenth. Calls get an hour to end.
    ("grpc.max_connection_age_ms", 6 * 3_600_000),
    ("grpc.max_connection_age_grace_ms", 3_600_000),
)


class Connector:
    """Makes channels and listening ports as the options say. Used on the loop only."""

    def __init__(
        self,
        options: TransportOptions,
        certificates: Certificates | None,
        tls_probes: TLSProbeCache,
    ) -> None:
        self._ports = len(options.listen)
        self._mac_bytes = MAC_SIZE if options.keyring.current else 0
        self._receive_limit = (
            "grpc.max_receive_message_length",
            options.max_message_bytes + self._mac_bytes,
        )
        self._certificates = certificates
        self._mux = (
            PortMux(options.timing) if certificates is not None and certificates.prefer else None
        )
        self._bound = False
        #: Recent probes of servers.
        self.tls_probes = tls_probes

    def is_current(self, found: TLSProbe) -> bool:
        """Return whether our certificates are the same as at that probe.

        A channel keeps the certificates that it was made with.
        """
        return self._certificates is None or found.material is self._certificates.current

    def channel(
        self, address: str, found: TLSProbe, largest: int | None = None
    ) -> grpc.aio.Channel:
        """Make an unshared channel to ``address``; it connects when first used.

        :param found: the server's probe. No other certificate is accepted.
        :param largest: limit of an answer in bytes, if lower than that of all messages.
        :raises DecodeError: ``address`` is not ``host:port``.
        """
        target = _target(parse_address(address))
        limit = self._receive_limit if largest is None else (self._receive_limit[0], largest)
        options: tuple[tuple[str, object], ...] = (*_CLIENT, limit)
        if not found.certificate or found.material is None:
            return grpc.aio.insecure_channel(target, options=options)
        _, cert, key = found.material.pem
        # Trust exactly the probed certificate; the probe verified that it chains to the CA.
        shown = ssl.DER_cert_to_PEM_cert(found.certificate).encode()
        credentials = grpc.ssl_channel_credentials(shown, key, cert)
        if self._certificates is not None and self._certificates.server_name:
            options += (("grpc.ssl_target_name_override", self._certificates.server_name),)
        return grpc.aio.secure_channel(target, credentials, options=options)

    def bind(self, server: grpc.aio.Server, address: str) -> str:
        """Let ``server`` listen; returns ``host:port`` with the port that was chosen for 0.

        :raises ConfigError: if the address is taken or is not one of this host.
        """
        try:
            place = parse_listen(address)
            if self._mux is not None and self._certificates is not None:
                port = self._mux.listen(place)
                self._bind_behind(server, self._mux, self._certificates)
            elif self._certificates is None:
                port = server.add_insecure_port(str(place))
            else:
                port = server.add_secure_port(str(place), _server_credentials(self._certificates))
        except (OSError, RuntimeError, DecodeError) as error:
            raise _not_bound(address) from error
        if port == 0:
            raise _not_bound(address)
        return str(replace(place, port=port))

    async def open(self) -> None:
        """Begin to serve the bound ports, after the server has started."""
        if self._mux is not None:
            await self._mux.open()

    async def close(self) -> None:
        """Stop serving. Idempotent."""
        if self._mux is not None:
            await self._mux.close()

    def _bind_behind(
        self, server: grpc.aio.Server, front: PortMux, certificates: Certificates
    ) -> None:
        if not self._bound:
            self._bound = True
            server.add_insecure_port(front.plain)
            server.add_secure_port(front.tls, _server_credentials(certificates))

    def server(self) -> grpc.aio.Server:
        """Make a server without services."""
        connections = inbound_connection_limit() // max(1, self._ports)
        limit = ("grpc.max_allowed_incoming_connections", max(1, connections))
        return grpc.aio.server(options=(*_SERVER, limit, self._receive_limit))


def _target(place: Address) -> str:
    """Return the gRPC target of a place, with its scheme.

    Without one, gRPC takes the beginning of a text for a scheme if it looks like one, and then may
    connect to a local socket or ask a name service.
    """
    if place.kind is AddressKind.DNS:
        return f"dns:///{place}"
    return f"{place.kind.value}:{place}".replace("%", "%25")  # the scope of an IPv6 address


def _server_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Return credentials for a port, whose every handshake uses the current certificates."""
    initial = certificates.current
    return grpc.dynamic_ssl_server_credentials(
        _configuration(initial), _changes(certificates, initial), require_client_authentication=True
    )


def _changes(
    certificates: Certificates, served: TLSMaterial
) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Return new certificates, or ``None``. Called by a gRPC thread before each handshake."""
        nonlocal served
        current = certificates.current
        if current is served:
            return None
        configuration = _configuration(current)
        served = current
        return configuration

    return fetch


def _configuration(material: TLSMaterial) -> grpc.ServerCertificateConfiguration:
    ca, cert, key = material.pem
    return grpc.ssl_server_certificate_configuration([(key, cert)], ca)


def _not_bound(address: str) -> ConfigError:
    return ConfigError(
        f"cannot listen on {address}: another process uses the port, or the address is not one of "
        "this host's; choose another port (BRAFT_RPORT, BRAFT_DPORT) or address (BRAFT_IP)",
        address=address,
    )
