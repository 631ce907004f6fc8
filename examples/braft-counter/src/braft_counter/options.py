"""The options ``[plugins.counter]`` and ``BRAFT_COUNTER_*``."""

from __future__ import annotations

from braft_core.plugin.options import PluginOptions, PositiveInt

__all__ = ["CounterOptions"]


class CounterOptions(PluginOptions):
    """Options of the HTTP routes. The service has none: it must do the same on every node."""

    section = "counter"

    largest_step: PositiveInt = 1_000_000
    """How far one request over HTTP may change a counter."""
