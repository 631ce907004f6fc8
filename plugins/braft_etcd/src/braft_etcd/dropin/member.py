"""What etcd's flags mean for a node: its settings. Pure, but for the names that it resolves."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from braft_core.addresses import join_host_port
from braft_core.errors import ConfigError
from braft_etcd.dropin.flags import Given

__all__ = ["node_settings"]

_DURATION: Final = re.compile(r"(\d+(\.\d+)?(ns|us|ms|s|m|h))+")
_TRUE: Final = ("true", "t", "1")
_FALSE: Final = ("false", "f", "0")
_MAX: Final = (1 << 63) - 1
_LEVELS: Final = ("debug", "info", "warn", "error")


class _Url(NamedTuple):
    scheme: str
    host: str
    port: int
    text: str


def node_settings(given: Given) -> dict[str, Any]:
    """Return the keyword arguments of :class:`braft_core.Node`, with the plugin's options.

    :raises ConfigError: a value is not accepted, or values do not fit together.
    """
    return _Member(given).settings()


class _Member:
    def __init__(self, given: Given) -> None:
        self._values = given.values
        self._named = given.named

    def settings(self) -> dict[str, Any]:
        name = self._values["name"]
        peer = self._advertised_peer()
        listen_peer = self._url("listen-peer-urls")
        if peer.port != listen_peer.port:
            raise self._wrong(
                "initial-advertise-peer-urls", f"the port of --listen-peer-urls, {listen_peer.port}"
            )
        found: dict[str, Any] = {
            "data_dir": self._values["data-dir"] or f"{name}.etcd",
            "cluster_name": self._values["initial-cluster-token"],
            "ip": _address(peer),
            "host": _listened(listen_peer),
            "rport": peer.port,
            "log": self._log_level(),
            "log_format": self._one_of("log-format", ("console", "json")),
            "store_history": self._history(),
            "plugins": {"etcd": self._options(name)},
            **self._cluster(name, peer),
            **self._durations(),
        }
        for flag, setting in (
            ("quota-backend-bytes", "store_max_bytes"),
            ("snapshot-count", "snapshot_entries"),
        ):
            if number := self._number(flag):
                found[setting] = number
        return found

    # -- members ---------------------------------------------------------------------------------

    def _advertised_peer(self) -> _Url:
        flag = "initial-advertise-peer-urls"
        url = self._url(flag if self._values[flag] else "listen-peer-urls")
        if _is_unspecified(url.host):
            raise self._wrong(flag, "a URL under which the other members reach this one")
        return url

    def _cluster(self, name: str, peer: _Url) -> dict[str, Any]:
        flag = "initial-cluster"
        state = self._one_of("initial-cluster-state", ("new", "existing"))
        text = self._values[flag] or f"{name}={peer.text}"
        members: dict[str, _Url] = {}
        for part in text.split(","):
            member, _, url = part.strip().partition("=")
            if not member or member in members:
                raise self._wrong(flag, "name=URL for each member, one URL each, with commas")
            members[member] = self._parsed(flag, url)
        if name not in members:
            raise self._wrong(flag, f"the name of this member, {name!r}, among the others")
        own = members.pop(name)
        if (own.host, own.port) != (peer.host, peer.port):
            raise self._wrong(
                flag, f"the URL of {name} as --initial-advertise-peer-urls has it, {peer.text}"
            )
        others = [join_host_port(url.host, url.port) for url in members.values()]
        if state == "existing":
            if not others:
                raise self._wrong(flag, "with --initial-cluster-state=existing, other members too")
            # A node that is not in its list only joins.
            return {"discovery": f"static:{','.join(others)}"}
        if not others:
            return {"discovery": "none"}
        everybody = [join_host_port(own.host, own.port), *others]
        return {"discovery": f"static:{','.join(everybody)}", "expect": len(everybody)}

    # -- clients ---------------------------------------------------------------------------------

    def _options(self, name: str) -> dict[str, Any]:
        listen = self._url("listen-client-urls")
        flag = "advertise-client-urls"
        advertised = self._url(flag if self._values[flag] else "listen-client-urls")
        if self._values[flag] and _is_unspecified(advertised.host):
            raise self._wrong(flag, "a URL under which clients reach this member")
        found: dict[str, Any] = {
            "server": "http2",
            "name": name,
            "listen": join_host_port(_listened(listen), listen.port),
            "progress": self._duration("watch-progress-notify-interval"),
        }
        if not _is_unspecified(advertised.host):
            found["advertise"] = advertised.text
        found |= self._certificates(listen.scheme)
        for flag, option in (
            ("max-request-bytes", "request_bytes"),
            ("max-concurrent-streams", "max_streams"),
        ):
            if number := self._number(flag):
                found[option] = number
        return found

    def _certificates(self, scheme: str) -> dict[str, str]:
        cert, key, ca = (
            self._values[flag] for flag in ("cert-file", "key-file", "trusted-ca-file")
        )
        if bool(cert) != bool(key):
            raise ConfigError("--cert-file and --key-file are given together", setting="cert-file")
        if (scheme == "https") != bool(cert):
            raise self._wrong(
                "listen-client-urls",
                "https with --cert-file and --key-file, http without them",
            )
        wanted = self._switch("client-cert-auth")
        if (wanted and not ca) or (ca and not cert):
            raise ConfigError(
                "--client-cert-auth needs --trusted-ca-file, and that needs --cert-file",
                setting="trusted-ca-file",
            )
        files = {"tls_cert": cert, "tls_key": key, "client_ca": ca}
        return {option: path for option, path in files.items() if path}

    # -- numbers and times -----------------------------------------------------------------------

    def _history(self) -> str:
        """Return age and number of the revisions that stay; 0 sets no bound, as etcd's default."""
        retention = self._values["auto-compaction-retention"]
        if self._one_of("auto-compaction-mode", ("periodic", "revision")) == "revision":
            return f"0,{self._number('auto-compaction-retention')}"
        if retention.isdecimal():
            return f"{retention}h,0" if int(retention) else "0,0"
        return f"{self._duration('auto-compaction-retention')},0"

    def _durations(self) -> dict[str, str]:
        pairs = (
            ("heartbeat-interval", "heartbeat_interval"),
            ("election-timeout", "election_timeout"),
        )
        return {setting: f"{number}ms" for flag, setting in pairs if (number := self._number(flag))}

    def _duration(self, flag: str) -> str:
        value = self._values[flag]
        if not _DURATION.fullmatch(value):
            raise self._wrong(flag, "a duration such as 10m, 1h30m or 500ms")
        return value

    def _number(self, flag: str) -> int:
        """Return a number; 0 for none, which is etcd's word for its default."""
        value = self._values[flag] or "0"
        if not (value.isascii() and value.isdecimal()) or len(value) > 19 or int(value) > _MAX:
            raise self._wrong(flag, "a whole number that is not negative")
        return int(value)

    # -- words -----------------------------------------------------------------------------------

    def _log_level(self) -> str:
        level = self._one_of("log-level", _LEVELS)
        return "warning" if level == "warn" else level

    def _switch(self, flag: str) -> bool:
        return self._one_of(flag, _TRUE + _FALSE) in _TRUE

    def _one_of(self, flag: str, words: tuple[str, ...]) -> str:
        value = self._values[flag]
        if value not in words:
            raise self._wrong(flag, ", ".join(words))
        return value

    def _url(self, flag: str) -> _Url:
        return self._parsed(flag, self._values[flag])

    def _parsed(self, flag: str, text: str) -> _Url:
        text = text.strip()
        try:
            url = urlsplit(text)
            host, port = url.hostname, url.port
        except ValueError:
            host, port = None, None
        if not host or not port or url.scheme not in ("http", "https") or url.path not in ("", "/"):
            raise self._wrong(flag, "one URL such as http://10.0.0.1:2379")
        if url.scheme == "https" and "client" not in flag:
            raise self._wrong(
                flag, "http://; TLS between members is chosen by BRAFT_TLS and its files"
            )
        return _Url(url.scheme, host, port, text.rstrip("/"))

    def _wrong(self, flag: str, accepted: str) -> ConfigError:
        given = self._named.get(flag, f"--{flag}={self._values[flag]}")
        return ConfigError(f"{given:.300}; accepted: {accepted}", setting=f"--{flag}")


def _address(url: _Url) -> str:
    """Return the address that a URL names. :raises ConfigError: its name does not resolve."""
    try:
        return str(ipaddress.ip_address(url.host))
    except ValueError:
        pass
    if url.host == "localhost":
        return "127.0.0.1"
    try:
        return socket.gethostbyname(url.host)
    except OSError as error:
        raise ConfigError(
            f"--initial-advertise-peer-urls={url.text}: {url.host} does not resolve: {error}",
            setting="--initial-advertise-peer-urls",
        ) from error


def _listened(url: _Url) -> str:
    return "127.0.0.1" if url.host == "localhost" else url.host


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
