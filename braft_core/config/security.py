"""The settings of who may talk to a node, and how: TLS, tokens, HTTP.

A part of :class:`braft_core.config.Settings`, which adds everything else.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict

from braft_core.config import fields as f
from braft_core.config.fields import Variable

__all__ = ["SecuritySettings"]


class SecuritySettings(BaseModel):
    """Immutable, so thread-safe."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

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
    token: Annotated[
        f.Token,
        Variable(
            "secrets of nodes and clients, each with a role; nodes prove to know the first one for "
            "admin, and accept all",
            "BRAFT_TOKEN",
            default="off",
        ),
    ] = None
    token_file: Annotated[
        f.TokenFile,
        Variable(
            "the same from a file, which is read again when it changes",
            "BRAFT_TOKEN_FILE",
            default="off",
        ),
    ] = None
    http: Annotated[f.Flag, Variable("serve HTTP", "BRAFT_HTTP")] = True
    insecure: Annotated[
        f.OptionalFlag,
        Variable(
            "whether a node may listen beyond loopback without TLS: `on` allows it, `off` refuses "
            "to start",
            "BRAFT_INSECURE",
            default="allowed, with one warning",
        ),
    ] = None
