"""The settings of a node: names, units, defaults and environment variables, in one frozen object.

Owns the list of settings and the precedence of the sources. Must not know what a setting does, nor
which plugins exist: the sections of plugins are passed on without validation.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from pydantic import Field, PrivateAttr, ValidationError

from braft_core.config import fields as f
from braft_core.config import sources
from braft_core.config.consistency import check_consistency
from braft_core.config.display import MASK, format_value
from braft_core.config.fields import Accepts, Variable
from braft_core.config.sources import Layer, SourcedValue
from braft_core.config.store import StoreSettings
from braft_core.config.validation_errors import config_error, invalid_values
from braft_core.errors import ConfigError

__all__ = ["Row", "Settings"]

_ALL_IPV4 = "0.0.0.0"  # noqa: S104 - the address of a node that other hosts can reach
_LOOPBACK = "127.0.0.1"
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Row(NamedTuple):
    """One line of ``braft config``."""

    name: str
    value: str
    origin: str


class Settings(StoreSettings):
    """All settings of a node. Made by :meth:`load`; immutable, so thread-safe.

    Durations are in seconds, sizes in bytes.
    """

    discovery: Annotated[
        f.Text,
        Variable(
            "how other nodes are found: `mdns`, `mdns:_braft._tcp`, `static:a,b,c`, `a,b,c`, "
            "`k8s`, `k8s:namespace=..,portname=..,label=value`, `scheme:spec` of any plugin, "
            "`none`",
            "BRAFT_DISCOVERY",
            "BDI",
            "none (a cluster of one); the command `braft`: `mdns` where installed",
        ),
    ] = ""
    ip: Annotated[
        f.AdvertisedAddress,
        Variable(
            "address to advertise",
            "BRAFT_IP",
            "BIP",
            "see [the address](#the-address-of-a-node)",
        ),
    ] = ""
    interface: Annotated[
        f.Text,
        Variable("network interface to take the address from", "BRAFT_IF", "BIF", "any"),
    ] = ""
    host: Annotated[
        f.Address,
        Variable(
            "address to listen on",
            "BRAFT_HOST",
            default="a loopback address if the node advertises one, else all interfaces: see "
            "[the address](#the-address-of-a-node)",
        ),
    ] = ""
    rport: Annotated[
        f.OptionalPort,
        Variable(
            "Raft gRPC port; 0 takes any free one",
            "BRAFT_RPORT",
            "BRP",
            "that of the first `./braft-data/<rport>` with data that no node uses, else the first "
            "free one of 15000, 16000, …",
        ),
    ] = None
    dport: Annotated[
        f.OptionalPort,
        Variable("discovery port; 0 takes any free one", "BRAFT_DPORT", "BDP", "rport + 1"),
    ] = None
    hport: Annotated[
        f.OptionalPort,
        Variable("HTTP port; 0 takes any free one", "BRAFT_HPORT", "BHP", "dport + 1"),
    ] = None
    restart_min: Annotated[
        f.PositiveDuration,
        Variable(
            "time without a leader after which a node discovers again, refreshes the addresses of "
            "its peers and logs what is missing",
            "BRAFT_RESTART_MIN",
        ),
    ] = 90.0
    leader_steady: Annotated[
        f.Duration,
        Variable(
            "how long a leader must have led before it removes members", "BRAFT_LEADER_STEADY"
        ),
    ] = 60.0
    autopilot: Annotated[
        f.AutopilotMode,
        Variable(
            "whether the leader removes dead members: `on`, `off`, or `dry-run`, which only "
            "reports what it would remove",
            "BRAFT_AUTOPILOT",
        ),
    ] = "on"
    dead_after: Annotated[
        f.PositiveDuration,
        Variable("how long a member is silent before it counts as dead", "BRAFT_DEAD_AFTER"),
    ] = 60.0
    min_voters: Annotated[
        f.PositiveInt,
        Variable("number of voters that removals always leave", "BRAFT_MIN_VOTERS"),
    ] = 2
    removal_window: Annotated[
        f.Duration,
        Variable(
            "time in which the leader removes fewer than half of the members",
            "BRAFT_REMOVAL_WINDOW",
        ),
    ] = 3600.0
    sleep: Annotated[
        f.DurationRange,
        Variable("random wait before the first bootstrap", "BRAFT_SLEEP", "BSL"),
    ] = (0.01, 0.3)
    data_dir: Annotated[
        f.Text,
        Variable(
            "directory of the log, term, vote and snapshots; `:memory:` keeps nothing on disk",
            "BRAFT_DATA_DIR",
            "BDD",
            "`./braft-data/<rport>`",
        ),
    ] = ""
    expect: Annotated[
        f.OptionalCount,
        Variable(
            "how many nodes bootstrap a new cluster together",
            "BRAFT_EXPECT",
            "BEX",
            "number of addresses in a static list (a single DNS name implies nothing), else 1",
        ),
    ] = None
    cluster_name: Annotated[
        f.Name,
        Variable(
            "name of the cluster; nodes with another name never join it", "BRAFT_CLUSTER_NAME"
        ),
    ] = "braft"
    serializer: Annotated[f.Name, Variable("serializer of commands", "BRAFT_SERIALIZER", "BSR")] = (
        "msgpack"
    )
    transport: Annotated[f.Name, Variable("transport between nodes", "BRAFT_TRANSPORT")] = "grpc"
    storage: Annotated[f.Name, Variable("store of the log", "BRAFT_STORAGE")] = "sqlite"
    services: Annotated[f.Names, Variable("state-machine services by name", "BRAFT_SERVICES")] = (
        "kv",
        "distribute",
        "store",
    )
    plugins_disable: Annotated[
        f.Names, Variable("entry points not to load", "BRAFT_PLUGINS_DISABLE", default="none")
    ] = ()
    log: Annotated[f.LogLevel, Variable("log level", "BRAFT_LOG")] = "info"
    log_format: Annotated[
        f.LogFormat, Variable("`console` or `json` lines", "BRAFT_LOG_FORMAT")
    ] = "console"
    log_stdout: Annotated[
        f.Flag,
        Variable(
            "write the log of the command `braft` to standard output instead of standard error",
            "GOLOG_STDOUT",
        ),
    ] = False
    app_version: Annotated[
        f.Text,
        Variable(
            "version of the application, `appVersion` in `/raft`",
            "BRAFT_APP_VERSION",
            default="the program's, if found: see "
            "[the build](migration.md#version-build-time-and-commit)",
        ),
    ] = ""
    build_time: Annotated[
        f.Text,
        Variable(
            "when the application was built, `buildTime` in `/raft`",
            "BRAFT_BUILD_TIME",
            default="the program's, if found: see "
            "[the build](migration.md#version-build-time-and-commit)",
        ),
    ] = ""
    git_commit: Annotated[
        f.Text,
        Variable(
            "commit of the application, `gitCommit` in `/raft`",
            "BRAFT_GIT_COMMIT",
            default="the program's, if found: see "
            "[the build](migration.md#version-build-time-and-commit)",
        ),
    ] = ""
    grpc_reflection: Annotated[
        f.Flag,
        Variable(
            "gRPC server reflection; the keyword switches it on, the variable switches it off",
            "DISABLE_GRPC_REFLECTION",
            "DGR",
            "reflection is on, except on a node that listens beyond loopback without a token",
            inverted=True,
        ),
    ] = True
    max_value_bytes: Annotated[
        f.PositiveInt, Variable("largest command in bytes", "BRAFT_MAX_VALUE_BYTES")
    ] = 1_500_000
    request_timeout: Annotated[
        f.PositiveDuration,
        Variable("how long a request waits for its answer", "BRAFT_REQUEST_TIMEOUT"),
    ] = 10.0
    heartbeat_interval: Annotated[
        f.PositiveDuration,
        Variable("time between heartbeats of a leader", "BRAFT_HEARTBEAT_INTERVAL"),
    ] = 0.1
    election_timeout: Annotated[
        f.PositiveDuration,
        Variable(
            "time without a leader after which a follower campaigns; up to half is added at random",
            "BRAFT_ELECTION_TIMEOUT",
        ),
    ] = 1.0
    lease_reads: Annotated[
        f.Flag,
        Variable(
            "serve lease reads without a round of messages; set it alike on all nodes; clocks may "
            "differ in rate by less than a tenth",
            "BRAFT_LEASE_READS",
        ),
    ] = False
    max_outstanding: Annotated[
        f.PositiveInt,
        Variable(
            "requests that may wait at once; the node answers further ones with Busy",
            "BRAFT_MAX_OUTSTANDING",
        ),
    ] = 65_536
    snapshot_entries: Annotated[
        f.PositiveInt,
        Variable(
            "entries applied since the last snapshot that trigger the next one",
            "BRAFT_SNAPSHOT_ENTRIES",
        ),
    ] = 50_000
    snapshot_bytes: Annotated[
        f.PositiveInt,
        Variable(
            "bytes of commands in the log that trigger a snapshot",
            "BRAFT_SNAPSHOT_BYTES",
        ),
    ] = 64_000_000
    snapshot_trailing: Annotated[
        f.PositiveInt,
        Variable(
            "entries kept in the log behind a snapshot, for followers that lag a little",
            "BRAFT_SNAPSHOT_TRAILING",
        ),
    ] = 10_000
    gc_freeze: Annotated[
        f.Flag,
        Variable(
            "exclude what is in memory when the node has started from garbage collection, which "
            "shortens its pauses",
            "BRAFT_GC_FREEZE",
            default="off; the command `braft`: on",
        ),
    ] = False
    digest_interval: Annotated[
        f.Duration,
        Variable(
            "how often the members compare digests of their states, if anything was written; 0 for "
            "never; set it alike on all nodes",
            "BRAFT_DIGEST_INTERVAL",
        ),
    ] = 600.0
    mdns_service: Annotated[
        f.Text,
        Variable(
            "mDNS service name, subtypes after commas",
            "MDNS_SERVICE",
            "MDS",
            option=("mdns", "service"),
        ),
    ] = "_braft._tcp,_windows"
    k8s_namespace: Annotated[
        f.Text,
        Variable(
            "Kubernetes namespace",
            "K8S_NAMESPACE",
            "K8N",
            "own namespace",
            option=("k8s", "namespace"),
        ),
    ] = ""
    k8s_labels: Annotated[
        f.Text,
        Variable(
            "labels of the Kubernetes services, such as `svc=braft,tier=a`",
            "K8S_LABELS",
            "K8L",
            "none",
            option=("k8s", "labels"),
        ),
    ] = ""
    k8s_portname: Annotated[
        f.Text,
        Variable(
            "container port name that a pod must have",
            "K8S_PORTNAME",
            "K8P",
            "none",
            option=("k8s", "portname"),
        ),
    ] = ""
    k8s_sleep: Annotated[
        f.DurationRange,
        Variable(
            "random wait before the first request to Kubernetes",
            "K8S_SLEEP",
            option=("k8s", "sleep"),
        ),
    ] = (0.0, 0.0)
    plugins: Annotated[
        dict[str, dict[str, Any]], Accepts("a table per plugin, `[plugins.<name>]`")
    ] = Field(default_factory=dict)

    _sourced: Mapping[str, SourcedValue] = PrivateAttr(default_factory=dict)
    _unrecognized_variables: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def load(
        cls,
        *,
        kwargs: Mapping[str, Any] = _NOTHING,
        cli: Mapping[str, Any] = _NOTHING,
        defaults: Mapping[str, Any] = _NOTHING,
        environ: Mapping[str, str] = os.environ,
        toml: Path | None = None,
    ) -> Settings:
        """Merge the sources and validate the result.

        In rising precedence: defaults, braft.toml, environment, ``kwargs``, ``cli``. In ``kwargs``
        and ``cli``, ``None`` means "not set".

        :param defaults: defaults that replace those of the model.
        :param toml: the file to read instead of ``BRAFT_CONFIG``'s or ./braft.toml.
        :raises ConfigError: a setting is invalid; names it as the user wrote it, its value and what
            is accepted, for every invalid setting.
        """
        variables = cls.variables()
        path = sources.find_toml(toml, environ)
        layers: list[Layer] = [
            {
                name: SourcedValue(v, variables[name].long, "default")
                for name, v in defaults.items()
            },
            sources.from_toml(path, variables) if path else {},
            sources.from_environ(environ, variables),
            sources.from_arguments(kwargs, variables),
            sources.from_command_line(cli, variables),
        ]
        given: Layer = {}
        for layer in layers:
            given |= layer
        settings = cls._validated(given)
        settings._sourced = MappingProxyType(given)
        settings._unrecognized_variables = MappingProxyType(
            sources.unrecognized_variables(environ, variables)
        )
        check_consistency(settings)
        return settings

    @classmethod
    def variables(cls) -> dict[str, Variable]:
        """Return the variables and meaning of each setting, in the order of the documentation.

        Those of security and of the store come last.
        """
        fields = sorted(cls.model_fields.items(), key=lambda f: f[0] in StoreSettings.model_fields)
        return {
            name: note
            for name, info in fields
            for note in info.metadata
            if isinstance(note, Variable)
        }

    @classmethod
    def accepts(cls, name: str) -> str:
        """Return what a setting accepts, in words."""
        notes = cls.model_fields[name].metadata
        return next(note.text for note in notes if isinstance(note, Accepts))

    @classmethod
    def _validated(cls, given: Layer) -> Settings:
        values: dict[str, Any] = {"plugins": {}}
        for name, item in given.items():
            if name.startswith("plugins."):
                _, plugin, key = name.split(".", 2)
                values["plugins"].setdefault(plugin, {})[key] = item.value
            else:
                values[name] = item.value
        try:
            return cls(**values)
        except ValidationError as error:
            # "from None": pydantic's message would contain the value of a token.
            raise _config_error(cls, error, given) from None

    @property
    def provenance(self) -> Mapping[str, str]:
        """Where each setting's value comes from, by name.

        ``default``, ``braft.toml``, ``environment BRP``, ``argument`` or ``command line``; plugin
        options appear as ``plugins.<plugin>.<key>``.
        """
        names = dict.fromkeys(self.variables(), "default")
        return MappingProxyType(names | {n: item.origin for n, item in self._sourced.items()})

    @property
    def sourced(self) -> Mapping[str, SourcedValue]:
        """The values of the sources, by name; plugin options as ``plugins.<plugin>.<key>``."""
        return self._sourced

    @property
    def unrecognized_variables(self) -> Mapping[str, str]:
        """The ``BRAFT_*`` variables that no setting reads; a plugin may read them."""
        return self._unrecognized_variables

    def label(self, name: str) -> str:
        """Return the setting's name as the user wrote it, or its variable if it was not set."""
        item = self._sourced.get(name)
        return item.name if item else self.variables()[name].long

    def rows(self) -> list[Row]:
        """Return name, value as text and origin of each setting; secrets are masked."""
        origins = self.provenance
        return [
            Row(name, format_value(getattr(self, name), variable.default), origins[name])
            for name, variable in self.variables().items()
        ]

    def bind_host(self, advertised: str = "") -> str:
        """Return the address to listen on.

        That is ``host`` if set, else the advertised address if it is a loopback one, so that a node
        on 127.0.0.1 is not open to the network, else all interfaces of the advertised family.

        :param advertised: the address that the node advertises; default: the setting ``ip``, or
            loopback if that is not set.
        """
        advertised = advertised or self.ip or _LOOPBACK
        if self.host:
            return self.host
        address = ipaddress.ip_address(advertised)
        if address.is_loopback:
            return advertised
        return "::" if address.version == 6 else _ALL_IPV4


def _config_error(
    cls: type[Settings], error: ValidationError, given: Mapping[str, SourcedValue]
) -> ConfigError:
    def describe(name: str) -> tuple[str, str, str]:
        item = given.get(name) or SourcedValue("", name, "")
        return item.name, MASK if name == "token" else repr(item.value), cls.accepts(name)

    return config_error(invalid_values(error, describe))
