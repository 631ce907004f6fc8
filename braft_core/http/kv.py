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
from braft_core.http.json_body import body_value, send_json
from braft_core.http.operation import (
    ANY_JSON,
    BINARY,
    JSON,
    MAX_TIMEOUT_SECONDS,
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
from braft_core.http.params import page_params, seconds_param, text_param, timeout_param
from braft_core.http.problems import BadInput
from braft_core.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from braft_core.runtime import clock

__all__ = ["EntryResource", "MapResource", "MapsResource"]

#: Accepted values of ``consistency``.
CONSISTENCY = ("linearizable", "lease", "stale")
#: The revision of a key that does not exist.
ABSENT = 0

_SECONDS = {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_SECONDS}
_READ = (
    Parameter(
        "consistency",
        "`linearizable`: sees every write acknowledged before; `lease`: the same while clocks run "
        "at nearly equal rates; `stale`: the state of this node",
        text(enum=list(CONSISTENCY), default=CONSISTENCY[0]),
    ),
    Parameter("max_staleness", "seconds; only with `consistency=stale`", _SECONDS),
    TIMEOUT,
)
_PAGE = (
    Parameter("after", "the page begins after this name: `next` of the previous page", text()),
    Parameter(
        "limit",
        "most names in a page",
        integer(minimum=1, maximum=MAX_PAGE_SIZE, default=DEFAULT_PAGE_SIZE),
    ),
)
_STALENESS = Parameter(
    "Braft-Staleness", "only of a stale read: how many seconds old the state may be", text()
)
_REVISION = Parameter("ETag", "the revision, in quotes", text())
_IF_MATCH = Parameter(
    "If-Match", "revisions in quotes: the key has one of them; or `*`: it exists", text()
)
_IF_NONE_MATCH = Parameter(
    "If-None-Match",
    "revisions in quotes: the key has none of them; or `*`: it does not exist",
    text(),
)
_NEXT = text("`after` of the next page; absent on the last page")
_REFUSED = {422: "the service refuses the map, the key or the value"}
_FAILED = {412: "the condition does not hold"} | _REFUSED
_STALE = {503: "the state may be older than `max_staleness`"}


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
                    (_STALENESS,),
                )
            },
            query=_PAGE + _READ,
            problems=_STALE,
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer ``{"maps": [name]}``, with ``next`` if there are more."""
        page = await _query(self._node, req, resp, "maps_page", *page_params(req))
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
                    (_STALENESS,),
                )
            },
            query=_PAGE + _READ,
            problems={404: "the map has no keys"} | _STALE,
        )
    )
    async def on_get(self, req: Request, resp: Response, map_name: str) -> None:
        """Answer ``{"map", "items": {key: value}, "base64": [key]}``, and ``next`` if not last.

        ``base64`` lists the keys whose values are bytes, encoded so. A map exists while it has a
        key; 404 if it does not exist.
        """
        try:
            page = await _query(self._node, req, resp, "page", map_name, *page_params(req))
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
                    (_REVISION, _STALENESS),
                ),
                304: ResponseSpec(
                    "the revision is the one in `If-None-Match`", {}, (_REVISION, _STALENESS)
                ),
            },
            query=_READ,
            headers=(_IF_NONE_MATCH,),
            problems={404: "the key does not exist"} | _STALE | _REFUSED,
        )
    )
    async def on_get(self, req: Request, resp: Response, map_name: str, key: str) -> None:
        """Answer with value and revision; 304 if ``If-None-Match`` has it, 404 without the key."""
        _check_key(key)
        found = await _query(self._node, req, resp, "get", map_name, key)
        if found is None:
            raise falcon.HTTPNotFound(description=f"map {map_name!r} has no key {key!r}")
        value, revision = found
        _set_revision(resp, revision)
        if f'"{revision}"' in _tags(req, "If-None-Match"):
            resp.status = 304
        elif isinstance(value, bytes):
            resp.content_type = "application/octet-stream"
            resp.data = value
        else:
            await send_json(resp, value)

    @documented(
        Operation(
            "Store a value.",
            {200: ResponseSpec("stored", {JSON: obj({"revision": integer()})}, (_REVISION,))},
            query=(TIMEOUT,),
            headers=(_IF_MATCH, _IF_NONE_MATCH),
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
            headers=(_IF_MATCH, _IF_NONE_MATCH),
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
        wanted, unwanted = _tags(req, "If-Match"), _tags(req, "If-None-Match")
        if wanted and unwanted:
            raise BadInput("If-None-Match", req.get_header("If-None-Match"), "one condition")
        if not wanted and not unwanted:
            return None
        if unwanted == ["*"]:
            return ABSENT
        if len(wanted) == 1 and wanted != ["*"]:
            return _revision(wanted[0])
        return await self._narrowed(map_name, key, wanted, unwanted)

    async def _narrowed(
        self, map_name: str, key: str, wanted: list[str], unwanted: list[str]
    ) -> int:
        found = await self._node.aquery("kv", "get", map_name, key)
        present = int(found[1]) if found is not None else ABSENT
        if wanted == ["*"]:
            holds = present != ABSENT
        elif wanted:
            holds = present in map(_revision, wanted)
        else:
            holds = present not in map(_revision, unwanted)
        if not holds:
            raise Conflict(f"key {key!r} of map {map_name!r} is at revision {present}")
        return present


def _next(page: dict[str, Any]) -> dict[str, str]:
    """Return ``next`` as the first key of the answer, where readers see it."""
    return {} if page["next"] is None else {"next": page["next"]}


async def _query(node: NodeAPI, req: Request, resp: Response, query: str, *args: str | int) -> Any:
    asked = text_param(req, "consistency", default="linearizable")
    if asked not in CONSISTENCY:
        raise BadInput("query parameter consistency", asked, ", ".join(CONSISTENCY))
    limit = seconds_param(req, "max_staleness")
    if asked == "stale":
        # Taken before the read: the state that is read can only be newer.
        began, staleness = clock.monotonic(), node.staleness
        found = await node.aquery("kv", query, *args, **_options(req, asked), max_staleness=limit)
        resp.set_header("Braft-Staleness", f"{staleness + clock.monotonic() - began:.3f}")
        return found
    if limit is not None:
        raise BadInput("query parameter max_staleness", limit, "with consistency=stale")
    return await node.aquery("kv", query, *args, **_options(req, asked))


def _options(req: Request, consistency: str) -> dict[str, Any]:
    return {"consistency": consistency, "timeout": timeout_param(req)}


def _check_key(key: str) -> None:
    if not key:
        raise BadInput("key", key, "a non-empty text")


def _set_revision(resp: Response, revision: int) -> None:
    resp.etag = str(revision)


def _tags(req: Request, header: str) -> list[str]:
    return [tag.strip() for tag in (req.get_header(header) or "").split(",") if tag.strip()]


def _revision(tag: str) -> int:
    digits = tag.removeprefix('"').removesuffix('"')
    # Revisions have 64 bits, and int() fails on thousands of digits.
    if f'"{digits}"' != tag or not digits.isdecimal() or len(digits) > 20:
        raise BadInput("entity tag", tag, 'a revision in quotes, such as "7", or *')
    return int(digits)
