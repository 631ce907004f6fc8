"""etcd's flags, from the command line and from ``ETCD_*``: which there are, and their texts.

A flag is given as ``--name=value`` or ``--name value``, with one hyphen or two; one of the command
line overrules its variable. Flags that would change what is promised are refused with what to do
instead; flags of etcd's own inner works, which have no counterpart, are accepted and noted.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from braft_core.errors import ConfigError

__all__ = ["DEFAULTS", "FLAGS", "Given", "read_flags"]

#: The flags that mean something here, with etcd's defaults.
DEFAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "name": "default",
        "data-dir": "",
        "listen-client-urls": "http://localhost:2379",
        "advertise-client-urls": "",
        "listen-peer-urls": "http://localhost:2380",
        "initial-advertise-peer-urls": "",
        "initial-cluster": "",
        "initial-cluster-state": "new",
        "initial-cluster-token": "etcd-cluster",
        "cert-file": "",
        "key-file": "",
        "trusted-ca-file": "",
        "client-cert-auth": "false",
        "quota-backend-bytes": "0",
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "0",
        "snapshot-count": "",
        "heartbeat-interval": "",
        "election-timeout": "",
        "max-request-bytes": "",
        "max-concurrent-streams": "",
        "watch-progress-notify-interval": "10m",
        "log-level": "info",
        "log-format": "console",
    }
)
#: Other names of flags.
_SAME: Final = MappingProxyType(
    {"experimental-watch-progress-notify-interval": "watch-progress-notify-interval"}
)
#: Flags without a counterpart, which change nothing that a client sees.
_IGNORED: Final = frozenset(
    "backend-batch-interval backend-batch-limit backend-bbolt-freelist-type "
    "experimental-initial-corrupt-check experimental-corrupt-check-time grpc-keepalive-interval "
    "grpc-keepalive-min-time grpc-keepalive-timeout initial-election-tick-advance logger "
    "max-snapshots max-wals pre-vote strict-reconfig-check".split()
)
#: Flags that need no value.
_SWITCHES: Final = frozenset(
    "client-cert-auth experimental-initial-corrupt-check initial-election-tick-advance pre-vote "
    "strict-reconfig-check".split()
)
_PEER_TLS: Final = (
    "set BRAFT_TLS, BRAFT_TLS_CA, BRAFT_TLS_CERT and BRAFT_TLS_KEY for TLS between members"
)
_REFUSED: Final = MappingProxyType(
    {
        "peer-cert-file": _PEER_TLS,
        "peer-key-file": _PEER_TLS,
        "peer-trusted-ca-file": _PEER_TLS,
        "peer-client-cert-auth": _PEER_TLS,
        "peer-auto-tls": _PEER_TLS,
        "auto-tls": "make certificates with braft tls, and set --cert-file and --key-file",
        "auth-token": "set BRAFT_TOKEN: clients authenticate with a token as the password",
        "discovery": "set BRAFT_DISCOVERY without --initial-cluster",
        "discovery-srv": "name the members with --initial-cluster",
        "wal-dir": "the log is in --data-dir",
        "force-new-cluster": "make a cluster of a backup with braft snapshot restore",
        "config-file": "give flags, or set ETCD_* variables",
        "listen-client-http-urls": "gRPC and JSON are served at --listen-client-urls",
        "listen-metrics-urls": "there are no metrics",
        "metrics": "there are no metrics",
        "enable-pprof": "there is no profiler",
        "log-outputs": "the log goes to standard error",
        "unsafe-no-fsync": "every acknowledged write is durable",
        "enable-v2": "the v3 API is served",
        "cors": "requests of web pages are refused",
        "host-whitelist": "requests of web pages are refused",
        "client-crl-file": "replace the certificates of --trusted-ca-file",
        "cipher-suites": "the ciphers are those that HTTP/2 allows",
    }
)
#: All flags of etcd that are known here.
FLAGS: Final = frozenset({*DEFAULTS, *_SAME, *_IGNORED, *_REFUSED})


class Given(NamedTuple):
    """The flags as they are given."""

    #: Each of :data:`DEFAULTS`.
    values: dict[str, str]
    #: Those that were given, by flag or variable, as messages name them.
    named: dict[str, str]
    #: What was given and changes nothing; sentences.
    notes: list[str]


def read_flags(words: Sequence[str], environment: Mapping[str, str]) -> Given:
    """Read flags and variables.

    :raises ConfigError: a flag is unknown, refused, or has no value; a variable is refused.
    """
    given = Given(dict(DEFAULTS), {}, [])
    for variable in sorted(environment):
        if variable.startswith("ETCD_"):
            _take_variable(given, variable, environment[variable])
    left = list(words)
    while left:
        word = left.pop(0)
        name, has_value, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not name:
            raise ConfigError(f"{word!r:.120} is no flag; accepted: --name=value, see --help")
        label = f"--{name}"
        if not has_value:
            if name in _SWITCHES:
                value = "true"
            elif _is_known(name):
                if not left:
                    raise ConfigError(f"{label} has no value", setting=label)
                value = left.pop(0)
        _take(given, name, label, value)
    return given


def _take_variable(given: Given, variable: str, value: str) -> None:
    name = variable.removeprefix("ETCD_").lower().replace("_", "-")
    if name in FLAGS:
        _take(given, name, variable, value)
    else:
        given.notes.append(f"{variable} is no variable of etcd's that is known; it is ignored")


def _is_known(name: str) -> bool:
    return name in DEFAULTS or name in _SAME or name in _IGNORED


def _take(given: Given, name: str, label: str, value: str) -> None:
    name = _SAME.get(name, name)
    if name in _REFUSED:
        raise ConfigError(f"{label} is not supported: {_REFUSED[name]}", setting=label)
    if name in _IGNORED:
        given.notes.append(f"{label} has no meaning here; it is ignored")
        return
    if name not in DEFAULTS:
        near = difflib.get_close_matches(name, [*DEFAULTS, *_IGNORED], 1)
        meant = f"; did you mean --{near[0]}?" if near else "; accepted: see --help"
        raise ConfigError(f"there is no flag {label}{meant}", setting=label)
    given.values[name] = value
    given.named[name] = f"{label}={value}"
