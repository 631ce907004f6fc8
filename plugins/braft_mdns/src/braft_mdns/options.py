"""What ``[plugins.mdns]`` and ``BRAFT_MDNS_*`` may say."""

from __future__ import annotations

from braft_core.plugin.options import Flag, PluginOptions, PositiveDuration, Text

__all__ = ["MdnsOptions"]


class MdnsOptions(PluginOptions):
    """Durations in seconds."""

    section = "mdns"

    service: Text = "_braft._tcp,_windows"
    """Service type, subtypes after commas; the setting MDNS_SERVICE."""
    resolve_timeout: PositiveDuration = 3.0
    """How long to wait for the records of a node before asking again."""
    refresh: PositiveDuration = 20.0
    """How long an address is believed before the node is asked for it again."""
    look_again: PositiveDuration = 2.0
    """How often the host's interfaces are looked at for changes."""
    any_network: Flag = False
    """Take nodes at addresses outside the networks of this host's interfaces too."""
    alone_after: PositiveDuration = 10.0
    """When to say that nobody else is there."""
