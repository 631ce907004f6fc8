"""The options that commands share, and the client that they select."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braft_core.errors import ConfigError
from braft_core.tokens import secret_of

if TYPE_CHECKING:
    from braft_core.client import Client
    from braft_core.cluster_types import Consistency

__all__ = [
    "AsJson",
    "Stale",
    "TLSCa",
    "TLSCert",
    "TLSKey",
    "Timeout",
    "Token",
    "Urls",
    "connect",
    "consistency_of",
]

DEFAULT_TIMEOUT = 5.0

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Urls = Annotated[
    list[str] | None,
    typer.Option(
        "--url",
        help="A node's HTTP address; repeat it for more nodes."
        " [default: BRAFT_URL, else this host's node]",
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="BRAFT_TOKEN", help="Bearer token.", show_default=False),
]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.05, max=60.0, help="Seconds for a node to answer.")
]
Stale = Annotated[
    bool, typer.Option("--stale", help="Read the node's own state, which may be old.")
]


TLSCa = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="BRAFT_TLS_CA",
        help="CA certificates to verify an https:// node with.",
        show_default=False,
    ),
]
TLSCert = Annotated[
    Path | None,
    typer.Option("--cert", help="A client's certificate, with --key.", show_default=False),
]
TLSKey = Annotated[
    Path | None, typer.Option("--key", help="The client's private key.", show_default=False)
]


def consistency_of(stale: bool) -> Consistency:
    """Return the consistency that ``--stale`` selects."""
    return "stale" if stale else "linearizable"


def connect(
    urls: Sequence[str] | None,
    token: str | None,
    timeout: float,
    tls_ca: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> Client:
    """Return a client for the nodes of ``--url``, else of ``BRAFT_URL``, else for this host's node.

    :raises ConfigError: a URL or a setting is wrong.
    """
    from braft_core.client import Client, Trust

    listed = list(urls or ()) or re.split(r"[,\s]+", os.environ.get("BRAFT_URL", ""))
    chosen = [url for url in listed if url]
    if not chosen:
        chosen, token = _own_node(token)
    name = os.environ.get("BRAFT_TLS_SERVER_NAME") or None
    trust = Trust(tls_ca, tls_cert, tls_key, name)
    secret = secret_of(token) if token else None
    insecure = _trusts_the_network()
    return Client(chosen, token=secret, timeout=timeout, trust=trust, insecure=insecure)


def _trusts_the_network() -> bool:
    from braft_core.config import Settings

    try:
        return Settings.load().insecure is True
    except ConfigError:
        return False  # a client needs no valid settings of a node


def _own_node(token: str | None) -> tuple[list[str], str | None]:
    from braft_core.config import Settings, TokenSource
    from braft_core.runtime.location import expected_ports

    settings = Settings.load()
    if token is None:
        token = TokenSource(settings).keyring.current.first
    scheme = "http" if settings.http_tls_files is None else "https"
    return [f"{scheme}://127.0.0.1:{expected_ports(settings).http}"], token
