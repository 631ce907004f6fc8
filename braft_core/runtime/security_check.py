"""What a node leaves open to others: the sentence of its log at the start, or the refusal.

Pure. Without ``BRAFT_INSECURE`` and a token nothing is refused, only warned of: a closed network is
a good reason to want neither TLS nor a token.
"""

from __future__ import annotations

import ipaddress

from braft_core.config import Settings
from braft_core.errors import ConfigError

__all__ = ["check_security", "is_loopback", "security_warning", "serves_reflection"]

_TLS = "BRAFT_TLS_CA, BRAFT_TLS_CERT and BRAFT_TLS_KEY"
_LOOPBACK = "BRAFT_IP=127.0.0.1 for a node of this machine only"


def security_warning(settings: Settings, host: str) -> str:
    """Why it is dangerous to listen on ``host`` like this, and what to set; "" if it is not."""
    if is_loopback(host):
        return ""
    open_to = []
    wanted = []
    if settings.tls_mode != "require":
        open_to.append("what nodes say to each other is neither encrypted nor authenticated")
        wanted.append(_TLS if settings.tls_ca is None else "BRAFT_TLS=require")
    if not _has_token(settings) and (settings.http or settings.tls_mode != "require"):
        open_to.append("whoever reaches the ports can read, write and change members")
        wanted.append("BRAFT_TOKEN")
    if not wanted:
        return ""
    return (
        f"this node listens on {host}, not on loopback alone: {', and '.join(open_to)}. Set "
        f"{', and '.join(wanted)}, or {_LOOPBACK}, or BRAFT_INSECURE=on if the network is trusted"
    )


def check_security(settings: Settings, host: str) -> None:
    """Refuse to listen on ``host`` without TLS where the settings forbid it.

    A token says that the network is not trusted, and clients would send it there in clear. So it
    needs TLS, or ``BRAFT_INSECURE=on`` by name.

    :raises ConfigError: ``insecure`` is off, or a token is set and it is not on, and the node would
        listen beyond loopback in clear.
    """
    if settings.insecure is None and _has_token(settings):
        _check_token(settings, host)
    if settings.insecure is not False or settings.tls_mode == "require" or is_loopback(host):
        return
    label = settings.label("insecure")
    accepted = f"{_TLS}; or {_LOOPBACK}; or {label}=on"
    raise ConfigError(
        f"{label}=off: this node would listen on {host}, not on loopback alone, without TLS; "
        f"accepted: {accepted}",
        setting=label,
        value="off",
        accepted=accepted,
    )


def _check_token(settings: Settings, host: str) -> None:
    if settings.tls_mode != "off" or is_loopback(host):
        return
    label = settings.label("token" if settings.token is not None else "token_file")
    accepted = f"{_TLS}; or {_LOOPBACK}; or BRAFT_INSECURE=on if the network is trusted"
    raise ConfigError(
        f"{label} is set, and this node would listen on {host}, not on loopback alone, without "
        f"TLS: clients would send the token in clear; accepted: {accepted}",
        setting=label,
        value="**********",
        accepted=accepted,
    )


def serves_reflection(settings: Settings, host: str) -> bool:
    """Return whether gRPC reflection is served: on loopback, to those with a token, or as set.

    It tells nobody more than the source code does, but shows that braft is what listens here.
    """
    if settings.provenance["grpc_reflection"] != "default":
        return settings.grpc_reflection
    return is_loopback(host) or _has_token(settings)


def _has_token(settings: Settings) -> bool:
    return settings.token is not None or settings.token_file is not None


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a socket that is bound to ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
