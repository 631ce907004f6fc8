"""Static discovery for braft: the scheme ``static``.

Owns the registration. Must not know how braft chooses a discovery.
"""

from __future__ import annotations

from braft_core.abc import Discovery
from braft_core.plugin import hookimpl
from braft_core.plugin.options import PluginOptions
from braft_static.discovery import StaticDiscovery
from braft_static.options import StaticOptions

__all__ = ["StaticDiscovery", "braft_register_discovery", "braft_register_options"]


@hookimpl
def braft_register_discovery() -> type[Discovery]:
    """Provide the discovery ``static``."""
    return StaticDiscovery


@hookimpl
def braft_register_options() -> type[PluginOptions]:
    """Declare the section ``[plugins.static]``."""
    return StaticOptions
