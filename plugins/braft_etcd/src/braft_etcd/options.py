"""The options of ``[plugins.etcd]`` and ``BRAFT_ETCD_*``."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from braft_core.plugin.options import (
    Accepts,
    File,
    PluginOptions,
    PositiveDuration,
    PositiveInt,
    Text,
)

__all__ = ["EtcdOptions"]

_SERVERS: Final = ("", "off", "http2", "grpcio")
_VERSION: Final = re.compile(r"3\.\d{1,3}\.\d{1,3}")


def _server(value: str) -> str:
    if value not in _SERVERS:
        raise ValueError("no such server")
    return value


def _version(value: str) -> str:
    if not _VERSION.fullmatch(value):
        raise ValueError("not a version")
    return value


class EtcdOptions(PluginOptions):
    """Options of the etcd v3 API. It is served if ``server`` or ``listen`` is set."""

    section = "etcd"

    server: Annotated[
        Text,
        AfterValidator(_server),
        Accepts("http2, grpcio (gRPC alone), off, or nothing: http2 if listen is set, else off"),
    ] = ""
    """What serves the etcd API; setting it turns the API on."""
    listen: Annotated[Text, Accepts("host:port; port 0 for a free one")] = ""
    """Where the etcd API listens. Default: the node's address, Raft's port + 3."""
    advertise: Annotated[Text, Accepts("a URL such as http://10.0.0.1:2379")] = ""
    """The URL that member lists give to clients of this node. Default: where it listens."""
    name: Text = ""
    """The name of this node in member lists. Default: the name of the host."""
    tls_cert: File | None = None
    """PEM file of the certificate that clients are shown; with tls_key."""
    tls_key: File | None = None
    """PEM file of its private key."""
    client_ca: File | None = None
    """PEM file of the CAs whose certificates clients must show. Not the CA of the nodes, whose
    certificates give all rights."""
    progress: PositiveDuration = 600.0
    """How long a watch that asked for progress notifications is quiet before one."""
    request_bytes: Annotated[PositiveInt, Field(ge=1024, le=1 << 28)] = 1_572_864
    """The largest request; 512 KiB more are accepted for its framing."""
    max_streams: Annotated[PositiveInt, Field(le=1 << 20)] = 4_096
    """The most calls at once on one connection."""
    max_connections: Annotated[PositiveInt, Field(le=1 << 20)] = 4_096
    """The most connections at once."""
    version: Annotated[Text, AfterValidator(_version), Accepts("3.x.y")] = "3.6.0"
    """The version of etcd that clients are answered."""

    @property
    def chosen_server(self) -> str:
        """``http2``, ``grpcio`` or "" for none."""
        if self.server in ("off", ""):
            return "http2" if self.listen and not self.server else ""
        return self.server
