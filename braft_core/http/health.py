"""``/healthz`` and ``/readyz``, for orchestrators and load balancers; no token is required."""

from __future__ import annotations

from falcon.asgi import Request, Response

from braft_core.abc import NodeAPI
from braft_core.errors import NotReady
from braft_core.http.json_body import send_json
from braft_core.http.operation import JSON, Operation, ResponseSpec, documented, obj, text
from braft_core.http.server_loop import run_in_thread

__all__ = ["HealthResource", "ReadyResource"]

_NOTES = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "description": "problems of a node that serves nevertheless: subject to sentence",
}


class HealthResource:
    """Liveness: the process runs and serves HTTP.

    It says nothing about the cluster: restarting a node because its cluster has no quorum would
    only make that worse.
    """

    @documented(
        Operation(
            "Whether the process is alive. Needs no token, and accepts any `Host`.",
            {200: ResponseSpec("it is alive", {JSON: obj({"status": text(const="ok")})})},
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer 200."""
        await send_json(resp, {"status": "ok"})


class ReadyResource:
    """Readiness: requests can be served now."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "Whether requests can be served now. Needs no token.",
            {
                200: ResponseSpec(
                    "ready",
                    {JSON: obj({"status": text(const="ready"), "notes": _NOTES}, ("notes",))},
                )
            },
            problems={503: "not ready; `detail` says why, `data` may have `notes`"},
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer 200, or 503 with the reason.

        ``notes`` (in ``data`` of a 503) lists problems of a node that serves nevertheless.
        """
        # ready() accesses the data directory, and a disk may hang.
        ready, reason = await run_in_thread(self._node.ready)
        notes = self._node.notes()
        extra = {"notes": notes} if notes else {}
        if not ready:
            raise NotReady(reason, **extra)
        await send_json(resp, {"status": "ready", **extra})
