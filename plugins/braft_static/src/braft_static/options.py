"""What ``[plugins.static]`` and ``BRAFT_STATIC_*`` may say."""

from __future__ import annotations

from braft_core.plugin.options import PluginOptions, PositiveDuration

__all__ = ["StaticOptions"]


class StaticOptions(PluginOptions):
    """Durations in seconds."""

    section = "static"

    poll_interval: PositiveDuration = 1.0
    """Pause between two looks at the list, at which its names are resolved again."""
    resolve_timeout: PositiveDuration = 5.0
    """How long one name may take to resolve."""
