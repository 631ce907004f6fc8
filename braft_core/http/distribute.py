"""``/distribute``: items spread evenly over the nodes, each item on one node.

``POST /distribute`` sets the items, ``GET`` shows them all or those of one node. What an item
means is the application's business.
"""

from __future__ import annotations

from collections.abc import Mapping

import falcon

from braft_core.abc import NodeAPI
from braft_core.http.problems import BadInput
from braft_core.http.wire import json_body, send_json, timeout_param

__all__ = ["DistributeKeyResource", "DistributeResource"]

_ITEMS = 'a JSON list of texts, such as ["a", "b"], or an object of item to its data'


class DistributeResource:
    """All items by the node that has them: ``{node: [item]}``."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Which node has which items; a node without any does not appear."""
        timeout = timeout_param(req)
        send_json(resp, _by_node(self._node.query("distribute", "assignment", timeout=timeout)))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Replace the items; answers as ``GET`` does afterwards."""
        items = json_body(req)
        is_list = isinstance(items, list) and all(isinstance(item, str) for item in items)
        if not is_list and not isinstance(items, dict):
            raise BadInput("request body", items, _ITEMS)
        timeout = timeout_param(req)
        assignment = self._node.execute("distribute", "distribute", items, timeout=timeout)
        send_json(resp, _by_node(assignment))


class DistributeKeyResource:
    """The items of one node."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response, key: str) -> None:
        """``{item: data}`` of the node that ``GET /distribute`` calls ``key``; may be empty."""
        timeout = timeout_param(req)
        send_json(resp, self._node.query("distribute", "items_of", key, timeout=timeout))


def _by_node(assignment: Mapping[str, str]) -> dict[str, list[str]]:
    nodes: dict[str, list[str]] = {}
    for item, node in assignment.items():
        nodes.setdefault(node, []).append(item)
    return nodes
