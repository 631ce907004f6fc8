"""``/distribute``: the Go original's routes to items that are spread evenly over the nodes.

``POST /distribute`` replaces the items; ``GET`` returns all of them, or those of one node. The
application decides what an item means.
"""

from __future__ import annotations

from collections.abc import Mapping

from falcon.asgi import Request, Response

from braft_core.abc import NodeAPI
from braft_core.http.json_body import json_body, send_json
from braft_core.http.operation import (
    ANY_JSON,
    JSON,
    TIMEOUT,
    Operation,
    RequestBody,
    ResponseSpec,
    array,
    documented,
    text,
)
from braft_core.http.params import timeout_param
from braft_core.http.problems import BadInput

__all__ = ["DistributeKeyResource", "DistributeResource"]

_ITEMS = 'a JSON list of texts, such as ["a", "b"], or an object of item to its data'
_BY_NODE = {
    200: ResponseSpec(
        "the items by node",
        {JSON: {"type": "object", "additionalProperties": array(text())}},
    )
}


class DistributeResource:
    """All items by node: ``{node: [item]}``."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(Operation("All items, by node.", _BY_NODE, query=(TIMEOUT,)))
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the items of each node that has any."""
        timeout = timeout_param(req)
        assignment = await self._node.aquery("distribute", "assignment", timeout=timeout)
        await send_json(resp, _by_node(assignment))

    @documented(
        Operation(
            "Replace the items that are spread over the nodes.",
            _BY_NODE,
            query=(TIMEOUT,),
            body=RequestBody(
                {JSON: {"anyOf": [array(text()), {"type": "object"}]}},
                "a list of items, or an object of item to its data",
            ),
            problems={422: "the service refuses the items"},
        )
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Replace the items; answer like ``GET``."""
        items = await json_body(req)
        is_list = isinstance(items, list) and all(isinstance(item, str) for item in items)
        if not is_list and not isinstance(items, dict):
            raise BadInput("request body", items, _ITEMS)
        timeout = timeout_param(req)
        assignment = await self._node.aexecute("distribute", "distribute", items, timeout=timeout)
        await send_json(resp, _by_node(assignment))


class DistributeKeyResource:
    """The items of one node."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The items of one node and their data.",
            {
                200: ResponseSpec(
                    "its items; empty for an unknown node",
                    {JSON: {"type": "object", "additionalProperties": ANY_JSON}},
                )
            },
            query=(TIMEOUT,),
        )
    )
    async def on_get(self, req: Request, resp: Response, key: str) -> None:
        """Answer ``{item: data}`` of the node with the id ``key``; empty for an unknown one."""
        timeout = timeout_param(req)
        items = await self._node.aquery("distribute", "items_of", key, timeout=timeout)
        await send_json(resp, items)


def _by_node(assignment: Mapping[str, str]) -> dict[str, list[str]]:
    nodes: dict[str, list[str]] = {}
    for item, node in assignment.items():
        nodes.setdefault(node, []).append(item)
    return nodes
