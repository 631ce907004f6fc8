"""The etcd v3 API on a braft node: ``BRAFT_ETCD_SERVER=http2`` or ``BRAFT_ETCD_LISTEN=host:port``.

Registers it with braft.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from braft_core.abc import FrontEnd, NodeAPI
from braft_core.plugin import hookimpl
from braft_core.plugin.options import PluginOptions
from braft_core.tokens import Keyring
from braft_etcd.options import EtcdOptions

if TYPE_CHECKING:
    import typer

__all__ = [
    "BRAFT_HOOKS",
    "EtcdOptions",
    "braft_register_cli",
    "braft_register_options",
    "braft_serve",
]

#: The hook ``braft_serve`` is of this version.
BRAFT_HOOKS = 3


@hookimpl
def braft_register_options() -> type[PluginOptions]:
    """Return the options of ``[plugins.etcd]``."""
    return EtcdOptions


@hookimpl
def braft_serve(node: NodeAPI, keyring: Keyring) -> FrontEnd | None:
    """Return the etcd API, if the options want one."""
    options = node.plugin_options(EtcdOptions)
    if not options.chosen_server:
        return None
    # Not before it is chosen: every node imports this module.
    from braft_etcd.server import EtcdFrontEnd

    return EtcdFrontEnd(node, keyring, options)


@hookimpl
def braft_register_cli(app: typer.Typer) -> None:
    """Add ``braft store import``."""
    from braft_etcd.commands import add_commands

    add_commands(app)
