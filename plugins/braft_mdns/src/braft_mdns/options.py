"""The options of ``[plugins.mdns]`` and ``BRAFT_MDNS_*``."""

from __future__ import annotations

from braft_core.plugin.options import Flag, PluginOptions, PositiveDuration, Text

__all__ = ["MdnsOptions"]


class MdnsOptions(PluginOptions):
    """Options of the discovery ``mdns``; durations in seconds."""

    section = "mdns"

    service: Text = "_braft._tcp,_windows"
    """Service type, subtypes after commas; the setting MDNS_SERVICE."""
    resolve_timeout: PositiveDuration = 3.0
    """Timeout of a query for the records of a node."""
    refresh: PositiveDuration = 20.0
    """Pause between two queries for the address of a node."""
    look_again: PositiveDuration = 2.0
    """Pause between two checks of the host's interfaces for changes."""
    any_network: Flag = False
    """Accept nodes at addresses outside the networks of this host's interfaces."""
    alone_after: PositiveDuration = 10.0
    """Time after which the log warns that no other node answers."""
