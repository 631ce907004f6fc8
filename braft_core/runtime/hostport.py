"""``host:port`` as text."""

from __future__ import annotations

__all__ = ["join_host_port"]


def join_host_port(host: str, port: int) -> str:
    """``host:port``, with an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
