"""The discovery ``mdns``: announces this node on the local network and listens for the others.

Owns the announcement, the browsing and the current set. Must not know what a contact turns out
to be: every answer is only a hint, which braft verifies by a probe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, ClassVar

from zeroconf import Error as ZeroconfError
from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from braft_core.abc import Contact, Discovery, DiscoveryContext
from braft_core.errors import ConfigError, Unreachable
from braft_core.escaping import printable
from braft_mdns.instances import Answer, Instances
from braft_mdns.interfaces import Chosen, choose_interfaces, ip_version
from braft_mdns.names import ServiceName, host_name, instance_label
from braft_mdns.options import MdnsOptions
from braft_mdns.records import contact_of, is_stranger, properties_of

__all__ = ["MdnsDiscovery"]

log = logging.getLogger(__name__)

#: Record type and class of DNS: a pointer, of the Internet.
_TYPE_PTR, _CLASS_IN = 12, 1
#: Seconds between two turns of names that find no room.
_TURN = 5.0
#: Names after which browsing begins anew.
_MOST_ADDED = 8192


class MdnsDiscovery(Discovery):
    """Contacts from multicast DNS. Everything runs on the loop; zeroconf needs no thread there."""

    name: ClassVar[str] = "mdns"
    announces: ClassVar[bool] = True

    def __init__(self, spec: str, context: DiscoveryContext) -> None:
        """:raises ConfigError: naming what is wrong in the service name or the options."""
        super().__init__(spec, context)
        self.options = MdnsOptions.read(context.options)
        self.service = ServiceName.parse(spec or self.options.service)
        #: The instance name on the network; another than the first choice after a name clash.
        self.instance = ""
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._announcing: asyncio.Task[None] | None = None
        self._lonely: asyncio.TimerHandle | None = None
        options = self.options
        self._instances = Instances(
            self._ask, options.refresh, options.resolve_timeout / 10, self._wake_watchers
        )
        #: Names that the browser has come upon since it began.
        self._added = 0
        self._turns: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        #: What is announced, and on which interfaces.
        self._current: tuple[str, Chosen | None] = ("", None)
        self._looking: asyncio.Task[None] | None = None
        self._look_now = asyncio.Event()
        self._beginning = asyncio.Lock()
        #: Why nothing is heard or announced at the moment.
        self._trouble: Exception | None = None

    def describe(self) -> str:
        """The service looked for, ``mdns://_braft._tcp,_windows``."""
        return f"{self.name}://{self.service}"

    async def start(self) -> None:
        """Browse, and announce in the background: claiming a name takes more than a second.

        :raises ConfigError: the interface does not exist.
        :raises Unreachable: no multicast socket can be opened.
        """
        self._open(choose_interfaces(self.context.ip, self.context.interface))
        self._looking = asyncio.create_task(self._look_again())
        self._turns = asyncio.create_task(self._take_turns())

    async def move(self, ip: str) -> None:
        """Announce another address, on the interfaces that have it."""
        await super().move(ip)
        self._look_now.set()

    async def discover(self) -> list[Contact]:
        """The instances heard of and not gone, in order of address.

        :raises Unreachable: not started, or announcing this node failed.
        """
        if self._trouble is not None:
            raise Unreachable(f"{self.describe()}: {self._trouble}") from self._trouble
        if self._looking is None:
            raise Unreachable(f"{self.describe()}: not started", sent=False)
        if self._announcing and self._announcing.done():
            error = self._announcing.exception()
            if error:
                raise Unreachable(f"{self.describe()}: cannot announce: {error}") from error
        return sorted(self._instances.contacts)

    async def watch(self) -> AsyncIterator[list[Contact]]:
        """Yield the whole set at once, and again after each addition, update and removal."""
        while True:
            changed = self._changed
            yield await self.discover()
            await changed.wait()

    async def stop(self) -> None:
        """Say goodbye, so that the others forget this node now and not after its records expire."""
        tasks = [task for task in (self._looking, self._turns) if task is not None]
        self._looking = self._turns = None
        if tasks:
            async with self._beginning:  # half a beginning would leave sockets behind
                for task in tasks:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._close()

    # ---------------------------------------------------------------- interfaces

    def _open(self, chosen: Chosen) -> None:
        """Browse and announce on these interfaces. :raises Unreachable: no multicast there."""
        interfaces = chosen.interfaces
        try:
            self._zeroconf = AsyncZeroconf(interfaces=interfaces, ip_version=ip_version(interfaces))
        except (OSError, RuntimeError) as error:
            raise Unreachable(
                f"{self.describe()}: cannot use multicast on {interfaces}: {error}", sent=False
            ) from error
        self._current = self.context.ip, chosen
        self._instances.resume()
        self._browse(self._zeroconf)
        self._announcing = asyncio.create_task(self._announce(self._zeroconf))
        # Who watches shall see the failure of the announcement, if it fails.
        self._announcing.add_done_callback(lambda _: self._wake_watchers())
        loop = asyncio.get_running_loop()
        self._lonely = loop.call_later(self.options.alone_after, self._note_if_alone, interfaces)

    async def _close(self) -> None:
        """Say goodbye where that is possible, and release everything but what is known."""
        zeroconf, self._zeroconf = self._zeroconf, None
        if self._lonely:
            self._lonely.cancel()
        await self._instances.pause()
        announcing, self._announcing = self._announcing, None
        if announcing:
            announcing.cancel()
            await asyncio.gather(announcing, return_exceptions=True)
        if self._browser:
            await self._browser.async_cancel()
            self._browser = None
        if zeroconf:
            # On an interface that is gone nothing can be said.
            with suppress(OSError, ZeroconfError):
                await zeroconf.async_close()

    async def _look_again(self) -> None:
        """Begin anew on other interfaces when they change, as its sockets stay on the old ones.

        A change is waited out until it is the same for two looks, unless the node has moved.
        """
        before = self._current
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.options.look_again):
                    await self._look_now.wait()
            moved = self._look_now.is_set()
            self._look_now.clear()
            try:
                now = self.context.ip, choose_interfaces(self.context.ip, self.context.interface)
            except (ConfigError, OSError):  # no address there now: once there is, begin anew
                self._current = before = ("", None)
                continue
            settled, before = moved or now == before, now
            if settled and (now != self._current or self._trouble is not None):
                await self._begin_anew(now[1])

    async def _begin_anew(self, chosen: Chosen) -> None:
        log.info("mDNS: announcing %s on %s from now on", self.context.ip, chosen.interfaces)
        async with self._beginning:
            await self._close()
            try:
                self._open(chosen)
            except Unreachable as error:
                if self._trouble is None:
                    log.warning("%s", error.message)
                self._trouble = error
            else:
                self._trouble = None
        self._wake_watchers()

    # ---------------------------------------------------------------- announcing

    async def _announce(self, zeroconf: AsyncZeroconf) -> None:
        """Claim a name, then announce the service and, under the same name, its subtypes."""
        info = self._info(self.service.type, instance_label(self.context.node_id))
        sent = [await zeroconf.async_register_service(info, allow_name_change=True)]
        self.instance = info.name.removesuffix(f".{self.service.type}")
        for subtype in self.service.subtype_types:
            # The registry files services by name; the subtype's pointer to the same instance
            # needs an entry of its own. Everything but the pointer is then asked of the first.
            alias = self._info(subtype, self.instance)
            alias.key = f"{alias.key}/{subtype}"
            sent.append(await zeroconf.async_register_service(alias, cooperating_responders=True))
        await asyncio.gather(*sent)
        log.info("announced on mDNS as %s, port %s", info.name, info.port)

    def _info(self, type_: str, instance: str) -> AsyncServiceInfo:
        return AsyncServiceInfo(
            type_,
            f"{instance}.{self.service.type}",
            port=self.context.discovery_port,
            properties=properties_of(self.context, self.service),
            server=host_name(self.context.node_id),
            host_ttl=max(1, int(self.options.refresh)),
            # Only the advertised address: where this node listens.
            parsed_addresses=[self.context.ip],
        )

    # ---------------------------------------------------------------- browsing

    def _on_event(
        self,
        zeroconf: Zeroconf,
        service_type: str,
        name: str,
        state_change: ServiceStateChange,
    ) -> None:
        """An instance came, changed or went. Called by zeroconf on the loop."""
        if self._zeroconf is None:
            return
        if state_change is ServiceStateChange.Removed:
            self._instances.removed(name)
            return
        self._added += 1
        self._instances.added(name)

    async def _ask(self, name: str) -> Answer:
        """Ask an instance for its records."""
        zeroconf = self._zeroconf
        if zeroconf is None:
            return Answer(False, None)
        try:
            info = AsyncServiceInfo(self.service.type, name)
            timeout = self.options.resolve_timeout * 1000
            answered = await info.async_request(zeroconf.zeroconf, timeout)
        except ZeroconfError as error:
            log.debug("mDNS: cannot ask for %s: %r", printable(name), error)
            answered = False
        return Answer(answered, self._contact(info) if answered else None)

    def _contact(self, info: AsyncServiceInfo) -> Contact | None:
        properties: dict[str, Any] = info.decoded_properties
        if is_stranger(properties, self.context, self.service):
            log.debug("mDNS: %s belongs to another cluster", printable(info.name))
            return None
        chosen = self._current[1]
        networks = () if chosen is None or self.options.any_network else chosen.networks
        addresses = info.parsed_scoped_addresses()
        return contact_of(addresses, info.port, self.context.ip, self.name, networks)

    async def _take_turns(self) -> None:
        """Let names that found no room have their turn, and forget a flood of them."""
        while True:
            await asyncio.sleep(_TURN)
            zeroconf = self._zeroconf
            if zeroconf is None:
                continue
            records = zeroconf.zeroconf.cache.get_all_by_details(
                self.service.type, _TYPE_PTR, _CLASS_IN
            )
            self._instances.take_turns([str(getattr(r, "alias", "")) for r in records])
            if self._added > _MOST_ADDED:
                await self._browse_anew(zeroconf)

    async def _browse_anew(self, zeroconf: AsyncZeroconf) -> None:
        """Begin browsing again: a browser keeps a little of every name until it has expired."""
        async with self._beginning:
            browser, self._browser = self._browser, None
            if browser is not None:
                await browser.async_cancel()
            if self._zeroconf is zeroconf:
                self._browse(zeroconf)

    def _browse(self, zeroconf: AsyncZeroconf) -> None:
        self._added = 0
        self._browser = AsyncServiceBrowser(
            zeroconf.zeroconf, self.service.type, handlers=[self._on_event]
        )

    def _wake_watchers(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _note_if_alone(self, interfaces: object) -> None:
        own = (self.context.ip, self.context.discovery_port)
        if all((contact.host, contact.port) == own for contact in self._instances.contacts):
            log.warning(
                "mDNS: nobody else answers for %s after %g s on %s; check that the nodes are on "
                "one network, that it passes multicast (UDP port 5353), and BRAFT_IF",
                self.service,
                self.options.alone_after,
                interfaces,
            )
