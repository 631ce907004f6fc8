"""Static discovery for braft: the scheme ``static``.

Owns its registration. Must not know how braft chooses among discoveries.
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
    """The discovery ``static``."""
    return StaticDiscovery


@hookimpl
def braft_register_options() -> type[PluginOptions]:
    """The section ``[plugins.static]``."""
    return StaticOptions
