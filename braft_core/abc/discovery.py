"""Discovery: find the places where other nodes may answer."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

from braft_core.addresses import join_host_port

__all__ = ["Contact", "Discovery", "DiscoveryContext"]


class Contact(NamedTuple):
    """A place where a node may answer. A hint, never membership.

    ``port`` may be the Raft port or the discovery port of that node: both answer probes.
    """

    host: str
    port: int
    source: str = ""

    def __str__(self) -> str:
        return join_host_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class DiscoveryContext:
    """What a discovery knows about its node."""

    node_id: str
    ip: str
    interface: str
    raft_port: int
    discovery_port: int
    http_port: int
    cluster_name: str
    #: The options of the plugin from ``[plugins.<name>]``, ``BRAFT_<NAME>_*`` and settings such as
    #: ``MDNS_SERVICE`` or ``K8S_*``. Read them with the plugin's own model
    #: (``braft_core.plugin.options``).
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The process environment, for the plugin's own variables.
    environ: Mapping[str, str] = field(default_factory=dict)


class Discovery(abc.ABC):
    """Finds contacts. All coroutines run on the loop; blocking libraries belong in a thread."""

    #: The scheme: ``BRAFT_DISCOVERY=<name>:<spec>``.
    name: ClassVar[str]

    #: Whether :meth:`start` announces this node. Read-only tools then cannot use the discovery.
    announces: ClassVar[bool] = False

    #: Whether the spec names every node that bootstraps the cluster, this one included, so that
    #: :attr:`expect` is the length of a list, and a node that is not in it only joins.
    lists_initial_members: ClassVar[bool] = False

    #: Entries of the spec that lead to no contact now, for messages. Changed by :meth:`discover`.
    unresolved: Sequence[str] = ()

    #: Seconds between polls of the default :meth:`watch`.
    poll_interval: float = 1.0

    def __init__(self, spec: str, context: DiscoveryContext) -> None:
        """Parse ``spec`` (the part after ``name:``, may be empty). Quick; no I/O.

        :raises ConfigError: naming the part of the spec that is wrong and what is accepted.
        """
        self.spec = spec
        self.context = context

    @classmethod
    def own_address(cls, spec: str, ports: Collection[int], is_own: Callable[[str], bool]) -> str:
        """Return the address under which ``spec`` lists this node, "" if it does not.

        A node without an address in its settings advertises this one. Called before the discovery
        is made, on the thread that starts the node. Quick: no I/O, no name resolution.

        :param ports: the Raft and the discovery port of this node; empty if they are not known yet.
        :param is_own: whether a literal address is one of this host.
        """
        return ""

    @classmethod
    def needs_network(cls, spec: str) -> bool:
        """Return whether nodes that ``spec`` finds may be on other machines.

        If not, a node without an address, interface or host in its settings listens on loopback
        only. Called at the same time as :meth:`own_address`. The default is ``True``.
        """
        return True

    @property
    def expect(self) -> int | None:
        """How many nodes bootstrap the cluster, if the spec is a list of them; else ``None``."""
        return None

    @property
    def unclear(self) -> str:
        """Return why a spec that looks like a list does not give the number of nodes, else "".

        A clause for messages. With a reason, a node bootstraps only if ``expect`` is set.
        """
        return ""

    def describe(self) -> str:
        """One line for status pages, such as ``static://a,b,c``."""
        return f"{self.name}://{self.spec}"

    @abc.abstractmethod
    async def discover(self) -> list[Contact]:
        """Return all contacts known now, with or without this node itself.

        Raise if the source fails, rather than return an empty list: braft then keeps the last set.
        """

    async def start(self) -> None:  # noqa: B027 - optional hook
        """Begin announcing and browsing. Called once, before the first :meth:`discover`."""

    async def move(self, ip: str) -> None:
        """Announce another address of this node from now on.

        Called after :meth:`start`, any number of times. By default it only changes the context.

        :param ip: the new ``context.ip``.
        """
        self.context = replace(self.context, ip=ip)

    async def watch(self) -> AsyncIterator[list[Contact]]:
        """Yield the whole current set whenever it may have changed; default: poll."""
        while True:
            yield await self.discover()
            await asyncio.sleep(self.poll_interval)

    async def stop(self) -> None:  # noqa: B027 - optional hook
        """Withdraw the announcement and release everything.

        Idempotent, and harmless without :meth:`start`; must not raise.
        """
