"""``/v1/snapshots``: the snapshots of the node that is asked, and backups of them.

Snapshots belong to a node, not to the cluster: nodes take them at their own times, and an id means
something on one node alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import falcon

from braft_core.abc import NodeAPI
from braft_core.errors import BraftError, StorageError
from braft_core.http.wire import send_json, timeout_param

__all__ = ["SnapshotResource", "SnapshotsResource"]

logger = logging.getLogger(__name__)


class SnapshotsResource:
    """``{"snapshots": [{"id", "index", "term", "size", "members"}]}``, newest first."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Those this node holds."""
        send_json(resp, {"snapshots": self._node.snapshots()})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Take one now; answers with its row once it is durable."""
        send_json(resp, self._node.take_snapshot(timeout=timeout_param(req)))


class SnapshotResource:
    """One snapshot as a file."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response, snapshot_id: str) -> None:
        """Stream it; 404 if this node has none of that id.

        The length is not announced: an answer that was cut short lacks the last piece of the
        chunked encoding, and the file's own end.
        """
        try:
            facts, pieces = self._node.open_snapshot(snapshot_id)
        except StorageError as error:
            if any(row["id"] == snapshot_id for row in self._node.snapshots()):
                raise
            raise falcon.HTTPNotFound(description=error.message) from error
        resp.content_type = "application/octet-stream"
        resp.downloadable_as = f"{snapshot_id}.snap"
        resp.set_header("Braft-Snapshot-Index", str(facts["index"]))
        resp.set_header("Braft-Snapshot-Term", str(facts["term"]))
        resp.set_header("Braft-Snapshot-Size", str(facts["size"]))
        resp.set_header("Braft-Cluster-Name", str(facts["clusterName"]))
        resp.set_header("Braft-Cluster-ID", str(facts["clusterID"]))
        resp.stream = _logged(snapshot_id, pieces)


def _logged(snapshot_id: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Once the answer has begun an error can only cut it short, so the log must tell why."""
    try:
        yield from pieces
    except BraftError as error:
        logger.error("snapshot %s could not be sent whole: %s", snapshot_id, error.message)
        raise
