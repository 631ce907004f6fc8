"""From settings to the components of a node: choose by name, build, open, identify.

Runs in the caller's thread before anything else does, so that every mistake of the user is an
exception where the node is made, and nothing is left behind then.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from braft_core.abc import (
    Discovery,
    DiscoveryContext,
    Serializer,
    Service,
    Storage,
    StorageOptions,
    StoredState,
    TLSFiles,
    Transport,
    TransportOptions,
)
from braft_core.addresses import join_host_port
from braft_core.compat.go_braft.server_id import encode_server_id, new_raft_id
from braft_core.config import Settings, TokenSource
from braft_core.errors import ConfigError, StorageForeign
from braft_core.identity import Ports, implied_ports
from braft_core.plugin.manager import Plugins
from braft_core.plugin.option_values import OptionValues
from braft_core.plugin.registry import Registry
from braft_core.plugin.validation import KINDS
from braft_core.runtime.advertised_address import AdvertisedAddress
from braft_core.runtime.advertising import advertise, chosen_discovery
from braft_core.runtime.initial_state import InitialState
from braft_core.runtime.location import MEMORY, choose_location, data_directory
from braft_core.runtime.platform import THREADS, Platform
from braft_core.runtime.security_check import check_security, serves_reflection
from braft_core.runtime.timing import Timing
from braft_core.services.cluster import ClusterService
from braft_core.services.members import MembersService
from braft_core.services.state_machine import StateMachine
from braft_core.storage.recovery import recover_store

__all__ = ["Components", "build_components", "make_discovery"]

_log = logging.getLogger(__name__)

#: Names under which the store keeps who the node is.
SERVER_ID = "server_id"
#: What the envelope of a command may add to the user's value.
_ENVELOPE_ROOM = 64 << 10


@dataclass(frozen=True, slots=True)
class Components:
    """The components of a node. The storage is open; nothing else has been started."""

    settings: Settings
    #: Durations that are no settings.
    timing: Timing
    plugins: Plugins
    registry: Registry
    #: Where other nodes reach it. Changes with the host's addresses if it follows them.
    advertised: AdvertisedAddress
    #: Where it listens.
    host: str
    #: Whether the host's addresses decide what it advertises.
    follows: bool
    ports: Ports
    server_id: str
    storage: Storage
    #: What a replica starts from.
    initial: InitialState
    transport: Transport
    #: Who may call.
    tokens: TokenSource
    discovery: Discovery | None
    services: tuple[Service, ...]
    members: MembersService
    cluster: ClusterService
    machine: StateMachine
    serializer: Serializer
    expect: int
    #: Whether the node keeps nothing when it stops.
    ephemeral: bool
    #: Threads, event loop and randomness.
    platform: Platform = THREADS


def build_components(
    settings: Settings, extra_services: Sequence[Service], timing: Timing
) -> Components:
    """Build the components of a node.

    :raises ConfigError: a setting cannot be met. :raises PluginError: a plugin cannot be used.
    :raises StorageError: the data directory cannot be used.
    """
    plugins = Plugins.load(settings.plugins_disable)
    registry = Registry(plugins)
    option_values = OptionValues(settings, registry)
    option_values.check()
    for warning in option_values.warnings():
        _log.warning("%s", warning)
    ip, host, follows = advertise(settings, registry)
    check_security(settings, host)
    tokens = TokenSource(settings)
    _warn_of_peers_without_proof(settings, tokens)
    serializer = registry.get("serializer", settings.serializer)()
    services = _services(settings, registry, extra_services)
    serializers = {cls.tag: cls() for cls in registry.classes("serializer")}
    members, cluster = MembersService(), ClusterService()
    machine = StateMachine([*services, members, cluster], serializers)
    ports, storage, stored = choose_location(
        settings, host, lambda ports: _storage(settings, registry, ports), timing
    )
    try:
        transport = _transport(settings, registry, host, ports, tokens, timing)
        recovery = recover_store(storage, stored)
        server_id = _server_id(storage, stored, ip, ports)
        discovery = _discovery(settings, registry, server_id, ip, ports)
    except BaseException:
        storage.close()
        raise
    return Components(
        settings=settings,
        timing=timing,
        plugins=plugins,
        registry=registry,
        advertised=AdvertisedAddress(ip, ports.raft),
        host=host,
        follows=follows,
        ports=ports,
        server_id=server_id,
        storage=storage,
        initial=InitialState(storage, recovery.state, recovery.snapshot),
        transport=transport,
        tokens=tokens,
        discovery=discovery,
        services=tuple(services),
        members=members,
        cluster=cluster,
        machine=machine,
        serializer=serializer,
        expect=_expect(settings, discovery),
        ephemeral=data_directory(settings, ports.raft) is None,
    )


def _warn_of_peers_without_proof(settings: Settings, tokens: TokenSource) -> None:
    if settings.hashicorp_peers and tokens.keyring.current:
        _log.warning(
            "%s=on: whoever reaches the Raft port can write, replace the state and remove members, "
            "without a token",
            settings.label("hashicorp_peers"),
        )


def expect_is_a_guess(settings: Settings, discovery: Discovery | None) -> bool:
    """Return whether the number of nodes is not set although a discovery may find some."""
    return settings.expect is None and discovery is not None and discovery.expect is None


def expect_is_listed(settings: Settings, discovery: Discovery | None) -> bool:
    """Return whether the number of nodes is only the length of the discovery's list."""
    listed = (
        discovery is not None and discovery.lists_initial_members and discovery.expect is not None
    )
    return settings.expect is None and listed


def expect_is_unclear(settings: Settings, discovery: Discovery | None) -> str:
    """Return why nobody can tell how many nodes bootstrap, "" if it is set or not in doubt."""
    return discovery.unclear if settings.expect is None and discovery is not None else ""


def _expect(settings: Settings, discovery: Discovery | None) -> int:
    """How many nodes bootstrap a cluster; 0 if nobody can tell."""
    if settings.expect is not None:
        return settings.expect
    if expect_is_unclear(settings, discovery):
        return 0
    return (discovery.expect if discovery is not None else None) or 1


def _services(
    settings: Settings, registry: Registry, extra_services: Sequence[Service]
) -> list[Service]:
    services: list[Service] = [registry.get("service", name)() for name in settings.services]
    services.extend(extra_services)
    names = [service.name for service in services]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"service {name!r} is given twice; accepted: each name once")
    return services


def _transport(
    settings: Settings,
    registry: Registry,
    host: str,
    ports: Ports,
    tokens: TokenSource,
    timing: Timing,
) -> Transport:
    options = TransportOptions(
        listen=(join_host_port(host, ports.raft), join_host_port(host, ports.discovery)),
        tls=tls_files(settings),
        reflection=serves_reflection(settings, host),
        keyring=tokens.keyring,
        cluster_name=settings.cluster_name,
        unproved_raft=settings.hashicorp_peers,
        max_message_bytes=max(16 << 20, 2 * (settings.max_value_bytes + _ENVELOPE_ROOM)),
        options=OptionValues(settings, registry).values(settings.transport),
        timing=timing.transport,
    )
    return registry.get("transport", settings.transport)(options)


def tls_files(settings: Settings) -> TLSFiles | None:
    """Return what the transport needs for TLS; ``None``: it is off."""
    ca, cert, key = settings.tls_ca, settings.tls_cert, settings.tls_key
    if settings.tls_mode == "off" or ca is None or cert is None or key is None:
        return None
    prefer = settings.tls_mode == "prefer"
    return TLSFiles(ca, cert, key, prefer, settings.tls_peer_names, settings.tls_server_name)


def _storage(settings: Settings, registry: Registry, ports: Ports) -> Storage:
    name = _chosen_storage(settings)
    directory = data_directory(settings, ports.raft)
    options = StorageOptions(directory, OptionValues(settings, registry).values(name))
    return registry.get("storage", name)(options)


def _chosen_storage(settings: Settings) -> str:
    """Return the name of the storage: ``memory`` without a data directory, unless it is set."""
    forgets = settings.data_dir == MEMORY and settings.provenance["storage"] == "default"
    return "memory" if forgets else settings.storage


def in_use(settings: Settings, registry: Registry) -> frozenset[tuple[str, str]]:
    """Kind and name of everything that a node with these settings uses, hooks included.

    Names nothing that is not installed; a setting that cannot be met is left out.
    """
    hooks = [(row.kind, row.name) for row in registry.describe() if row.kind not in KINDS]
    chosen = [
        ("serializer", settings.serializer),
        ("transport", settings.transport),
        ("storage", _chosen_storage(settings)),
        *(("service", name) for name in settings.services),
    ]
    try:
        discovery = chosen_discovery(settings, registry)
    except ConfigError:
        discovery = None
    if discovery is not None:
        chosen.append(("discovery", discovery[0]))
    return frozenset([*hooks, *chosen])


def _server_id(storage: Storage, stored: StoredState, ip: str, ports: Ports) -> str:
    """Return the server id of the data directory; make one for a new directory."""
    known = storage.get_meta(SERVER_ID)
    if known is not None:
        return known.decode()
    if stored.entries or stored.hard_state.term:
        raise StorageForeign("the store holds a log but not the id of the node that wrote it")
    server_id = encode_server_id(new_raft_id(ip, (ports.raft, ports.discovery, ports.http)))
    storage.set_meta({SERVER_ID: server_id.encode()})
    return server_id


def make_discovery(settings: Settings, registry: Registry, ip: str) -> Discovery | None:
    """Make the discovery of a node with these settings, to be asked without announcing a node.

    :raises ConfigError: the setting is wrong. :raises PluginError: it is not installed.
    """
    ports = implied_ports(settings.rport, settings.dport, settings.hport)
    return _discovery(settings, registry, "", ip, ports)


def _discovery(
    settings: Settings, registry: Registry, server_id: str, ip: str, ports: Ports
) -> Discovery | None:
    chosen = chosen_discovery(settings, registry)
    if chosen is None:
        return None
    scheme, spec = chosen
    context = DiscoveryContext(
        node_id=server_id,
        ip=ip,
        interface=settings.interface,
        raft_port=ports.raft,
        discovery_port=ports.discovery,
        http_port=ports.http,
        cluster_name=settings.cluster_name,
        options=OptionValues(settings, registry).values(scheme),
        environ=os.environ,
    )
    return registry.get("discovery", scheme)(spec, context)


def default_discovery(settings: Settings, discovery: Discovery | None) -> str:
    """Describe the discovery if it is only the default of the command; "" if it was chosen."""
    by_default = settings.provenance["discovery"] == "default"
    return discovery.describe() if discovery is not None and by_default else ""


def describe_discovery(discovery: Discovery | None) -> str:
    """One line for status pages."""
    return discovery.describe() if discovery is not None else "none"
