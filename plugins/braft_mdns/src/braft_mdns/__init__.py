"""mDNS discovery for braft: the scheme ``mdns``.

Owns its registration. Must not know how braft chooses among discoveries.
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
    """The discovery ``mdns``. Imported here, so that naming the plugin loads no zeroconf."""
    from braft_mdns.discovery import MdnsDiscovery

    return MdnsDiscovery


@hookimpl
def braft_register_options() -> type[PluginOptions]:
    """The section ``[plugins.mdns]``."""
    from braft_mdns.options import MdnsOptions

    return MdnsOptions
