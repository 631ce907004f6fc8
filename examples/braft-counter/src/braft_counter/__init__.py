"""Counters for braft: a service, ``/plugins/counter`` over HTTP, and ``braft counter``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from braft_core.plugin import hookimpl

if TYPE_CHECKING:
    import falcon.asgi
    import typer

    from braft_core.abc import NodeAPI, Service
    from braft_core.plugin.options import PluginOptions

__all__ = [
    "braft_register_cli",
    "braft_register_http",
    "braft_register_options",
    "braft_register_service",
]

#: HTTP routes are coroutines.
BRAFT_HOOKS = 2

# Each hook imports what it returns, because every `braft --help` imports this module.


@hookimpl
def braft_register_service() -> type[Service]:
    """Return the service ``counter``: ``BRAFT_SERVICES=kv,counter``."""
    from braft_counter.service import Counter

    return Counter


@hookimpl
def braft_register_http(app: falcon.asgi.App[Any, Any], node: NodeAPI) -> None:
    """Add the routes ``/plugins/counter/{key}``."""
    from braft_counter.web import add_routes

    add_routes(app, node)


@hookimpl
def braft_register_cli(app: typer.Typer) -> None:
    """Add the command ``braft counter``."""
    from braft_counter.commands import counter

    app.add_typer(counter, name="counter")


@hookimpl
def braft_register_options() -> type[PluginOptions]:
    """Return the model of the section ``[plugins.counter]``."""
    from braft_counter.options import CounterOptions

    return CounterOptions
