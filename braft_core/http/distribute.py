"""``/distribute``: items spread evenly over the nodes, each item on one node.

``POST /distribute`` sets the items, ``GET`` shows them all or those of one node. What an item
means is the application's business.
"""

from __future__ import annotations

from typing import Any

import falcon

from braft_core.abc import NodeAPI
from braft_core.http.problems import BadInput
from braft_core.http.wire import json_body, send_json, timeout_param

__all__ = ["DistributeKeyResource", "DistributeResource"]

_ITEMS = 'a JSON list of texts, such as ["a", "b"], or an object of item to its data'


class DistributeResource:
    """All items: ``{node: items}``, by server id."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Which node has which items."""
        send_json(resp, _assignment(self._node, req))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Replace the items; answers as ``GET`` does afterwards."""
        items = json_body(req)
        is_list = isinstance(items, list) and all(isinstance(item, str) for item in items)
        if not is_list and not isinstance(items, dict):
            raise BadInput("request body", items, _ITEMS)
        self._node.execute("distribute", "distribute", items, timeout=timeout_param(req))
        send_json(resp, _assignment(self._node, req))


class DistributeKeyResource:
    """The items of one node."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response, key: str) -> None:
        """``key`` is a node as ``GET /distribute`` names it; 404 if it has no items there."""
        assignment = _assignment(self._node, req)
        if key not in assignment:
            raise falcon.HTTPNotFound(description=f"no items are assigned to {key!r}")
        send_json(resp, assignment[key])


def _assignment(node: NodeAPI, req: falcon.Request) -> dict[str, Any]:
    found: dict[str, Any] = node.query("distribute", "assignment", timeout=timeout_param(req))
    return found
