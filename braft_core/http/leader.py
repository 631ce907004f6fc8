"""``/v1/leader``: who leads, and handing that over."""

from __future__ import annotations

import falcon

from braft_core.abc import NodeAPI
from braft_core.errors import NoLeader
from braft_core.http.problems import BadInput
from braft_core.http.wire import parse_json, read_body, send_json, timeout_param

__all__ = ["LeaderResource"]


class LeaderResource:
    """``{"id", "address"}`` of the leader."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The leader this node knows; 503 if it knows none."""
        server_id, address = self._node.leader
        if not server_id:
            raise NoLeader("this node knows no leader at the moment")
        send_json(resp, {"id": server_id, "address": address})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Transfer leadership to ``{"to": id}``, or without a body to the most up-to-date voter."""
        body = read_body(req)
        asked = parse_json(body) if body else {}
        to = asked.get("to", "") if isinstance(asked, dict) else None
        if not isinstance(to, str):
            raise BadInput("request body", asked, 'nothing, or {"to": "<server id>"}')
        leader = self._node.transfer_leadership(to, timeout=timeout_param(req))
        address = next((m["address"] for m in self._node.members() if m["id"] == leader), "")
        send_json(resp, {"id": leader, "address": address})
