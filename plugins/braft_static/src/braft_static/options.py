"""The options of ``[plugins.static]`` and ``BRAFT_STATIC_*``."""

from __future__ import annotations

from braft_core.plugin.options import PluginOptions, PositiveDuration

__all__ = ["StaticOptions"]


class StaticOptions(PluginOptions):
    """Options of the discovery ``static``; durations in seconds."""

    section = "static"

    poll_interval: PositiveDuration = 1.0
    """Pause between two polls, each of which resolves the names again."""
    resolve_timeout: PositiveDuration = 5.0
    """Timeout for resolving one name."""
