"""Discovery for braft through a registry that speaks HTTP: the scheme ``consul-like``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from braft_core.plugin import hookimpl

if TYPE_CHECKING:
    from braft_core.abc import Discovery
    from braft_core.plugin.options import PluginOptions

__all__ = ["braft_register_discovery", "braft_register_options"]


@hookimpl
def braft_register_discovery() -> type[Discovery]:
    """Return the discovery ``consul-like``; the import here keeps `braft --help` quick."""
    from braft_consul_like.discovery import ConsulLikeDiscovery

    return ConsulLikeDiscovery


@hookimpl
def braft_register_options() -> type[PluginOptions]:
    """Return the model of the section ``[plugins.consul-like]``."""
    from braft_consul_like.options import ConsulLikeOptions

    return ConsulLikeOptions
