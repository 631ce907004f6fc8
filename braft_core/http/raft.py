"""``GET /raft``: the cluster as this node sees it. The shape is ``braft_core.details``'s."""

from __future__ import annotations

import falcon

from braft_core.abc import NodeAPI
from braft_core.http.wire import send_json, timeout_param

__all__ = ["RaftResource"]


class RaftResource:
    """Every member is asked; those that stay silent carry an ``error``."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The whole view. Answered without a leader too: that is when it is needed most."""
        send_json(resp, self._node.cluster_view(timeout=timeout_param(req)))
