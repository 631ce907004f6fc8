"""``/v1/snapshots``: the snapshots of the node that is asked, and backups of them.

Snapshots belong to a node, not to the cluster: nodes take them at their own times, and an id means
something on one node alone.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import falcon
from falcon.asgi import Request, Response

from braft_core.abc import NodeAPI
from braft_core.errors import BraftError, Busy, StorageError
from braft_core.http.json_body import send_json
from braft_core.http.operation import (
    BINARY,
    JSON,
    TIMEOUT,
    Operation,
    Parameter,
    ResponseSpec,
    array,
    documented,
    integer,
    obj,
    text,
)
from braft_core.http.params import timeout_param
from braft_core.http.server_loop import run_in_thread

__all__ = ["MAX_DOWNLOADS", "SnapshotResource", "SnapshotsResource"]

logger = logging.getLogger(__name__)

#: How many snapshots are sent at a time: each has a file open.
MAX_DOWNLOADS = 64

_ROW = obj(
    {
        "id": text(),
        "index": integer("of the last entry that is in it"),
        "term": integer("of that entry"),
        "size": integer("bytes of its contents"),
        "members": array(text(), "server ids of its configuration"),
    },
    ("members",),
)
_FACTS = tuple(
    Parameter(f"Braft-{name}", meaning, text())
    for name, meaning in (
        ("Snapshot-Index", "of the last entry that is in it"),
        ("Snapshot-Term", "of that entry"),
        ("Snapshot-Size", "bytes of its contents"),
        ("Cluster-Name", "where it is from"),
        ("Cluster-ID", "where it is from"),
    )
)


class SnapshotsResource:
    """``{"snapshots": [{"id", "index", "term", "size", "members"}]}``, newest first."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The snapshots that this node holds, newest first.",
            {200: ResponseSpec("their rows", {JSON: obj({"snapshots": array(_ROW)})})},
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Those this node holds."""
        await send_json(resp, {"snapshots": await run_in_thread(self._node.snapshots)})

    @documented(
        Operation(
            "Take a snapshot of this node's state now.",
            {200: ResponseSpec("its row, once it is durable", {JSON: _ROW})},
            query=(TIMEOUT,),
        )
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Take one now; answers with its row once it is durable."""
        taken = await self._node.atake_snapshot(timeout=timeout_param(req))
        resp.set_header("Braft-Snapshot-Index", str(taken["index"]))
        await send_json(resp, taken)


class SnapshotResource:
    """One snapshot as a file."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node
        self._downloads = 0

    @documented(
        Operation(
            "One snapshot as a file that `braft snapshot restore` takes.",
            {
                200: ResponseSpec(
                    "the file, in pieces; one that lacks the last piece is no snapshot",
                    {BINARY: text(format="binary")},
                    (*_FACTS, Parameter("Content-Disposition", "a name for the file", text())),
                )
            },
            problems={
                404: "this node has none of that id",
                503: "as many as this node sends at a time are under way",
            },
        )
    )
    async def on_get(self, req: Request, resp: Response, snapshot_id: str) -> None:
        """Stream it; 404 if this node has none of that id.

        The length is not announced: an answer that was cut short lacks the last piece of the
        chunked encoding, and the file's own end.
        """
        try:
            facts, pieces = await run_in_thread(self._node.open_snapshot, snapshot_id)
        except StorageError as error:
            if any(row["id"] == snapshot_id for row in await run_in_thread(self._node.snapshots)):
                raise
            raise falcon.HTTPNotFound(description=error.message) from error
        resp.content_type = "application/octet-stream"
        resp.downloadable_as = f"{snapshot_id}.snap"
        resp.set_header("Braft-Snapshot-Index", str(facts["index"]))
        resp.set_header("Braft-Snapshot-Term", str(facts["term"]))
        resp.set_header("Braft-Snapshot-Size", str(facts["size"]))
        resp.set_header("Braft-Cluster-Name", str(facts["clusterName"]))
        resp.set_header("Braft-Cluster-ID", str(facts["clusterID"]))
        if req.method == "HEAD":
            return
        if self._downloads >= MAX_DOWNLOADS:
            raise Busy(f"{MAX_DOWNLOADS} snapshots are being sent already; try again")
        resp.stream = self._sent(snapshot_id, pieces)

    async def _sent(self, snapshot_id: str, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces, each read when the one before has gone.

        Once the answer has begun an error can only cut it short, so the log must tell why.
        """
        self._downloads += 1
        try:
            while (piece := await run_in_thread(_next_of, pieces)) is not None:
                yield piece
        except BraftError as error:
            logger.error("snapshot %s could not be sent whole: %s", snapshot_id, error.message)
            raise
        finally:
            self._downloads -= 1
            close = getattr(pieces, "close", None)
            if close is not None:
                close()


def _next_of(pieces: Iterator[bytes]) -> Any:
    return next(pieces, None)
