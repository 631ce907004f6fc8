"""``GET /plugins/counter``, ``GET|POST /plugins/counter/{key}``.

The routes run on the HTTP server's event loop, so they await what waits. Errors that braft raises
become problem JSON with 409, 503 or 504, as in braft's own routes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import falcon.asgi

from braft_core.abc import NodeAPI
from braft_core.errors import InvalidRequest
from braft_counter.options import CounterOptions

__all__ = ["add_routes"]

_SERVICE = "counter"


def add_routes(app: falcon.asgi.App[Any, Any], node: NodeAPI) -> None:
    """Add the routes before the node serves."""
    app.add_route("/plugins/counter", _Every(node))
    app.add_route("/plugins/counter/{key}", _One(node))


class _Every:
    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        response.media = await self._node.aquery(_SERVICE, "every")


class _One:
    _accepted: ClassVar[str] = 'JSON such as {"add": 1}'

    def __init__(self, node: NodeAPI) -> None:
        self._node = node
        self._most = node.plugin_options(CounterOptions).largest_step

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, key: str
    ) -> None:
        response.media = {"value": await self._node.aquery(_SERVICE, "get", key)}

    async def on_post(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, key: str
    ) -> None:
        said = await request.get_media(default_when_empty={})
        amount = said.get("add") if isinstance(said, dict) else None
        if type(amount) is not int or abs(amount) > self._most:
            raise InvalidRequest(
                f"add={amount!r}; accepted: {self._accepted}, at most {self._most:,} either way"
            )
        response.media = {"value": await self._node.aexecute(_SERVICE, "add", key, amount)}
