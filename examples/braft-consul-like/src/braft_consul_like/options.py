"""The options ``[plugins.consul-like]`` and ``BRAFT_CONSUL_LIKE_*``."""

from __future__ import annotations

from braft_core.plugin.options import PluginOptions, PositiveDuration, SecretStr

__all__ = ["ConsulLikeOptions"]


class ConsulLikeOptions(PluginOptions):
    """Durations in seconds."""

    section = "consul-like"

    token: SecretStr = SecretStr("")
    """Sent to the registry as a bearer token."""
    ttl: PositiveDuration = 15.0
    """How long the registry believes in this node without hearing from it."""
    wait: PositiveDuration = 10.0
    """How long one question may wait at the registry for a change."""
    timeout: PositiveDuration = 5.0
    """How long the registry may take to answer anything else."""
