"""``/healthz`` and ``/readyz``: for orchestrators and load balancers. Open without a token."""

from __future__ import annotations

import falcon

from braft_core.abc import NodeAPI
from braft_core.errors import NotReady
from braft_core.http.wire import send_json

__all__ = ["HealthResource", "ReadyResource"]


class HealthResource:
    """The process is alive and serves HTTP. Says nothing about the cluster: restarting a node
    because its cluster has no quorum would only make that worse."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Always 200."""
        send_json(resp, {"status": "ok"})

    on_head = on_get


class ReadyResource:
    """Whether requests can be served now."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200, or 503 with the sentence that says why not.

        ``notes``, in ``data`` of a 503, is there where something is wrong though the node may
        serve.
        """
        ready, reason = self._node.ready()
        notes = self._node.notes()
        told = {"notes": notes} if notes else {}
        if not ready:
            raise NotReady(reason, **told)
        send_json(resp, {"status": "ready", **told})

    on_head = on_get
