"""The discovery: announce this node, list the others, and follow changes.

Owns the meaning of a spec and the timing. Must not know the registry's protocol.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import ClassVar
from urllib.parse import urlsplit

from braft_consul_like.client import Found, Node, RegistryClient
from braft_consul_like.options import ConsulLikeOptions
from braft_core.abc import Contact, Discovery, DiscoveryContext
from braft_core.errors import ConfigError, Unreachable

__all__ = ["ConsulLikeDiscovery"]

log = logging.getLogger(__name__)

#: Pause after a failure, seconds.
_PAUSE = 1.0


class ConsulLikeDiscovery(Discovery):
    """The nodes that a registry lists under the cluster's name."""

    name: ClassVar[str] = "consul-like"
    announces: ClassVar[bool] = True

    def __init__(self, spec: str, context: DiscoveryContext) -> None:
        """Parse the spec and the options.

        :raises ConfigError: the spec is no URL, or an option is wrong.
        """
        super().__init__(spec, context)
        if urlsplit(spec).scheme not in ("http", "https") or not urlsplit(spec).hostname:
            accepted = "consul-like:http://host:port, or https"
            raise ConfigError(
                f"consul-like:{spec!r} names no registry; accepted: {accepted}",
                setting="discovery",
                value=spec,
                accepted=accepted,
            )
        self.options = ConsulLikeOptions.read(context.options)
        self._itself = Node(id=context.node_id, host=context.ip, port=context.raft_port)
        self._announcing: asyncio.Task[None] | None = None

    def describe(self) -> str:
        """Return the registry, without the user and password of its URL."""
        place = urlsplit(self.spec)
        return f"{self.name}://{place.netloc.rpartition('@')[2]}"

    async def start(self) -> None:
        """Announce this node repeatedly; try again while the registry is unreachable."""
        self._announcing = asyncio.create_task(self._announce())

    async def discover(self) -> list[Contact]:
        """Return what the registry lists now. :raises Unreachable: it does not answer."""
        async with self._client() as client:
            return self._contacts(await client.find())

    async def watch(self) -> AsyncIterator[list[Contact]]:
        """Yield all contacts at each change; the registry holds the request until then."""
        async with self._client() as client:
            found = await client.find()
            while True:
                yield self._contacts(found)
                found = await client.find(found.index, self.options.wait)

    async def stop(self) -> None:
        """Withdraw this node."""
        task, self._announcing = self._announcing, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with suppress(Unreachable):  # the registration expires anyway
            async with self._client() as client:
                await client.withdraw(self._itself)

    async def _announce(self) -> None:
        heard = True
        async with self._client() as client:
            while True:
                try:
                    await client.register(self._itself, self.options.ttl)
                except Unreachable as error:
                    if heard:
                        log.warning("consul-like: this node is not announced: %s", error)
                    heard = False
                else:
                    heard = True
                # One third, so that two announcements may be lost.
                await asyncio.sleep(self.options.ttl / 3 if heard else _PAUSE)

    def _client(self) -> RegistryClient:
        options = self.options
        token = options.token.get_secret_value()
        return RegistryClient(self.spec, self.context.cluster_name, token, options.timeout)

    def _contacts(self, found: Found) -> list[Contact]:
        contacts = (Contact(node.host, node.port, self.name) for node in found.nodes)
        return list(dict.fromkeys(contacts))
