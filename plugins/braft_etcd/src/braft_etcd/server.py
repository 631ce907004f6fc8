"""The front end: listens, serves gRPC and JSON on one port, announces where."""

from __future__ import annotations

import ipaddress
import logging
import socket
from typing import Any, Final, Protocol

from braft_core.abc import FrontEnd, NodeAPI
from braft_core.addresses import join_host_port, parse_address, parse_listen
from braft_core.errors import ConfigError, DecodeError
from braft_core.http2 import Application, Limits, Server
from braft_core.tokens import Keyring
from braft_etcd.announcing import Announcer
from braft_etcd.api import Api
from braft_etcd.certificates import Certificates, certificates_of
from braft_etcd.gateway import Gateway
from braft_etcd.options import EtcdOptions

__all__ = ["EtcdFrontEnd"]

_log = logging.getLogger(__name__)

#: What the API is a front end of.
_SERVICE: Final = "store"
#: From Raft's port to the port of the API.
_OFFSET: Final = 3
#: What a message may have beside the request that it holds.
_FRAMING: Final = 512 * 1024


class _Served(Protocol):
    """A server of the calls."""

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port."""

    async def stop(self, grace: float) -> None:
        """Stop; calls under way may finish for ``grace`` seconds."""


class EtcdFrontEnd(FrontEnd):
    """The etcd v3 API of one node."""

    def __init__(self, node: NodeAPI, keyring: Keyring, options: EtcdOptions) -> None:
        self._node = node
        self._keyring = keyring
        self._options = options
        self._address = ""
        self._api: Api | None = None
        self._served: _Served | None = None
        self._announcer: Announcer | None = None
        self._certificates: Certificates | None = None

    @property
    def address(self) -> str:
        """The ``host:port`` that it listens on."""
        return self._address

    async def start(self) -> None:
        """Listen, and begin to announce this node to clients.

        :raises ConfigError: an option cannot be met.
        """
        options, services = self._options, self._node.settings.services
        if _SERVICE not in services:
            raise ConfigError(
                f"BRAFT_SERVICES={','.join(services)}: the etcd API needs the service "
                f"{_SERVICE!r}; add it on all nodes, or set BRAFT_ETCD_SERVER=off",
                setting="BRAFT_SERVICES",
            )
        host, port = listening_address(options.listen, self._node.address)
        self._certificates = certificates_of(options)
        self._check_exposure(host)
        api = self._api = Api(self._node, self._keyring, options)
        server = _Grpcio if options.chosen_server == "grpcio" else _Http2
        served: _Served = server(api, options, self._certificates)
        try:
            port = await served.start(host, port)
        except OSError as error:
            raise ConfigError(
                f"BRAFT_ETCD_LISTEN: the etcd API cannot listen on {join_host_port(host, port)}: "
                f"{error.strerror or error}",
                setting="BRAFT_ETCD_LISTEN",
            ) from error
        self._served = served
        self._address = join_host_port(host, port)
        api.start()
        scheme = "https" if options.tls_cert else "http"
        url = options.advertise or f"{scheme}://{join_host_port(self._reachable(host), port)}"
        self._announcer = Announcer(api.backend, options.name or socket.gethostname(), url)
        self._announcer.start()

    def refresh(self) -> None:
        """Reload the certificates if their files were replaced."""
        if self._certificates is not None:
            self._certificates.refresh()

    @property
    def trouble(self) -> str:
        """Why replaced certificates are not in use; "" if there is no problem."""
        return self._certificates.trouble if self._certificates is not None else ""

    def _reachable(self, host: str) -> str:
        """Return the host under which clients reach this node."""
        if host and not _is_unspecified(host):
            return host
        return parse_address(self._node.address).host

    def _check_exposure(self, host: str) -> None:
        if _is_loopback(host):
            return
        options, settings = self._options, self._node.settings
        if self._keyring.current and not options.tls_cert and settings.insecure is not True:
            raise ConfigError(
                f"BRAFT_TOKEN is set, and the etcd API would listen on {host}, not on loopback "
                "alone, without TLS: clients would send the token in clear; accepted: "
                "BRAFT_ETCD_TLS_CERT and BRAFT_ETCD_TLS_KEY, or an address of loopback in "
                "BRAFT_ETCD_LISTEN, or BRAFT_INSECURE=on if the network is trusted",
                setting="BRAFT_ETCD_LISTEN",
            )
        if settings.insecure is False and not options.tls_cert:
            raise ConfigError(
                f"BRAFT_INSECURE=off: the etcd API would listen on {host}, not on loopback alone, "
                "without TLS; accepted: BRAFT_ETCD_TLS_CERT and BRAFT_ETCD_TLS_KEY, or an address "
                "of loopback in BRAFT_ETCD_LISTEN",
                setting="BRAFT_ETCD_LISTEN",
            )
        if not self._keyring.current and not options.client_ca:
            level = logging.INFO if settings.insecure is True else logging.WARNING
            _log.log(
                level,
                "the etcd API listens on %s, not on loopback alone: whoever reaches it can read, "
                "write and change members. Set BRAFT_TOKEN or BRAFT_ETCD_CLIENT_CA, or "
                "BRAFT_INSECURE=on if the network is trusted",
                host,
            )

    async def stop(self, grace: float) -> None:
        """Stop listening, and end all calls."""
        if self._announcer is not None:
            await self._announcer.stop()
        if self._served is not None:
            await self._served.stop(grace)
        if self._api is not None:
            await self._api.stop()


class _Http2:
    """Our own server: gRPC and JSON on one port."""

    def __init__(self, api: Api, options: EtcdOptions, certificates: Certificates | None) -> None:
        gateway = Gateway(api.calls, api, options.version)
        limits = Limits(
            max_message=options.request_bytes + _FRAMING,
            max_concurrent_streams=options.max_streams,
            max_connections=options.max_connections,
        )
        self._server = Server(Application(api.methods(), gateway), limits)
        self._certificates = certificates

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port."""
        certificates = self._certificates
        tls = None if certificates is None else lambda: certificates.current.context
        await self._server.start(host, port, tls)
        return self._server.port

    async def stop(self, grace: float) -> None:
        """Stop; calls under way may finish for ``grace`` seconds."""
        await self._server.stop(grace)


class _Grpcio:
    """grpcio's server: gRPC alone."""

    def __init__(self, api: Api, options: EtcdOptions, certificates: Certificates | None) -> None:
        self._api = api
        self._options = options
        self._certificates = certificates
        self._server: Any = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port."""
        # Not before it is chosen: the import takes long.
        import grpc.aio

        from braft_core.http2.grpc_aio import generic_handler

        options = self._options
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", options.request_bytes + _FRAMING),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", options.max_streams),
                ("grpc.so_reuseport", 0),
            ]
        )
        self._server.add_generic_rpc_handlers((generic_handler(self._api.methods()),))
        address = join_host_port(host or "0.0.0.0", port)  # noqa: S104 - what was asked for
        try:
            if self._certificates is not None:
                credentials = _credentials(self._certificates)
                found = self._server.add_secure_port(address, credentials)
            else:
                found = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        await self._server.start()
        return int(found)

    async def stop(self, grace: float) -> None:
        """Stop; calls under way may finish for ``grace`` seconds."""
        await self._server.stop(grace)


def _credentials(certificates: Certificates) -> Any:
    """Return credentials of grpcio, whose every handshake uses the current certificates."""
    import grpc

    served = certificates.current

    def configuration() -> Any:
        return grpc.ssl_server_certificate_configuration(
            [(served.key, served.cert)], served.client_ca
        )

    def fetch() -> Any:
        """Return new certificates, or ``None``. Called by a thread of gRPC before a handshake."""
        nonlocal served
        current = certificates.current
        if current is served:
            return None
        served = current
        return configuration()

    return grpc.dynamic_ssl_server_credentials(
        configuration(), fetch, require_client_authentication=served.client_ca is not None
    )


def listening_address(listen: str, node: str) -> tuple[str, int]:
    """Return host and port to listen on.

    :param listen: the option; "" for the default.
    :param node: the address that the node advertises.
    :raises ConfigError: the option is not ``host:port``.
    """
    if not listen:
        own = parse_address(node)
        return own.host, own.port + _OFFSET
    try:
        found = parse_listen(listen)
    except DecodeError as error:
        raise ConfigError(
            f"BRAFT_ETCD_LISTEN={listen!r}; accepted: {error.data.get('accepted')}",
            setting="BRAFT_ETCD_LISTEN",
            value=listen,
        ) from error
    return found.host, found.port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
