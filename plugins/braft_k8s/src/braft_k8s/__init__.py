"""Kubernetes discovery for braft: the scheme ``k8s``.

Owns the registration. Must not know how braft chooses a discovery.
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
    """Provide the discovery ``k8s``. It imports the Kubernetes client at its first request."""
    from braft_k8s.discovery import K8sDiscovery

    return K8sDiscovery


@hookimpl
def braft_register_options() -> type[PluginOptions]:
    """Declare the section ``[plugins.k8s]``."""
    from braft_k8s.options import K8sOptions

    return K8sOptions
