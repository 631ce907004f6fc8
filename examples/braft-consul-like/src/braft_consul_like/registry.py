"""A registry in memory, to try the discovery with: ``python -m braft_consul_like.registry 8500``.

It keeps nothing on disk. In production use your own registry.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import falcon

__all__ = ["Registry", "make_app"]

_LONGEST_WAIT = 60.0
_LONGEST_TTL = 3600.0


class Registry:
    """The nodes of each cluster and their addresses. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._index = 1
        #: Cluster → node → (host, port, monotonic second at which it expires).
        self._clusters: dict[str, dict[str, tuple[str, int, float]]] = {}

    def put(self, cluster: str, node: str, host: str, port: int, ttl: float) -> None:
        """Store a node for ``ttl`` seconds."""
        with self._changed:
            nodes = self._clusters.setdefault(cluster, {})
            is_new = node not in nodes or nodes[node][:2] != (host, port)
            nodes[node] = (host, port, time.monotonic() + ttl)
            if is_new:
                self._bump()

    def delete(self, cluster: str, node: str) -> None:
        """Remove a node."""
        with self._changed:
            if self._clusters.get(cluster, {}).pop(node, None) is not None:
                self._bump()

    def find(self, cluster: str, newer_than: int, wait: float) -> dict[str, Any]:
        """Return the nodes once the index is newer, or after ``wait`` seconds."""
        deadline = time.monotonic() + wait
        with self._changed:
            while True:
                self._expire()
                left = deadline - time.monotonic()
                if self._index > newer_than or left <= 0:
                    break
                self._changed.wait(min(left, self._until_next_expiry()))
            nodes = self._clusters.get(cluster, {})
            listed = [{"id": n, "host": h, "port": p} for n, (h, p, _) in sorted(nodes.items())]
            return {"index": self._index, "nodes": listed}

    def _expire(self) -> None:
        now = time.monotonic()
        for nodes in self._clusters.values():
            for node in [n for n, (_, _, end) in nodes.items() if end <= now]:
                del nodes[node]
                self._bump()

    def _until_next_expiry(self) -> float:
        ends = [end for nodes in self._clusters.values() for _, _, end in nodes.values()]
        return max(0.0, min(ends, default=float("inf")) - time.monotonic())

    def _bump(self) -> None:
        self._index += 1
        self._changed.notify_all()


class _Cluster:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def on_get(self, request: falcon.Request, response: falcon.Response, cluster: str) -> None:
        index = request.get_param_as_int("index", default=0)
        wait = request.get_param_as_float("wait", min_value=0.0, default=0.0)
        response.media = self._registry.find(cluster, index, min(wait, _LONGEST_WAIT))


class _Node:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def on_put(
        self, request: falcon.Request, response: falcon.Response, cluster: str, node: str
    ) -> None:
        said = request.get_media()
        try:
            host, port, ttl = str(said["host"]), int(said["port"]), float(said["ttl"])
        except (KeyError, TypeError, ValueError) as error:
            raise falcon.HTTPBadRequest(description=f"host, port, ttl: {error!r}") from error
        if not (host and 0 < port < 65536 and 0 < ttl <= _LONGEST_TTL):
            raise falcon.HTTPBadRequest(description=f"host, port or ttl out of range: {said!r}")
        self._registry.put(cluster, node, host, port, ttl)
        response.status = falcon.HTTP_204

    def on_delete(
        self, request: falcon.Request, response: falcon.Response, cluster: str, node: str
    ) -> None:
        self._registry.delete(cluster, node)
        response.status = falcon.HTTP_204


class _Guard:
    """Refuses requests without the token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        if self._token and request.get_header("Authorization") != f"Bearer {self._token}":
            raise falcon.HTTPUnauthorized(description="the token is missing or wrong")


def make_app(registry: Registry, token: str = "") -> falcon.App[falcon.Request, falcon.Response]:
    """Return the registry as a WSGI application."""
    app = falcon.App(middleware=[_Guard(token)])
    app.add_route("/v1/services/{cluster}", _Cluster(registry))
    app.add_route("/v1/services/{cluster}/{node}", _Node(registry))
    return app


def main(port: int) -> None:
    """Serve on loopback until Ctrl-C."""
    from waitress import serve

    serve(make_app(Registry()), host="127.0.0.1", port=port, threads=32)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8500)
