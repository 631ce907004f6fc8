"""The discovery ``k8s``: the pods of the services with given labels, as in the Go original.

Owns when and on which thread requests are sent. Must not know whether a pod is a node: braft probes
every contact.
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
from braft_k8s.pace import ListPace
from braft_k8s.pods import contacts_of, selector_text
from braft_k8s.watching import Watches

__all__ = ["K8sDiscovery"]

log = logging.getLogger(__name__)


class K8sDiscovery(Discovery):
    """Contacts from the Kubernetes API. The client blocks, so it has a separate thread."""

    name: ClassVar[str] = "k8s"

    def __init__(self, spec: str, context: DiscoveryContext) -> None:
        """Parse the spec and read the options.

        :raises ConfigError: a part of the spec or an option is invalid; names it.
        """
        super().__init__(spec, context)
        self.options = K8sOptions.merged(spec, context.options)
        self.poll_interval = self.options.poll_interval
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="braft-k8s")
        self._stopped = False
        #: Used only on the executor's thread.
        self._api: KubeApi | None = None
        self._watches: Watches | None = None

    def describe(self) -> str:
        """Return the options as the Go original does: ``k8s://ns=prod/labels=svc=a/portName=``."""
        options = self.options
        labels = selector_text(options.labels)
        return f"{self.name}://ns={options.namespace}/labels={labels}/portName={options.portname}"

    async def start(self) -> None:
        """Wait for the random time of ``K8S_SLEEP``; :meth:`discover` sends the first request."""
        if not self.options.labels:
            log.warning(
                "k8s discovery without labels: the pods of all services of the namespace are "
                "contacts; set K8S_LABELS to limit them"
            )
        # Spreads the nodes of a roll-out; not a secret.
        await asyncio.sleep(random.uniform(*self.options.sleep))  # noqa: S311

    async def discover(self) -> list[Contact]:
        """Return the running pods that are not terminating.

        :raises Unreachable: the API did not answer, or answered with an error.
        """
        return (await self._list_contacts())[0]

    async def _list_contacts(self) -> tuple[list[Contact], list[dict[str, str]]]:
        """Return the contacts, and the selectors that matched them."""
        if self._stopped:
            raise Unreachable(f"{self.describe()}: stopped", sent=False)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._list_blocking)

    async def watch(self) -> AsyncIterator[list[Contact]]:
        """List again whenever a watch reports a change, and periodically without one.

        :raises Unreachable: as :meth:`discover`; call it again then.
        """
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        pace = ListPace(self.poll_interval)

        def notify() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(news.set)

        watches: Watches | None = None
        try:
            while True:
                news.clear()
                contacts, selectors = await self._list_contacts()
                pace.listed(loop.time())
                if watches is None:
                    watches = self._watches = Watches(self._connect, self.options.labels, notify)
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
        """Cancel queued requests, and wait for the running one, which has a timeout."""
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

    def _list_blocking(self) -> tuple[list[Contact], list[dict[str, str]]]:
        """List the pods. Runs on the executor's thread."""
        if self._api is None:
            self._api = self._connect()
        try:
            selectors = self._api.selectors(self.options.labels)
            pods = [pod for selector in selectors for pod in self._api.pods(selector)]
        except Unreachable:
            # The next poll connects again, with the token and CA that the files have by then.
            self._api.close()
            self._api = None
            raise
        return contacts_of(pods, self.context, self.options.portname, self.name), selectors
