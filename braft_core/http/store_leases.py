"""``/v1/store/leases`` and ``/v1/store/renew``: leases, whose end deletes their keys.

A lease is renewed by whoever holds it, at least once in each ttl.
"""

from __future__ import annotations

from typing import Any, Final

from falcon.asgi import Request, Response

from braft_core.abc import NodeAPI
from braft_core.errors import LeaseNotFound
from braft_core.http.json_body import json_body, send_json
from braft_core.http.operation import (
    JSON,
    TIMEOUT,
    Operation,
    Parameter,
    RequestBody,
    ResponseSpec,
    array,
    documented,
    integer,
    obj,
    text,
)
from braft_core.http.params import integer_param, text_param, timeout_param
from braft_core.http.problems import BadInput, Refused
from braft_core.http.reads import READ, STALENESS, TOO_STALE, read
from braft_core.http.store import LEASE_ID
from braft_core.services.store.leases import MAX_RENEWED
from braft_core.store.json_form import bytes_json, lease_of
from braft_core.store.lease import draw_lease_id

__all__ = ["LeaseResource", "LeasesResource", "RenewResource"]

#: Ids of a page by default, and at most; keys of a lease that are shown.
_MAX_IDS: Final = 10_000
_MAX_KEYS: Final = 10_000
_SECONDS: Final = {"type": "number", "exclusiveMinimum": 0}
_MISSING: Final = {404: "there is no such lease: it has expired or was revoked"}


class LeasesResource:
    """All leases."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The ids of the leases, in pages.",
            {
                200: ResponseSpec(
                    "a page, in order",
                    {
                        JSON: obj(
                            {
                                "next": text("`after` of the next page; absent on the last page"),
                                "leases": array(LEASE_ID),
                            },
                            ("next",),
                        )
                    },
                    (STALENESS,),
                )
            },
            query=(
                Parameter("after", "the page begins after this id", LEASE_ID),
                Parameter(
                    "limit",
                    "most ids in a page",
                    integer(minimum=1, maximum=_MAX_IDS, default=_MAX_IDS),
                ),
                *READ,
            ),
            problems=TOO_STALE,
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer ``{"leases": [id]}``, with ``next`` if there are more."""
        given = text_param(req, "after")
        after = lease_of("query parameter after", given, 0) if given else 0
        limit = integer_param(req, "limit", _MAX_IDS, least=1, most=_MAX_IDS)
        found = await read(self._node, req, resp, "store", "leases", after, limit + 1)
        ids = [str(lease) for lease in found[:limit]]
        following = {"next": ids[-1]} if len(found) > limit else {}
        await send_json(resp, following | {"leases": ids})

    @documented(
        Operation(
            "Make a lease.",
            {
                200: ResponseSpec(
                    "the lease; the ttl is what was granted, seconds",
                    {JSON: obj({"id": LEASE_ID, "ttl": _SECONDS})},
                )
            },
            query=(TIMEOUT,),
            body=RequestBody(
                {JSON: obj({"ttl": _SECONDS, "id": LEASE_ID}, ("id",))},
                "seconds, and the id, which is drawn without it",
            ),
            problems={409: "there is a lease with this id"},
        )
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Grant a lease; answer ``{"id", "ttl"}``."""
        given, timeout = await json_body(req), timeout_param(req)
        if not isinstance(given, dict) or not {"ttl"} <= set(given) <= {"ttl", "id"}:
            raise BadInput("request body", given, 'an object with "ttl" and perhaps "id"')
        ttl = given["ttl"]
        if type(ttl) not in (int, float):
            raise BadInput("ttl", ttl, "a number of seconds")
        lease = lease_of("id", given["id"]) if "id" in given else draw_lease_id()
        granted = await self._node.aexecute("store", "grant", lease, ttl, timeout=timeout)
        await send_json(resp, {"id": str(lease), "ttl": granted})


class LeaseResource:
    """One lease."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "How long a lease lasts, and its keys.",
            {
                200: ResponseSpec(
                    f"seconds as of the last entry of the log, and the first {_MAX_KEYS:,} keys",
                    {
                        JSON: obj(
                            {
                                "id": LEASE_ID,
                                "ttl": _SECONDS,
                                "remaining": {"type": "number", "minimum": 0},
                                "count": integer("how many keys it has"),
                                "keys": array(text(contentEncoding="base64")),
                            }
                        )
                    },
                    (STALENESS,),
                )
            },
            query=READ,
            problems=_MISSING | TOO_STALE,
        )
    )
    async def on_get(self, req: Request, resp: Response, lease_id: str) -> None:
        """Answer ``{"id", "ttl", "remaining", "count", "keys"}``."""
        lease = lease_of("id", lease_id)
        found = await read(self._node, req, resp, "store", "lease", lease)
        if found is None:
            raise Refused(404, LeaseNotFound.code, f"there is no lease {lease}")
        ttl, remaining, keys = found
        shown = [bytes_json(key) for key in keys[:_MAX_KEYS]]
        answer = {"id": str(lease), "ttl": ttl, "remaining": remaining}
        await send_json(resp, answer | {"count": len(keys), "keys": shown})

    @documented(
        Operation(
            "End a lease and delete its keys.",
            {200: ResponseSpec("ended", {JSON: obj({"revision": integer("of the store")})})},
            query=(TIMEOUT,),
            problems=_MISSING,
        )
    )
    async def on_delete(self, req: Request, resp: Response, lease_id: str) -> None:
        """Revoke the lease; answer ``{"revision"}``."""
        lease, timeout = lease_of("id", lease_id), timeout_param(req)
        revision = await self._node.aexecute("store", "revoke", lease, timeout=timeout)
        await send_json(resp, {"revision": revision})


class RenewResource:
    """Renewals."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "Renew leases: each lasts its ttl from now on.",
            {
                200: ResponseSpec(
                    "the ttl of each, seconds; 0 for one that does not exist",
                    {JSON: obj({"ttls": array({"type": "number", "minimum": 0})})},
                )
            },
            query=(TIMEOUT,),
            body=RequestBody(
                {JSON: obj({"leases": array(LEASE_ID)})}, f"the ids, at most {MAX_RENEWED:,}"
            ),
        )
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Renew the leases; answer ``{"ttls"}``."""
        given, timeout = await json_body(req), timeout_param(req)
        if not isinstance(given, dict) or set(given) != {"leases"}:
            raise BadInput("request body", given, 'an object with "leases"')
        texts: Any = given["leases"]
        if not isinstance(texts, list) or len(texts) > MAX_RENEWED:
            raise BadInput("leases", texts, f"a list of at most {MAX_RENEWED} ids")
        leases = [lease_of("a lease", each) for each in texts]
        ttls = await self._node.aexecute("store", "renew", leases, timeout=timeout)
        await send_json(resp, {"ttls": ttls})
