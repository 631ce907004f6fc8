"""The settings of the command ``braft``, where they differ from those of an embedded node.

An embedded node has a discovery only if one is chosen. The command keeps the default of the
Go original: mDNS, if it is installed. The command owns its process, so it also freezes the garbage
collector; an embedded node does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from braft_core.config import Settings

__all__ = ["command_settings"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_INSTALLED_DEFAULT = "mdns"
_OWN_PROCESS: dict[str, Any] = {"gc_freeze": True}


def command_settings(options: Mapping[str, Any] = _NOTHING) -> Settings:
    """Load the settings of a node that the command starts here.

    :param options: settings given on the command line.
    :raises ConfigError: a setting is wrong.
    """
    from braft_core.config import Settings
    from braft_core.plugin.manager import Plugins
    from braft_core.plugin.registry import Registry

    settings = Settings.load(cli=options, defaults=_OWN_PROCESS)
    if settings.discovery:
        return settings
    # The caller that starts or shows the node reports plugins that cannot be loaded.
    registry = Registry(Plugins.load(settings.plugins_disable, tolerate=True))
    installed = _INSTALLED_DEFAULT in registry.names("discovery")
    chosen = _INSTALLED_DEFAULT if installed else "none"
    return Settings.load(cli=options, defaults=_OWN_PROCESS | {"discovery": chosen})
