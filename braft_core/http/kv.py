"""``/v1/kv/{map}/{key}``: typed values with revisions and conditional writes.

JSON comes back as JSON, text as a JSON string, any other body as bytes. ``ETag`` is the revision
in quotes; ``If-Match`` and ``If-None-Match`` make a write conditional. A slash in a map's name is
written ``%2F``; a key may contain plain slashes.

Maps and keys are listed in pages, in order, of at most ``?limit=``. ``next`` in the answer is the
``?after=`` of the next page; the last page has none. Each page is a separate read.

``?consistency=stale`` answers with ``Braft-Staleness``: how many seconds old the state may be.
``&max_staleness=`` refuses an older state.
"""

from __future__ import annotations

import base64
from typing import Any

import falcon
from falcon.asgi import Request, Response

from braft_core.abc import NodeAPI
from braft_core.errors import Conflict, Rejected
from braft_core.http.entity_tags import IF_MATCH, IF_NONE_MATCH, REVISION, revision_of, tags
from braft_core.http.json_body import body_value, send_json
from braft_core.http.operation import (
    ANY_JSON,
    BINARY,
    JSON,
    TEXT,
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
from braft_core.http.params import page_params, timeout_param
from braft_core.http.problems import BadInput
from braft_core.http.reads import READ, STALENESS, TOO_STALE, read
from braft_core.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE

__all__ = ["EntryResource", "MapResource", "MapsResource"]

#: The revision of a key that does not exist.
ABSENT = 0

_PAGE = (
    Parameter("after", "the page begins after this name: `next` of the previous page", text()),
    Parameter(
        "limit",
        "most names in a page",
        integer(minimum=1, maximum=MAX_PAGE_SIZE, default=DEFAULT_PAGE_SIZE),
    ),
)
_NEXT = text("`after` of the next page; absent on the last page")
_REFUSED = {422: "the service refuses the map, the key or the value"}
_FAILED = {412: "the condition does not hold"} | _REFUSED


class MapsResource:
    """The names of all maps."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The names of all maps, in pages.",
            {
                200: ResponseSpec(
                    "a page",
                    {JSON: obj({"next": _NEXT, "maps": array(text())}, ("next",))},
                    (STALENESS,),
                )
            },
            query=_PAGE + READ,
            problems=TOO_STALE,
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer ``{"maps": [name]}``, with ``next`` if there are more."""
        page = await read(self._node, req, resp, "kv", "maps_page", *page_params(req))
        await send_json(resp, _next(page) | {"maps": page["maps"]})


class MapResource:
    """The keys of one map."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The keys of a map and their values, in pages.",
            {
                200: ResponseSpec(
                    "a page",
                    {
                        JSON: obj(
                            {
                                "next": _NEXT,
                                "map": text(),
                                "items": {"type": "object"},
                                "base64": array(text(), "the keys whose values are bytes"),
                            },
                            ("next",),
                        )
                    },
                    (STALENESS,),
                )
            },
            query=_PAGE + READ,
            problems={404: "the map has no keys"} | TOO_STALE,
        )
    )
    async def on_get(self, req: Request, resp: Response, map_name: str) -> None:
        """Answer ``{"map", "items": {key: value}, "base64": [key]}``, and ``next`` if not last.

        ``base64`` lists the keys whose values are bytes, encoded so. A map exists while it has a
        key; 404 if it does not exist.
        """
        try:
            page = await read(self._node, req, resp, "kv", "page", map_name, *page_params(req))
        except Rejected as error:
            if type(error) is not Rejected:
                raise
            raise falcon.HTTPNotFound(description=error.message) from error
        items: dict[str, Any] = page["items"]
        binary = [key for key, value in items.items() if isinstance(value, bytes)]
        shown = items | {key: base64.b64encode(items[key]).decode() for key in binary}
        listed = {"map": map_name, "items": shown, "base64": binary}
        await send_json(resp, _next(page) | listed)


class EntryResource:
    """One key of one map."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The value of a key and its revision.",
            {
                200: ResponseSpec(
                    "the value: bytes unchanged, everything else as JSON",
                    {JSON: ANY_JSON, BINARY: text(format="binary")},
                    (REVISION, STALENESS),
                ),
                304: ResponseSpec(
                    "the revision is the one in `If-None-Match`", {}, (REVISION, STALENESS)
                ),
            },
            query=READ,
            headers=(IF_NONE_MATCH,),
            problems={404: "the key does not exist"} | TOO_STALE | _REFUSED,
        )
    )
    async def on_get(self, req: Request, resp: Response, map_name: str, key: str) -> None:
        """Answer with value and revision; 304 if ``If-None-Match`` has it, 404 without the key."""
        _check_key(key)
        found = await read(self._node, req, resp, "kv", "get", map_name, key)
        if found is None:
            raise falcon.HTTPNotFound(description=f"map {map_name!r} has no key {key!r}")
        value, revision = found
        _set_revision(resp, revision)
        if f'"{revision}"' in tags(req, "If-None-Match"):
            resp.status = 304
        elif isinstance(value, bytes):
            resp.content_type = "application/octet-stream"
            resp.data = value
        else:
            await send_json(resp, value)

    @documented(
        Operation(
            "Store a value.",
            {200: ResponseSpec("stored", {JSON: obj({"revision": integer()})}, (REVISION,))},
            query=(TIMEOUT,),
            headers=(IF_MATCH, IF_NONE_MATCH),
            body=RequestBody(
                {JSON: ANY_JSON, TEXT: text(), BINARY: text(format="binary")},
                "the value: JSON or text according to its media type, else bytes",
                required=False,
            ),
            problems=_FAILED,
        )
    )
    async def on_put(self, req: Request, resp: Response, map_name: str, key: str) -> None:
        """Store the body; answer ``{"revision": n}``, or 412 if a condition does not hold."""
        _check_key(key)
        value, timeout = await body_value(req), timeout_param(req)
        expected = await self._expected(req, map_name, key)
        entry = (map_name, key, value)
        if expected is None:
            revision = await self._node.aexecute("kv", "put", *entry, timeout=timeout)
        else:
            revision = await self._node.aexecute("kv", "put_if", *entry, expected, timeout=timeout)
        _set_revision(resp, revision)
        await send_json(resp, {"revision": revision})

    @documented(
        Operation(
            "Delete a key.",
            {
                200: ResponseSpec(
                    "whether the key existed", {JSON: obj({"deleted": {"type": "boolean"}})}
                )
            },
            query=(TIMEOUT,),
            headers=(IF_MATCH, IF_NONE_MATCH),
            problems=_FAILED,
        )
    )
    async def on_delete(self, req: Request, resp: Response, map_name: str, key: str) -> None:
        """Delete the key; answer ``{"deleted": bool}``, or 412 if a condition does not hold."""
        _check_key(key)
        timeout = timeout_param(req)
        expected = await self._expected(req, map_name, key)
        entry = (map_name, key)
        if expected is None:
            deleted = await self._node.aexecute("kv", "delete", *entry, timeout=timeout)
        else:
            deleted = await self._node.aexecute(
                "kv", "delete_if", *entry, expected, timeout=timeout
            )
        await send_json(resp, {"deleted": bool(deleted)})

    async def _expected(self, req: Request, map_name: str, key: str) -> int | None:
        """Return the revision that the key must have for the change, ``None`` for any.

        A header that allows several revisions is narrowed to the present one: the state machine
        checks a single revision when it applies the command.
        """
        wanted, unwanted = tags(req, "If-Match"), tags(req, "If-None-Match")
        if wanted and unwanted:
            raise BadInput("If-None-Match", req.get_header("If-None-Match"), "one condition")
        if not wanted and not unwanted:
            return None
        if unwanted == ["*"]:
            return ABSENT
        if len(wanted) == 1 and wanted != ["*"]:
            return revision_of(wanted[0])
        return await self._narrowed(map_name, key, wanted, unwanted)

    async def _narrowed(
        self, map_name: str, key: str, wanted: list[str], unwanted: list[str]
    ) -> int:
        found = await self._node.aquery("kv", "get", map_name, key)
        present = int(found[1]) if found is not None else ABSENT
        if wanted == ["*"]:
            holds = present != ABSENT
        elif wanted:
            holds = present in map(revision_of, wanted)
        else:
            holds = present not in map(revision_of, unwanted)
        if not holds:
            raise Conflict(f"key {key!r} of map {map_name!r} is at revision {present}")
        return present


def _next(page: dict[str, Any]) -> dict[str, str]:
    """Return ``next`` as the first key of the answer, where readers see it."""
    return {} if page["next"] is None else {"next": page["next"]}


def _check_key(key: str) -> None:
    if not key:
        raise BadInput("key", key, "a non-empty text")


def _set_revision(resp: Response, revision: int) -> None:
    resp.etag = str(revision)
