"""``/v1/snapshots``: the snapshots of this node, and downloads of them as backups.

Each node takes its own snapshots, so a snapshot id is valid on one node only.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
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

#: Most downloads at a time; each keeps a file open.
MAX_DOWNLOADS = 64

_ROW = obj(
    {
        "id": text(),
        "index": integer("of the last entry it includes"),
        "term": integer("of that entry"),
        "size": integer("size of its contents in bytes"),
        "members": array(text(), "server ids of its configuration"),
    },
    ("members",),
)
_FACTS = tuple(
    Parameter(f"Braft-{name}", meaning, text())
    for name, meaning in (
        ("Snapshot-Index", "of the last entry it includes"),
        ("Snapshot-Term", "of that entry"),
        ("Snapshot-Size", "size of its contents in bytes"),
        ("Cluster-Name", "the cluster it was taken in"),
        ("Cluster-ID", "the cluster it was taken in"),
    )
)


class SnapshotsResource:
    """``{"snapshots": [{"id", "index", "term", "size", "members"}]}``, newest first."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The snapshots of this node, newest first.",
            {200: ResponseSpec("their rows", {JSON: obj({"snapshots": array(_ROW)})})},
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the snapshots of this node."""
        held = await self._node.asnapshots()
        await send_json(resp, {"snapshots": [asdict(snapshot) for snapshot in held]})

    @documented(
        Operation(
            "Take a snapshot of this node's state now.",
            {200: ResponseSpec("its row, once it is durable", {JSON: _ROW})},
            query=(TIMEOUT,),
        )
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Take a snapshot; answer with its row once it is durable."""
        taken = await self._node.atake_snapshot(timeout=timeout_param(req))
        resp.set_header("Braft-Snapshot-Index", str(taken.index))
        await send_json(resp, asdict(taken))


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
                    "the file, in chunks; without the last chunk it is not valid",
                    {BINARY: text(format="binary")},
                    (*_FACTS, Parameter("Content-Disposition", "a file name", text())),
                )
            },
            problems={
                404: "this node has no snapshot with this id",
                503: "too many downloads are in progress",
            },
        )
    )
    async def on_get(self, req: Request, resp: Response, snapshot_id: str) -> None:
        """Stream the file; 404 if this node has no such snapshot.

        There is no ``Content-Length``: a truncated answer lacks the last chunk of the chunked
        encoding, and the end mark of the file.
        """
        try:
            backup = await self._node.aopen_snapshot(snapshot_id)
        except StorageError as error:
            if any(held.id == snapshot_id for held in await self._node.asnapshots()):
                raise
            raise falcon.HTTPNotFound(description=error.message) from error
        resp.content_type = "application/octet-stream"
        resp.downloadable_as = f"{snapshot_id}.snap"
        resp.set_header("Braft-Snapshot-Index", str(backup.info.index))
        resp.set_header("Braft-Snapshot-Term", str(backup.info.term))
        resp.set_header("Braft-Snapshot-Size", str(backup.info.size))
        resp.set_header("Braft-Cluster-Name", backup.cluster_name)
        resp.set_header("Braft-Cluster-ID", backup.cluster_id)
        if req.method == "HEAD":
            return
        if self._downloads >= MAX_DOWNLOADS:
            raise Busy(f"{MAX_DOWNLOADS} snapshot downloads are in progress; try again")
        resp.stream = self._stream(snapshot_id, backup.chunks)

    async def _stream(self, snapshot_id: str, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the chunks; each is read after the previous one was sent.

        An error can only truncate an answer that has begun, so it is logged.
        """
        self._downloads += 1
        try:
            while (chunk := await run_in_thread(_next_chunk, chunks)) is not None:
                yield chunk
        except BraftError as error:
            logger.error("download of snapshot %s failed: %s", snapshot_id, error.message)
            raise
        finally:
            self._downloads -= 1
            close = getattr(chunks, "close", None)
            if close is not None:
                close()


def _next_chunk(chunks: Iterator[bytes]) -> Any:
    return next(chunks, None)
