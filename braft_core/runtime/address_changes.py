"""Decide when a node advertises another address of its host. Pure.

A host may have no address when the node starts, and get others while it runs. An address that the
host still has is kept, unless it is a loopback or link-local one and a better one appears: every
change costs the cluster an entry.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

__all__ = ["AddressTracker"]


class AddressTracker:
    """Follows the addresses of a host.

    :param ip: the address that is advertised now; a loopback one if there was no other.
    """

    def __init__(self, ip: str) -> None:
        self.ip = ip
        self._candidate = ""

    def update(self, own: Collection[str], best: str) -> str:
        """Return the address to advertise from now on, "" to keep the one that is.

        A change needs two calls in a row with the same result: an address that is being renewed may
        be missing for a moment. The address family stays, since the sockets listen on one family.

        :param own: all addresses of the host.
        :param best: the address that a node started now would advertise; "" if none is usable.
        """
        candidate = best if best and self._is_better(best, own) else ""
        settled = candidate == self._candidate
        self._candidate = candidate
        if not candidate or not settled:
            return ""
        self.ip, self._candidate = candidate, ""
        return candidate

    def _is_better(self, best: str, own: Collection[str]) -> bool:
        now, then = ipaddress.ip_address(self.ip), ipaddress.ip_address(best)
        if now.version != then.version or then.is_loopback:
            return False
        return self.ip not in own or _reach(then) > _reach(now)


def _reach(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    """Return the scope of an address: this host, its link, anywhere."""
    return 0 if address.is_loopback else 1 if address.is_link_local else 2
