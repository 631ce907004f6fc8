"""``/v1/leader``: the leader, and leadership transfer."""

from __future__ import annotations

from falcon.asgi import Request, Response

from braft_core.abc import NodeAPI
from braft_core.errors import NoLeader
from braft_core.http.json_body import decode_json, read_body, send_json
from braft_core.http.operation import (
    JSON,
    TIMEOUT,
    Operation,
    RequestBody,
    ResponseSpec,
    documented,
    obj,
    text,
)
from braft_core.http.params import timeout_param
from braft_core.http.problems import BadInput

__all__ = ["LeaderResource"]

_LEADER = {JSON: obj({"id": text("its server id"), "address": text("its Raft address")})}


class LeaderResource:
    """The leader as ``{"id", "address"}``."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The leader that this node knows.",
            {200: ResponseSpec("the leader", _LEADER)},
            problems={503: "this node knows no leader"},
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the leader that this node knows; 503 if it knows none."""
        leader = self._node.leader
        if leader is None:
            raise NoLeader("this node knows no leader at the moment")
        await send_json(resp, leader._asdict())

    @documented(
        Operation(
            "Transfer leadership; without a body to the most up-to-date voter.",
            {200: ResponseSpec("the new leader", _LEADER)},
            query=(TIMEOUT,),
            body=RequestBody(
                {JSON: obj({"to": text("server id of the new leader")}, ("to",))},
                "the new leader",
                required=False,
            ),
            problems={422: "there is no such voter"},
        )
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Transfer leadership to ``{"to": id}``, or without a body to the most up-to-date voter."""
        body = await read_body(req)
        asked = await decode_json(body) if body else {}
        to = asked.get("to", "") if isinstance(asked, dict) else None
        if not isinstance(to, str):
            raise BadInput("request body", asked, 'nothing, or {"to": "<server id>"}')
        leader = await self._node.atransfer_leadership(to, timeout=timeout_param(req))
        address = next((m.address for m in self._node.members() if m.id == leader), "")
        await send_json(resp, {"id": leader, "address": address})
