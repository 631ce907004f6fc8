"""Puts the application together: routes, authorization, errors.

Owns which path leads to which resource. The application holds no state between requests; every
request is served by one thread, several at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon
from falcon.media import JSONHandler

from braft_core import jsontext
from braft_core.abc import NodeAPI
from braft_core.http.auth import BearerAuth
from braft_core.http.distribute import DistributeKeyResource, DistributeResource
from braft_core.http.health import HealthResource, ReadyResource
from braft_core.http.kv import KvResource
from braft_core.http.leader import LeaderResource
from braft_core.http.maps import EntryResource, MapResource, MapsResource
from braft_core.http.members import MemberResource, MembersResource, PromotionResource
from braft_core.http.problems import install_problems
from braft_core.http.raft import RaftResource
from braft_core.http.snapshots import SnapshotResource, SnapshotsResource
from braft_core.http.text import TextOnly
from braft_core.tokens import Keyring

__all__ = ["make_app"]


def make_app(
    node: NodeAPI,
    extend: Callable[[falcon.App[Any, Any]], None] | None = None,
    keyring: Keyring | None = None,
) -> falcon.App[Any, Any]:
    """Build the WSGI application of ``node``.

    :param extend: called with the finished application, to add routes to it (plugins' hook
        ``braft_register_http``). Its routes are under the same authorization and error handling.
        What it raises passes through.
    :param keyring: the tokens that are accepted; default: those of the setting ``token``.
    """
    checks: Any = [BearerAuth(keyring or _keyring(node)), TextOnly()]
    app = falcon.App(middleware=checks)
    _strict_json(app)
    install_problems(app)
    for template, resource in _routes(node).items():
        app.add_route(template, resource)
    if extend is not None:
        extend(app)
    return app


def _strict_json(app: falcon.App[Any, Any]) -> None:
    """Let ``media`` of plugins' resources be as strict as ours."""
    handler = JSONHandler(dumps=jsontext.dumps, loads=jsontext.loads)
    app.req_options.media_handlers[falcon.MEDIA_JSON] = handler
    app.resp_options.media_handlers[falcon.MEDIA_JSON] = handler


def _routes(node: NodeAPI) -> dict[str, object]:
    return {
        "/healthz": HealthResource(),
        "/readyz": ReadyResource(node),
        "/raft": RaftResource(node),
        "/kv": KvResource(node),
        "/distribute": DistributeResource(node),
        "/distribute/{key}": DistributeKeyResource(node),
        "/v1/kv": MapsResource(node),
        "/v1/kv/{map_name}": MapResource(node),
        "/v1/kv/{map_name}/{key:path}": EntryResource(node),
        "/v1/members": MembersResource(node),
        "/v1/members/{server_id}": MemberResource(node),
        "/v1/members/{server_id}/promote": PromotionResource(node),
        "/v1/leader": LeaderResource(node),
        "/v1/snapshots": SnapshotsResource(node),
        "/v1/snapshots/{snapshot_id}": SnapshotResource(node),
    }


def _keyring(node: NodeAPI) -> Keyring:
    secret = node.settings.token
    return Keyring.of(secret.get_secret_value() if secret is not None else "")
