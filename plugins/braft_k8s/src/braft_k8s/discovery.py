"""The discovery ``k8s``: the pods behind the services with given labels, as in the original.

Owns when and in which thread the API is asked. Must not know what a pod turns out to be: braft
probes every contact.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ClassVar

from braft_core.abc import Contact, Discovery, DiscoveryContext
from braft_core.errors import Unreachable
from braft_k8s.api import KubeApi
from braft_k8s.options import K8sOptions
from braft_k8s.pace import Pace
from braft_k8s.pods import contacts_of, selector_text
from braft_k8s.watching import Watches

__all__ = ["K8sDiscovery"]

log = logging.getLogger(__name__)


class K8sDiscovery(Discovery):
    """Contacts from the Kubernetes API. The client blocks, so it lives in a thread of its own."""

    name: ClassVar[str] = "k8s"

    def __init__(self, spec: str, context: DiscoveryContext) -> None:
        """:raises ConfigError: naming the part of the spec, or the option, that is wrong."""
        super().__init__(spec, context)
        self.options = K8sOptions.laid_over(spec, context.options)
        self.poll_interval = self.options.poll_interval
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="braft-k8s")
        self._stopped = False
        #: Used by the thread alone.
        self._api: KubeApi | None = None
        self._watches: Watches | None = None

    def describe(self) -> str:
        """The original's line: ``k8s://ns=prod/labels=svc=braft/portName=``."""
        options = self.options
        labels = selector_text(options.labels)
        return f"{self.name}://ns={options.namespace}/labels={labels}/portName={options.portname}"

    async def start(self) -> None:
        """Wait the random time of ``K8S_SLEEP``; the API is first asked by :meth:`discover`."""
        if not self.options.labels:
            log.warning(
                "k8s discovery without labels: the pods of every service of the namespace are "
                "contacts; set K8S_LABELS"
            )
        # Spreads the nodes of a roll-out; nothing secret about it.
        await asyncio.sleep(random.uniform(*self.options.sleep))  # noqa: S311

    async def discover(self) -> list[Contact]:
        """The running, not terminating pods.

        :raises Unreachable: the API did not answer, or refused: that is not "no pods".
        """
        return (await self._look())[0]

    async def _look(self) -> tuple[list[Contact], list[dict[str, str]]]:
        """The contacts, and the selectors that picked them."""
        if self._stopped:
            raise Unreachable(f"{self.describe()}: stopped", sent=False)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._search)

    async def watch(self) -> AsyncIterator[list[Contact]]:
        """List anew whenever the API says that something changed, and now and then without that.

        :raises Unreachable: as :meth:`discover`; to be begun again.
        """
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        pace = Pace(self.poll_interval)

        def tell() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(news.set)

        watches: Watches | None = None
        try:
            while True:
                news.clear()
                contacts, selectors = await self._look()
                pace.looked(loop.time())
                if watches is None:
                    watches = self._watches = Watches(self._connect, self.options.labels, tell)
                await asyncio.to_thread(watches.follow, selectors)
                yield contacts
                quiet = self.options.resync if watches.established else self.poll_interval
                # Not asyncio.wait_for: before Python 3.12 it may lose a cancellation.
                with suppress(TimeoutError):
                    async with asyncio.timeout(quiet):
                        await news.wait()
                await asyncio.sleep(pace.wait(loop.time()))
        finally:
            self._watches = None
            if watches is not None:
                await asyncio.to_thread(watches.stop)

    async def stop(self) -> None:
        """Give up what is not begun, and wait for a request under way: its timeout bounds that."""
        self._stopped = True
        watches, self._watches = self._watches, None
        if watches is not None:
            await asyncio.to_thread(watches.stop)
        self._executor.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._executor.shutdown)
        if self._api:
            self._api.close()
            self._api = None

    def _connect(self) -> KubeApi:
        return KubeApi.connect(self.options, self.context.environ)

    def _search(self) -> tuple[list[Contact], list[dict[str, str]]]:
        """Ask. Runs in the thread."""
        if self._api is None:
            self._api = self._connect()
        try:
            selectors = self._api.selectors(self.options.labels)
            pods = [pod for selector in selectors for pod in self._api.pods(selector)]
        except Unreachable:
            # The next look connects anew: with the token and the CA that are in the files by then.
            self._api.close()
            self._api = None
            raise
        return contacts_of(pods, self.context, self.options.portname, self.name), selectors
