"""Rules between settings, checked after each setting was validated by itself."""

from __future__ import annotations

from typing import Protocol

from braft_core.errors import ConfigError

__all__ = ["check_consistency"]


class _Settings(Protocol):
    """What the rules need of the settings."""

    def label(self, name: str) -> str:
        """Return the name by which the user knows a setting."""

    @property
    def election_timeout(self) -> float: ...

    @property
    def heartbeat_interval(self) -> float: ...

    @property
    def http_server(self) -> str: ...

    @property
    def http_tls(self) -> object: ...

    @property
    def http_tls_files(self) -> object: ...

    @property
    def tls(self) -> str | None: ...

    @property
    def tls_mode(self) -> str: ...

    @property
    def token(self) -> object: ...

    @property
    def token_file(self) -> object: ...


def check_consistency(settings: _Settings) -> None:
    """Check the settings against each other.

    :raises ConfigError: two settings contradict each other; names both.
    """
    _check_tls(settings)
    _check_http(settings)
    _check_tokens(settings)
    _check_ports(settings)
    _check_timing(settings)


def _check_tls(settings: _Settings) -> None:
    names = ("tls_ca", "tls_cert", "tls_key")
    missing = [name for name in names if getattr(settings, name) is None]
    given = [name for name in names if name not in missing]
    if missing and given:
        raise ConfigError(
            f"{_labels(settings, given)} without {_labels(settings, missing)}; "
            "accepted: all three TLS files or none",
            setting=settings.label(missing[0]),
            accepted="all three TLS files or none",
        )
    if given:
        return
    if settings.tls_mode != "off":
        label = settings.label("tls")
        raise ConfigError(
            f"{label}={settings.tls} without certificates; accepted: {label}=off, or all of "
            f"{_labels(settings, list(names))}",
            setting=label,
            value=settings.tls,
        )
    for name in ("tls_peer_names", "tls_server_name"):
        if getattr(settings, name):
            label = settings.label(name)
            raise ConfigError(
                f"{label} without certificates has no effect; accepted: {label} together with all "
                f"of {_labels(settings, list(names))}, or none of them",
                setting=label,
            )


def _check_http(settings: _Settings) -> None:
    given = [n for n in ("http_tls_cert", "http_tls_key") if getattr(settings, n) is not None]
    label, files = settings.label("http_tls"), "BRAFT_HTTP_TLS_CERT and BRAFT_HTTP_TLS_KEY"
    if len(given) == 1:
        raise ConfigError(
            f"{settings.label(given[0])} is set alone; accepted: both {files}, or neither",
            setting=settings.label(given[0]),
        )
    if settings.http_tls and settings.http_tls_files is None:
        raise ConfigError(
            f"{label}=on without a certificate; accepted: {label}=on together with {files}, or "
            "with the node's own certificate",
            setting=label,
        )
    if settings.http_tls_files is not None and settings.http_server != "uvicorn":
        raise ConfigError(
            f"{settings.label('http_server')}={settings.http_server} does not support TLS; "
            "accepted: uvicorn, or HTTP without TLS",
            setting=settings.label("http_server"),
        )


def _check_tokens(settings: _Settings) -> None:
    if settings.token is not None and settings.token_file is not None:
        both = _labels(settings, ["token", "token_file"])
        raise ConfigError(
            f"{both} are both set; accepted: one of them",
            setting=settings.label("token_file"),
            accepted="one of them",
        )


def _check_ports(settings: _Settings) -> None:
    """Check the ports that follow from the settings alone; 0 means any free port."""
    known: dict[int, str] = {}
    previous: int | None = None
    for name in ("rport", "dport", "hport"):
        port: int | None = getattr(settings, name)
        label = settings.label(name)
        if port is None and previous:
            port = previous + 1
            label = f"{label} (not set, so {port})"
        previous = port
        if not port:
            continue
        if port > 65535:
            raise ConfigError(
                f"{label}: out of range; accepted: a port from 1 to 65535", setting=label
            )
        if port in known:
            raise ConfigError(
                f"{known[port]} and {label} are both port {port}; accepted: three different ports",
                setting=label,
                value=str(port),
                accepted="three different ports",
            )
        known[port] = label


def _check_timing(settings: _Settings) -> None:
    heartbeat, election = settings.heartbeat_interval, settings.election_timeout
    if heartbeat * 2 > election:
        label = settings.label("election_timeout")
        accepted = "an election timeout of at least twice the heartbeat interval"
        raise ConfigError(
            f"{label}={election:g}s with {settings.label('heartbeat_interval')}={heartbeat:g}s: "
            f"followers would depose a healthy leader; accepted: {accepted}",
            setting=label,
            accepted=accepted,
        )


def _labels(settings: _Settings, names: list[str]) -> str:
    return " and ".join(settings.label(name) for name in names)
