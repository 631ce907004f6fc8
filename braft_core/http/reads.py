"""Reads of a service: how consistent, how old at most, and how long to wait."""

from __future__ import annotations

from typing import Any, Final

from falcon.asgi import Request, Response

from braft_core.abc import NodeAPI
from braft_core.http.operation import MAX_TIMEOUT_SECONDS, TIMEOUT, Parameter, text
from braft_core.http.params import seconds_param, text_param, timeout_param
from braft_core.http.problems import BadInput
from braft_core.runtime import clock

__all__ = ["CONSISTENCY", "READ", "STALENESS", "TOO_STALE", "read"]

#: Accepted values of ``consistency``.
CONSISTENCY: Final = ("linearizable", "lease", "stale")

_SECONDS: Final = {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_SECONDS}
#: The query parameters of a read.
READ: Final = (
    Parameter(
        "consistency",
        "`linearizable`: sees every write acknowledged before; `lease`: the same while clocks run "
        "at nearly equal rates; `stale`: the state of this node",
        text(enum=list(CONSISTENCY), default=CONSISTENCY[0]),
    ),
    Parameter("max_staleness", "seconds; only with `consistency=stale`", _SECONDS),
    TIMEOUT,
)
STALENESS: Final = Parameter(
    "Braft-Staleness", "only of a stale read: how many seconds old the state may be", text()
)
TOO_STALE: Final = {503: "the state may be older than `max_staleness`"}


async def read(
    node: NodeAPI, req: Request, resp: Response, service: str, query: str, *args: Any
) -> Any:
    """Send a query as the request asks for it; ``Braft-Staleness`` goes with a stale read."""
    asked = text_param(req, "consistency", default="linearizable")
    if asked not in CONSISTENCY:
        raise BadInput("query parameter consistency", asked, ", ".join(CONSISTENCY))
    limit = seconds_param(req, "max_staleness")
    options: dict[str, Any] = {"consistency": asked, "timeout": timeout_param(req)}
    if asked == "stale":
        # Taken before the read: the state that is read can only be newer.
        began, staleness = clock.monotonic(), node.staleness
        found = await node.aquery(service, query, *args, **options, max_staleness=limit)
        resp.set_header("Braft-Staleness", f"{staleness + clock.monotonic() - began:.3f}")
        return found
    if limit is not None:
        raise BadInput("query parameter max_staleness", limit, "with consistency=stale")
    return await node.aquery(service, query, *args, **options)
