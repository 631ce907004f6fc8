"""The discovery of simulated nodes: a list of addresses that may lie, fail or hang."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from braft_core.abc import Contact, Discovery, DiscoveryContext

__all__ = ["Directory", "VirtualDiscovery"]


class Directory:
    """What all nodes of a cluster discover."""

    def __init__(self, rng: random.Random, addresses: Sequence[str]) -> None:
        self._rng = rng
        self.addresses = list(addresses)
        #: The share of answers that are errors, that never come, and that lack nodes.
        self.fails = self.hangs = self.lacks = 0.0

    def heal(self) -> None:
        """Answer truthfully from now on."""
        self.fails = self.hangs = self.lacks = 0.0

    async def answer(self) -> list[Contact]:
        """Return contacts, or what a bad discovery does."""
        if self._rng.random() < self.fails:
            raise OSError("the simulated discovery failed")
        if self._rng.random() < self.hangs:
            await asyncio.sleep(60.0)
        found = [a for a in self.addresses if self._rng.random() >= self.lacks]
        return [Contact(host, int(port)) for host, _, port in (a.rpartition(":") for a in found)]


class VirtualDiscovery(Discovery):
    """One node's view of the directory."""

    name = "virtual"

    def __init__(self, directory: Directory, context: DiscoveryContext) -> None:
        super().__init__("", context)
        self._directory = directory

    async def discover(self) -> list[Contact]:
        """See the base class."""
        return await self._directory.answer()
