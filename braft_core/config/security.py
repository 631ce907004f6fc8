"""The settings of TLS, tokens and HTTP, the first part of :class:`braft_core.config.Settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict

from braft_core.config import fields as f
from braft_core.config.fields import Variable

__all__ = ["SecuritySettings"]


class SecuritySettings(BaseModel):
    """Who may talk to a node, and how. Immutable, so thread-safe."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    tls: Annotated[
        f.TLSMode,
        Variable(
            "mutual TLS between nodes: `off`, `prefer` (accept and try both; only for a rolling "
            "change, it keeps nobody out), `require`",
            "BRAFT_TLS",
            default="`require` if certificates are set, else `off`",
        ),
    ] = None
    tls_ca: Annotated[
        f.File,
        Variable("CA certificates of the cluster, for mutual TLS", "BRAFT_TLS_CA", default="off"),
    ] = None
    tls_cert: Annotated[
        f.File, Variable("this node's certificate chain", "BRAFT_TLS_CERT", default="off")
    ] = None
    tls_key: Annotated[
        f.File, Variable("this node's private key", "BRAFT_TLS_KEY", default="off")
    ] = None
    tls_peer_names: Annotated[
        f.TLSNames,
        Variable(
            "names (subject alternative or common) that make the holder of a certificate a peer",
            "BRAFT_TLS_PEER_NAMES",
            default="the server name if set, else any certificate of the CA that is valid for "
            "servers and clients",
        ),
    ] = ()
    tls_server_name: Annotated[
        f.ServerName,
        Variable(
            "the name in every peer's certificate, so that certificates need no addresses",
            "BRAFT_TLS_SERVER_NAME",
            default="the address that is connected to",
        ),
    ] = ""
    token: Annotated[
        f.Token,
        Variable(
            "secrets of nodes and clients, each with a role; a node proves that it knows the first "
            "admin token, and accepts all of them",
            "BRAFT_TOKEN",
            default="off",
        ),
    ] = None
    token_file: Annotated[
        f.TokenFile,
        Variable(
            "a file with the tokens; it is read again when it changes",
            "BRAFT_TOKEN_FILE",
            default="off",
        ),
    ] = None
    hashicorp_peers: Annotated[
        f.Flag,
        Variable(
            "accept Raft messages without proof of the token, for clusters with HashiCorp servers; "
            "anybody who reaches the port can then change the data",
            "BRAFT_HASHICORP_PEERS",
        ),
    ] = False
    snapshot_max_bytes: Annotated[
        f.PositiveInt,
        Variable("largest snapshot accepted from a peer, in bytes", "BRAFT_SNAPSHOT_MAX_BYTES"),
    ] = 64 << 30
    http: Annotated[f.Flag, Variable("serve HTTP", "BRAFT_HTTP")] = True
    http_server: Annotated[
        f.HttpServer,
        Variable(
            "the HTTP server: `uvicorn`, or `waitress`, which needs one thread per request",
            "BRAFT_HTTP_SERVER",
        ),
    ] = "uvicorn"
    http_tls: Annotated[
        f.OptionalFlag,
        Variable(
            "serve HTTP over TLS only, with the two files below or the node's certificate; clients "
            "need a token, not a certificate",
            "BRAFT_HTTP_TLS",
            default="on if the two files below are set, else off",
        ),
    ] = None
    http_tls_cert: Annotated[
        f.File,
        Variable("certificate chain for HTTP", "BRAFT_HTTP_TLS_CERT", default="the node's"),
    ] = None
    http_tls_key: Annotated[
        f.File, Variable("private key for HTTP", "BRAFT_HTTP_TLS_KEY", default="the node's")
    ] = None
    http_hosts: Annotated[
        f.HostNames,
        Variable(
            "further names accepted in the `Host` header, besides addresses, `localhost` and this "
            "machine's name: `braft.example.org,.braft.svc`; `*` accepts any",
            "BRAFT_HTTP_HOSTS",
            default="none",
        ),
    ] = ()
    insecure: Annotated[
        f.OptionalFlag,
        Variable(
            "whether a node may listen beyond loopback without TLS: `on` allows it; with `off` the "
            "node does not start",
            "BRAFT_INSECURE",
            default="allowed, with one warning",
        ),
    ] = None

    @property
    def http_tls_files(self) -> tuple[Path, Path, str] | None:
        """Certificate, key and setting prefix for HTTP; ``None`` if HTTP has no TLS."""
        if self.http_tls is False:
            return None
        if self.http_tls_cert is not None and self.http_tls_key is not None:
            return self.http_tls_cert, self.http_tls_key, "http_tls"
        if self.http_tls and self.tls_cert is not None and self.tls_key is not None:
            return self.tls_cert, self.tls_key, "tls"
        return None

    @property
    def tls_mode(self) -> str:
        """The mode of TLS between nodes: ``off``, ``prefer`` or ``require``."""
        return self.tls or ("require" if self.tls_ca is not None else "off")
