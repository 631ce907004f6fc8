"""What a node leaves open to others: the sentence that its log warns with when it starts.

Pure. Nothing is refused: a closed network is a good reason to want neither TLS nor a token.
"""

from __future__ import annotations

import ipaddress

from braft_core.config import Settings

__all__ = ["exposure"]


def exposure(settings: Settings, host: str) -> str:
    """Why it is dangerous to listen on ``host`` like this, and what to set; "" if it is not."""
    if _is_loopback(host):
        return ""
    open_to = []
    wanted = []
    if settings.tls_ca is None:
        open_to.append("what nodes say to each other is neither encrypted nor authenticated")
        wanted.append("BRAFT_TLS_CA, BRAFT_TLS_CERT and BRAFT_TLS_KEY")
    if settings.token is None and (settings.http or settings.tls_ca is None):
        open_to.append("whoever reaches the ports can read, write and change members")
        wanted.append("BRAFT_TOKEN")
    if not wanted:
        return ""
    return (
        f"this node listens on {host}, not on loopback alone: {', and '.join(open_to)}. Set "
        f"{', and '.join(wanted)}, or BRAFT_IP=127.0.0.1 for a node of this machine only; see "
        "docs/operations.md"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
