"""The discovery ``mdns``: announces this node on the local network and browses for the others.

Owns the announcement, the browsing and the current set. Must not know whether a contact is a node:
braft probes every contact.
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
from braft_mdns.records import contact_of, is_foreign, properties_of

__all__ = ["MdnsDiscovery"]

log = logging.getLogger(__name__)

#: DNS record type PTR and class IN.
_TYPE_PTR, _CLASS_IN = 12, 1
#: Seconds between two rotations of the instances, if there are more than can be followed.
_ROTATION_INTERVAL = 5.0
#: Number of added names after which the browser is restarted.
_MAX_ADDED = 8192


class MdnsDiscovery(Discovery):
    """Contacts from multicast DNS. Everything runs on the loop, zeroconf included."""

    name: ClassVar[str] = "mdns"
    announces: ClassVar[bool] = True

    def __init__(self, spec: str, context: DiscoveryContext) -> None:
        """Parse the service name and read the options.

        :raises ConfigError: the service name or an option is invalid; names it.
        """
        super().__init__(spec, context)
        self.options = MdnsOptions.read(context.options)
        self.service = ServiceName.parse(spec or self.options.service)
        #: The instance name on the network; it has a number after a name conflict.
        self.instance = ""
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._announcing: asyncio.Task[None] | None = None
        self._alone_timer: asyncio.TimerHandle | None = None
        options = self.options
        self._instances = Instances(
            self._ask, options.refresh, options.resolve_timeout / 10, self._wake_watchers
        )
        #: Names that the browser has added since its start.
        self._added = 0
        self._rotation: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        #: The announced address, and the interfaces.
        self._current: tuple[str, Chosen | None] = ("", None)
        self._interface_watch: asyncio.Task[None] | None = None
        self._recheck = asyncio.Event()
        self._open_lock = asyncio.Lock()
        #: Why there is no multicast at the moment.
        self._open_error: Exception | None = None

    def describe(self) -> str:
        """Return the service, ``mdns://_braft._tcp,_windows``."""
        return f"{self.name}://{self.service}"

    async def start(self) -> None:
        """Start browsing; announce in the background, as claiming a name takes over a second.

        :raises ConfigError: the interface does not exist.
        :raises Unreachable: no multicast socket can be opened.
        """
        self._open(choose_interfaces(self.context.ip, self.context.interface))
        self._interface_watch = asyncio.create_task(self._watch_interfaces())
        self._rotation = asyncio.create_task(self._rotate_instances())

    async def move(self, ip: str) -> None:
        """Announce another address, on the interface that has it."""
        await super().move(ip)
        self._recheck.set()

    async def discover(self) -> list[Contact]:
        """Return the contacts of all instances that answer, in order of address.

        :raises Unreachable: not started, no multicast, or this node could not be announced.
        """
        if self._open_error is not None:
            raise Unreachable(f"{self.describe()}: {self._open_error}") from self._open_error
        if self._interface_watch is None:
            raise Unreachable(f"{self.describe()}: not started", sent=False)
        if self._announcing and self._announcing.done():
            error = self._announcing.exception()
            if error:
                raise Unreachable(f"{self.describe()}: cannot announce: {error}") from error
        return sorted(self._instances.contacts)

    async def watch(self) -> AsyncIterator[list[Contact]]:
        """Yield the set of contacts now, and after each change."""
        while True:
            changed = self._changed
            yield await self.discover()
            await changed.wait()

    async def stop(self) -> None:
        """Unregister, so that the others remove this node now, not when its records expire."""
        tasks = [task for task in (self._interface_watch, self._rotation) if task is not None]
        self._interface_watch = self._rotation = None
        if tasks:
            async with self._open_lock:  # an interrupted open would leave sockets behind
                for task in tasks:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._close()

    # ---------------------------------------------------------------- interfaces

    def _open(self, chosen: Chosen) -> None:
        """Browse and announce on these interfaces. :raises Unreachable: no multicast socket."""
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
        # Wake the watchers, so that they see a failed announcement.
        self._announcing.add_done_callback(lambda _: self._wake_watchers())
        loop = asyncio.get_running_loop()
        self._alone_timer = loop.call_later(
            self.options.alone_after, self._warn_if_alone, interfaces
        )

    async def _close(self) -> None:
        """Unregister if possible, and release everything except the known instances."""
        zeroconf, self._zeroconf = self._zeroconf, None
        if self._alone_timer:
            self._alone_timer.cancel()
        await self._instances.pause()
        announcing, self._announcing = self._announcing, None
        if announcing:
            announcing.cancel()
            await asyncio.gather(announcing, return_exceptions=True)
        if self._browser:
            await self._browser.async_cancel()
            self._browser = None
        if zeroconf:
            # Unregistering fails on an interface that is gone.
            with suppress(OSError, ZeroconfError):
                await zeroconf.async_close()

    async def _watch_interfaces(self) -> None:
        """Reopen when the interfaces change, because sockets stay on the old ones.

        Waits until two checks give the same result, unless the node has moved.
        """
        before = self._current
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.options.look_again):
                    await self._recheck.wait()
            moved = self._recheck.is_set()
            self._recheck.clear()
            try:
                now = self.context.ip, choose_interfaces(self.context.ip, self.context.interface)
            except (ConfigError, OSError):  # no address now: reopen once there is one
                self._current = before = ("", None)
                continue
            settled, before = moved or now == before, now
            if settled and (now != self._current or self._open_error is not None):
                await self._reopen(now[1])

    async def _reopen(self, chosen: Chosen) -> None:
        log.info("mDNS: now announcing %s on %s", self.context.ip, chosen.interfaces)
        async with self._open_lock:
            await self._close()
            try:
                self._open(chosen)
            except Unreachable as error:
                if self._open_error is None:
                    log.warning("%s", error.message)
                self._open_error = error
            else:
                self._open_error = None
        self._wake_watchers()

    # ---------------------------------------------------------------- announcing

    async def _announce(self, zeroconf: AsyncZeroconf) -> None:
        """Claim a name, then announce the service and, under the same name, its subtypes."""
        info = self._info(self.service.type, instance_label(self.context.node_id))
        sent = [await zeroconf.async_register_service(info, allow_name_change=True)]
        self.instance = info.name.removesuffix(f".{self.service.type}")
        for subtype in self.service.subtype_types:
            # The registry stores services by name; a subtype's PTR record to the same instance
            # needs a separate entry. All other records come from the first entry.
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
            # Only the advertised address, on which this node listens.
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
        """Handle an added, changed or removed instance. Called by zeroconf on the loop."""
        if self._zeroconf is None:
            return
        if state_change is ServiceStateChange.Removed:
            self._instances.removed(name)
            return
        self._added += 1
        self._instances.added(name)

    async def _ask(self, name: str) -> Answer:
        """Query the records of an instance."""
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
        if is_foreign(properties, self.context, self.service):
            log.debug("mDNS: %s belongs to another cluster", printable(info.name))
            return None
        chosen = self._current[1]
        networks = () if chosen is None or self.options.any_network else chosen.networks
        addresses = info.parsed_scoped_addresses()
        return contact_of(addresses, info.port, self.context.ip, self.name, networks)

    async def _rotate_instances(self) -> None:
        """Rotate the followed instances, and restart the browser after a flood of names."""
        while True:
            await asyncio.sleep(_ROTATION_INTERVAL)
            zeroconf = self._zeroconf
            if zeroconf is None:
                continue
            records = zeroconf.zeroconf.cache.get_all_by_details(
                self.service.type, _TYPE_PTR, _CLASS_IN
            )
            self._instances.rotate([str(getattr(r, "alias", "")) for r in records])
            if self._added > _MAX_ADDED:
                await self._restart_browser(zeroconf)

    async def _restart_browser(self, zeroconf: AsyncZeroconf) -> None:
        """Restart the browser, which keeps data of every name until its record expires."""
        async with self._open_lock:
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

    def _warn_if_alone(self, interfaces: object) -> None:
        own = (self.context.ip, self.context.discovery_port)
        if all((contact.host, contact.port) == own for contact in self._instances.contacts):
            log.warning(
                "mDNS: no other node answers for %s after %g s on %s; check that the nodes are on "
                "one network, that it passes multicast (UDP port 5353), and BRAFT_IF",
                self.service,
                self.options.alone_after,
                interfaces,
            )
