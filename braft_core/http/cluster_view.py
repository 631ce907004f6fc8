"""``GET /raft``: the cluster as this node sees it.

:mod:`braft_core.compat.go_braft.details` defines the JSON.
"""

from __future__ import annotations

from falcon.asgi import Request, Response

from braft_core.abc import NodeAPI
from braft_core.http.json_body import send_json
from braft_core.http.operation import (
    JSON,
    TIMEOUT,
    Operation,
    ResponseSpec,
    array,
    documented,
    integer,
    obj,
    text,
)
from braft_core.http.params import timeout_param

__all__ = ["ClusterViewResource"]

_FREE = {"type": "object"}
_VIEW = obj(
    {
        "currentLeader": {"type": "boolean", "description": "whether this node leads"},
        "leaderID": text("server id of the leader, empty if none is known"),
        "leaderAddr": text("its address"),
        "discovery": text("how nodes are found"),
        "memberList": array(_FREE),
        "nodeNum": integer(),
        "nodes": array(_FREE, "each member's own details, or `error`"),
        "raftServers": array(_FREE, "the Raft configuration"),
    }
)


class ClusterViewResource:
    """Asks every member; the entry of a silent one has an ``error``."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The cluster as this node sees it; every member is asked.",
            {200: ResponseSpec("the view", {JSON: _VIEW})},
            query=(TIMEOUT,),
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the whole view, also without a leader: then it is needed most."""
        await send_json(resp, await self._node.acluster_view(timeout=timeout_param(req)))
