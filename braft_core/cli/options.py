"""The options that every command shares, and the client they lead to."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from braft_core.client import Client

__all__ = ["AsJson", "Timeout", "Token", "Urls", "connect"]

DEFAULT_TIMEOUT = 5.0
DEFAULT_HTTP_PORT = 15002

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


def connect(urls: Sequence[str] | None, token: str | None, timeout: float) -> Client:
    """A client for the nodes that were asked for. :raises ConfigError: a URL is wrong."""
    from braft_core.client import Client

    return Client(list(urls or ()) or _default_urls(), token=token or None, timeout=timeout)


def _default_urls() -> list[str]:
    listed = re.split(r"[,\s]+", os.environ.get("BRAFT_URL", "").strip())
    if any(listed):
        return [url for url in listed if url]
    return [f"http://127.0.0.1:{_own_http_port()}"]


def _own_http_port() -> int:
    """The port on which a node with this environment's settings would listen."""
    from braft_core.config import Settings

    return Settings.load().hport or DEFAULT_HTTP_PORT
