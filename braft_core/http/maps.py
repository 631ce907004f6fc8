"""``/v1/kv/{map}/{key}``: keys with types, revisions and conditions.

A value keeps its kind: sent as JSON it comes back as JSON, sent as text it comes back as a JSON
string, anything else is bytes. ``ETag`` is the revision in quotes; ``If-Match`` and
``If-None-Match: *`` make a write conditional. A key may contain slashes, a map name may not.

Maps and their keys are listed in pages, in order: ``?limit=`` says how many at most. ``next`` in
the answer is the ``?after=`` of the next page; without it there is none. Each page is a read of
its own.

``?consistency=stale`` answers with ``Braft-Staleness``: how many seconds old the state may be.
``&max_staleness=`` refuses what may be older.
"""

from __future__ import annotations

import base64
from typing import Any

import falcon

from braft_core.abc import NodeAPI
from braft_core.errors import Conflict, Rejected
from braft_core.http.problems import BadInput
from braft_core.http.wire import (
    body_value,
    page_params,
    seconds_param,
    send_json,
    text_param,
    timeout_param,
)
from braft_core.runtime import clock

__all__ = ["EntryResource", "MapResource", "MapsResource"]

#: What is accepted as ``consistency``.
CONSISTENCY = ("linearizable", "lease", "stale")
#: The revision of a key that does not exist.
ABSENT = 0


class MapsResource:
    """The names of all maps."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """``{"maps": [name]}`` and perhaps ``next``."""
        page = _query(self._node, req, resp, "maps_page", *page_params(req))
        send_json(resp, _next(page) | {"maps": page["maps"]})


class MapResource:
    """The keys of one map."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response, map_name: str) -> None:
        """``{"map", "items": {key: value}, "base64": [key]}`` and perhaps ``next``.

        ``base64`` names the keys whose values are bytes, which JSON has no form for. 404 if there
        is no such map; a map is there as long as it has a key.
        """
        try:
            page = _query(self._node, req, resp, "page", map_name, *page_params(req))
        except Rejected as error:
            if type(error) is not Rejected:
                raise
            raise falcon.HTTPNotFound(description=error.message) from error
        items: dict[str, Any] = page["items"]
        binary = [key for key, value in items.items() if isinstance(value, bytes)]
        shown = items | {key: base64.b64encode(items[key]).decode() for key in binary}
        listed = {"map": map_name, "items": shown, "base64": binary}
        send_json(resp, _next(page) | listed)


class EntryResource:
    """One key of one map."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response, map_name: str, key: str) -> None:
        """The value and its revision; 304 if ``If-None-Match`` names it; 404 if there is none."""
        _check_key(key)
        found = _query(self._node, req, resp, "get", map_name, key)
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
            send_json(resp, value)

    def on_put(self, req: falcon.Request, resp: falcon.Response, map_name: str, key: str) -> None:
        """Store the body; answers ``{"revision": n}``, 412 if a condition does not hold."""
        _check_key(key)
        value, timeout = body_value(req), timeout_param(req)
        expected = self._expected(req, map_name, key)
        entry = (map_name, key, value)
        if expected is None:
            revision = self._node.execute("kv", "put", *entry, timeout=timeout)
        else:
            revision = self._node.execute("kv", "put_if", *entry, expected, timeout=timeout)
        _set_revision(resp, revision)
        send_json(resp, {"revision": revision})

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, map_name: str, key: str
    ) -> None:
        """Delete the key; answers ``{"deleted": bool}``, 412 if a condition does not hold."""
        _check_key(key)
        timeout = timeout_param(req)
        expected = self._expected(req, map_name, key)
        if expected is None:
            deleted = self._node.execute("kv", "delete", map_name, key, timeout=timeout)
        else:
            deleted = self._node.execute(
                "kv", "delete_if", map_name, key, expected, timeout=timeout
            )
        send_json(resp, {"deleted": bool(deleted)})

    def _expected(self, req: falcon.Request, map_name: str, key: str) -> int | None:
        """The one revision the key must have for a change to happen; ``None``: any.

        A header that allows several revisions is narrowed to the present one, so that the
        condition is still checked where it counts, when the command is applied.
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
        return self._narrowed(map_name, key, wanted, unwanted)

    def _narrowed(self, map_name: str, key: str, wanted: list[str], unwanted: list[str]) -> int:
        found = self._node.query("kv", "get", map_name, key)
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
    """Where the next page begins: in front of the answer, where nobody overlooks it."""
    return {} if page["next"] is None else {"next": page["next"]}


def _query(
    node: NodeAPI, req: falcon.Request, resp: falcon.Response, query: str, *args: str | int
) -> Any:
    asked = text_param(req, "consistency", default="linearizable")
    if asked not in CONSISTENCY:
        raise BadInput("query parameter consistency", asked, ", ".join(CONSISTENCY))
    limit = seconds_param(req, "max_staleness")
    if asked == "stale":
        # Told before the state is read: it may only be newer than that.
        began, staleness = clock.monotonic(), node.staleness
        found = node.query("kv", query, *args, **_options(req, asked), max_staleness=limit)
        resp.set_header("Braft-Staleness", f"{staleness + clock.monotonic() - began:.3f}")
        return found
    if limit is not None:
        raise BadInput("query parameter max_staleness", limit, "with consistency=stale")
    return node.query("kv", query, *args, **_options(req, asked))


def _options(req: falcon.Request, consistency: str) -> dict[str, Any]:
    return {"consistency": consistency, "timeout": timeout_param(req)}


def _check_key(key: str) -> None:
    if not key:
        raise BadInput("key", key, "a text that is not empty")


def _set_revision(resp: falcon.Response, revision: int) -> None:
    resp.etag = str(revision)


def _tags(req: falcon.Request, header: str) -> list[str]:
    return [tag.strip() for tag in (req.get_header(header) or "").split(",") if tag.strip()]


def _revision(tag: str) -> int:
    digits = tag.removeprefix('"').removesuffix('"')
    # Revisions are of 64 bits, and int() refuses digits by the thousand.
    if f'"{digits}"' != tag or not digits.isdecimal() or len(digits) > 20:
        raise BadInput("entity tag", tag, 'a revision in quotes, such as "7", or *')
    return int(digits)
