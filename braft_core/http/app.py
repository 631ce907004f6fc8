"""Builds the Falcon application: routes, checks, error handling.

Owns the mapping of paths to resources. The application runs on the event loop of the HTTP server,
so nothing in it may block. Between requests it only keeps count of large bodies.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import falcon
import falcon.asgi
from falcon.asgi import Request, Response
from falcon.media import JSONHandler

from braft_core import strict_json
from braft_core.abc import NodeAPI
from braft_core.errors import PluginError
from braft_core.http.auth import Audit, BearerAuth
from braft_core.http.cluster_view import ClusterViewResource
from braft_core.http.health import HealthResource, ReadyResource
from braft_core.http.kv import EntryResource, MapResource, MapsResource
from braft_core.http.leader import LeaderResource
from braft_core.http.members import MemberResource, MembersResource, PromotionResource
from braft_core.http.open_streams import OpenStreams
from braft_core.http.openapi import OpenAPIResource
from braft_core.http.operation import operation_of
from braft_core.http.origin_policy import OriginPolicy, accepted_host_names
from braft_core.http.problems import BadInput, install_problems
from braft_core.http.request_guard import SECURITY_HEADERS, RequestGuard
from braft_core.http.snapshots import SnapshotResource, SnapshotsResource
from braft_core.http.store import (
    CompactResource,
    CountResource,
    KeyResource,
    KeysResource,
    StoreResource,
)
from braft_core.http.store_leases import LeaseResource, LeasesResource, RenewResource
from braft_core.http.store_txn import TxnResource
from braft_core.http.store_watch import WatchResource
from braft_core.http.url_decoding import restore_slashes
from braft_core.tokens import Keyring

__all__ = ["FalconApp", "Routes", "make_app", "routes"]

FalconApp = falcon.asgi.App[Any, Any]
#: Resources by path.
Routes = Mapping[str, object]
_NO_ROUTES: Final[Routes] = MappingProxyType({})


def make_app(
    node: NodeAPI,
    extend: Callable[[FalconApp], None] | None = None,
    keyring: Keyring | None = None,
    more_routes: Routes = _NO_ROUTES,
    streams: OpenStreams | None = None,
) -> RequestGuard:
    """Build the ASGI application of ``node``.

    :param extend: called with the finished application, to add routes to it (plugins' hook
        ``braft_register_http``). Its routes get the same checks and error handling. Its
        exceptions propagate.
    :param keyring: the tokens that are accepted; default: those of the setting ``token``.
    :param more_routes: see :func:`routes`.
    :param streams: see :func:`routes`.
    """
    app = _App(middleware=[_Strict(), Audit()])
    _strict_json(app)
    install_problems(app)
    for template, resource in routes(node, more_routes, streams).items():
        app.add_route(template, resource)
    if extend is not None:
        extend(app)
    settings = node.settings
    names = accepted_host_names(settings.host, *settings.http_hosts)
    return RequestGuard(app, OriginPolicy(names), BearerAuth(keyring or _keyring(node)))


def routes(
    node: NodeAPI, more: Routes = _NO_ROUTES, streams: OpenStreams | None = None
) -> dict[str, object]:
    """Return the resources by their paths.

    :param more: resources beside those of this package; ``/openapi.json`` describes them, too.
    :param streams: the answers that go on until they are ended; default: an own table.
    """
    found: dict[str, object] = {
        "/healthz": HealthResource(),
        "/readyz": ReadyResource(node),
        "/raft": ClusterViewResource(node),
        "/v1/kv": MapsResource(node),
        "/v1/kv/{map_name}": MapResource(node),
        "/v1/kv/{map_name}/{key:path}": EntryResource(node),
        "/v1/store": StoreResource(node),
        "/v1/store/keys": KeysResource(node),
        "/v1/store/keys/{store_key:path}": KeyResource(node),
        "/v1/store/count": CountResource(node),
        "/v1/store/txn": TxnResource(node),
        "/v1/store/compact": CompactResource(node),
        "/v1/store/watch": WatchResource(node, OpenStreams() if streams is None else streams),
        "/v1/store/leases": LeasesResource(node),
        "/v1/store/leases/{lease_id}": LeaseResource(node),
        "/v1/store/renew": RenewResource(node),
        "/v1/members": MembersResource(node),
        "/v1/members/{server_id}": MemberResource(node),
        "/v1/members/{server_id}/promote": PromotionResource(node),
        "/v1/leader": LeaderResource(node),
        "/v1/snapshots": SnapshotsResource(node),
        "/v1/snapshots/{snapshot_id}": SnapshotResource(node),
    }
    found |= more
    found["/openapi.json"] = OpenAPIResource(found)
    return found


class _App(falcon.asgi.App[Any, Any]):
    """Falcon's application, with rules that also apply to the routes of plugins."""

    def add_route(self, uri_template: str, resource: object, **kwargs: Any) -> None:
        """Add a route. Where a resource serves ``GET``, it also serves ``HEAD``.

        :raises PluginError: a responder is not a coroutine function.
        """
        for method in falcon.COMBINED_METHODS:
            responder = getattr(resource, f"on_{method.lower()}", None)
            if responder is None or inspect.iscoroutinefunction(responder):
                continue
            name = f"{type(resource).__module__}.{type(resource).__qualname__}"
            raise PluginError(
                f"{name}.on_{method.lower()} of the route {uri_template} is a plain function; "
                "accepted: 'async def', with 'await node.aquery(...)' and the like instead of "
                "blocking calls: HTTP routes run on an event loop"
            )
        get = getattr(resource, "on_get", None)
        if get is not None and not hasattr(resource, "on_head"):
            resource.on_head = get  # type: ignore[attr-defined]
        super().add_route(uri_template, resource, **kwargs)


class _Strict:
    """Falcon middleware: decode path parameters, refuse unknown query parameters."""

    async def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, Any]
    ) -> None:
        """Check the request after routing."""
        if params:
            restore_slashes(params)
        if req.query_string:
            operation = operation_of(resource, req.method)
            if operation is not None:
                _check_parameters(req.params, operation.query_names)

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: bool
    ) -> None:
        """Add the security headers to every answer."""
        for name, value in SECURITY_HEADERS:
            resp.set_header(name, value)


def _check_parameters(given: Mapping[str, Any], accepted: frozenset[str]) -> None:
    for name in given:
        if name not in accepted:
            known = ", ".join(sorted(accepted)) or "none"
            raise BadInput("the name of a query parameter", name, f"for this route {known}")


def _strict_json(app: FalconApp) -> None:
    """Make ``media`` of plugins' resources as strict as ours."""
    handler = JSONHandler(dumps=strict_json.dumps, loads=strict_json.loads)
    app.req_options.media_handlers[falcon.MEDIA_JSON] = handler
    app.resp_options.media_handlers[falcon.MEDIA_JSON] = handler


def _keyring(node: NodeAPI) -> Keyring:
    secret = node.settings.token
    return Keyring.of(secret.get_secret_value() if secret is not None else "")
