"""mDNS discovery for braft: the scheme ``mdns``.

Owns the registration. Must not know how braft chooses a discovery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from braft_core.plugin import hookimpl

if TYPE_CHECKING:
    from braft_core.abc import Discovery
    from braft_core.plugin.options import PluginOptions

__all__ = ["braft_register_discovery", "braft_register_options"]


@hookimpl
def braft_register_discovery() -> type[Discovery]:
    """Provide the discovery ``mdns``. Imports zeroconf only when a discovery is chosen."""
    from braft_mdns.discovery import MdnsDiscovery

    return MdnsDiscovery


@hookimpl
def braft_register_options() -> type[PluginOptions]:
    """Declare the section ``[plugins.mdns]``."""
    from braft_mdns.options import MdnsOptions

    return MdnsOptions
