"""The discovery ``static``: a list of hosts, whose names DNS resolves at each poll.

Owns what the list means. Must not know which nodes answer, or whether this node is in the list.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Collection, Iterable
from typing import Any, ClassVar

from braft_core.abc import Contact, Discovery, DiscoveryContext
from braft_core.errors import Unreachable
from braft_static.items import Item, all_here, own_host, parse_items
from braft_static.options import StaticOptions

__all__ = ["StaticDiscovery"]

log = logging.getLogger(__name__)

#: Maximum number of addresses that are used of one name.
_MAX_ADDRESSES = 256


class StaticDiscovery(Discovery):
    """Contacts from a fixed list. Needs no start."""

    name: ClassVar[str] = "static"
    lists_initial_members: ClassVar[bool] = True

    def __init__(self, spec: str, context: DiscoveryContext) -> None:
        """Parse the list.

        :raises ConfigError: an entry or an option is invalid; names it.
        """
        super().__init__(spec, context)
        self.options = StaticOptions.read(context.options)
        self.poll_interval = self.options.poll_interval
        self._texts = [text.strip() for text in spec.split(",") if text.strip()]
        places = (self._place(item) for item in parse_items(spec))
        self._places = list(dict.fromkeys(places))
        self._unresolved: set[str] = set()
        self._lookups: dict[str, asyncio.Task[list[Any]]] = {}

    @classmethod
    def own_address(cls, spec: str, ports: Collection[int], is_own: Callable[[str], bool]) -> str:
        """Return the literal address of this node's own entry; see :func:`own_host`."""
        return own_host(parse_items(spec), ports, is_own)

    @classmethod
    def needs_network(cls, spec: str) -> bool:
        """Return whether any entry may be another machine; see :func:`all_here`."""
        return not all_here(parse_items(spec))

    @property
    def expect(self) -> int | None:
        """The number of different entries; ``None`` for a single DNS name."""
        return None if self.unclear else len(self._places)

    @property
    def unclear(self) -> str:
        """The reason why the list does not give the number of nodes: it is a single DNS name."""
        host = self._places[0][0]
        if len(self._places) > 1 or _is_address(host):
            return ""
        return f"{host} is one name, which may stand for any number of nodes"

    def describe(self) -> str:
        """Return the list as it was written, ``static://a,b,c``."""
        return f"{self.name}://{','.join(self._texts)}"

    async def discover(self) -> list[Contact]:
        """Return the contacts of all entries in the order of the list, without duplicates.

        :raises Unreachable: no entry resolves.
        """
        found = await asyncio.gather(*(self._resolve(host) for host, _ in self._places))
        contacts = [
            Contact(address, port, self.name)
            for (_, port), addresses in zip(self._places, found, strict=True)
            for address in addresses
        ]
        if not contacts:
            raise Unreachable(f"{self.describe()}: none of the names resolves", sent=False)
        self.unresolved = [
            host for (host, _), some in zip(self._places, found, strict=True) if not some
        ]
        return list(dict.fromkeys(contacts))

    def _place(self, item: Item) -> tuple[str, int]:
        host = item.host or self.context.ip
        if host.lower().removesuffix(".") == "localhost":
            # Not resolved by DNS: it is this host, in the address family that the node listens on.
            host = "::1" if ":" in self.context.ip else "127.0.0.1"
        return host, item.port or self.context.raft_port

    async def _resolve(self, host: str) -> list[str]:
        """Return the addresses of a host; none if it cannot be resolved now."""
        if _is_address(host):
            return [host]
        try:
            async with asyncio.timeout(self.options.resolve_timeout):
                infos = await asyncio.shield(self._lookup(host))
        except (OSError, UnicodeError, TimeoutError) as error:
            self._log_failure(host, error)
            return []
        self._unresolved.discard(host)
        return self._same_family(info[4][0] for info in infos)

    def _lookup(self, host: str) -> asyncio.Task[list[Any]]:
        """Return the running lookup of a host; start one if none is running.

        A lookup that hangs cannot be cancelled, so each further one would occupy another thread.
        """
        lookup = self._lookups.get(host)
        if lookup is None or lookup.done():
            loop = asyncio.get_running_loop()
            resolving = loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            lookup = self._lookups[host] = loop.create_task(resolving)
            # Retrieves the exception: the caller may be gone, and asyncio would log it.
            lookup.add_done_callback(lambda done: done.cancelled() or done.exception())
        return lookup

    async def stop(self) -> None:
        """Cancel all lookups."""
        lookups = list(self._lookups.values())
        self._lookups.clear()
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    def _same_family(self, addresses: Iterable[str | int]) -> list[str]:
        """Return the addresses of the family that this node advertises, if there are any.

        A node listens on the family it advertises. Its address of the other family would be a
        contact that never answers, and the bootstrap of a cluster waits for every contact.
        """
        texts = list(dict.fromkeys(str(address) for address in addresses))[:_MAX_ADDRESSES]
        version = ipaddress.ip_address(self.context.ip).version
        ours = [text for text in texts if ipaddress.ip_address(text).version == version]
        return ours or texts

    def _log_failure(self, host: str, error: Exception) -> None:
        """Log a failure once, not at each poll."""
        if host not in self._unresolved:
            self._unresolved.add(host)
            log.warning(
                "static discovery: %s does not resolve: %s", host, str(error) or "timed out"
            )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
