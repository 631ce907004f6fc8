"""``/v1/store``: keys and values of bytes with revisions, ranges, transactions and compaction.

A key in a path and a bound of a range in a query are their bytes, percent-encoded. A value is the
body as it is. In JSON, keys and values are base64 and ids of leases decimal text
(:mod:`braft_core.store.json_form`).

A range is answered in pages of one revision: ``next`` is the ``start`` of the next page, to be read
with the ``revision`` of the first.
"""

from __future__ import annotations

from typing import Any, Final

from falcon.asgi import Request, Response

from braft_core.abc import NodeAPI
from braft_core.errors import Conflict, KeyNotFound
from braft_core.http.entity_tags import REVISION, revision_of, tags
from braft_core.http.json_body import json_body, read_body, send_json
from braft_core.http.operation import (
    BINARY,
    JSON,
    TIMEOUT,
    Operation,
    Parameter,
    RequestBody,
    ResponseSpec,
    Schema,
    array,
    documented,
    integer,
    obj,
    text,
)
from braft_core.http.params import (
    bytes_params,
    choice_param,
    integer_param,
    text_param,
    timeout_param,
)
from braft_core.http.problems import BadInput, Refused
from braft_core.http.reads import READ, STALENESS, TOO_STALE, read
from braft_core.http.server_loop import run_in_thread
from braft_core.pagination import MAX_PAGE_BYTES
from braft_core.store.json_form import MAX_NUMBER, bytes_json, lease_of, record_json
from braft_core.store.keys import as_range, as_span

__all__ = [
    "ENTRY",
    "LEASE_ID",
    "MAX_SORTED",
    "NO_SPACE",
    "CompactResource",
    "CountResource",
    "KeyResource",
    "KeysResource",
    "StoreResource",
    "key_of",
]

#: Entries of a page by default, and at most.
_DEFAULT_LIMIT: Final = 1_000
_MAX_LIMIT: Final = 10_000
#: Most keys of a range that is sorted: commands wait meanwhile.
MAX_SORTED: Final = 100_000
#: Pages of more entries are made in a thread.
_FEW: Final = 200
#: Targets and orders of a sort, as the service numbers them.
_SORTS: Final = ("key", "version", "created", "revision", "value")
_ORDERS: Final = ("ascending", "descending")
_BOUNDS: Final = ("prefix", "start", "end")
#: Targets and results of a compare, and the flag for keys alone, as the service numbers them.
_VERSION, _MOD = 0, 2
_EQUAL, _GREATER, _NOT_EQUAL = 0, 1, 3
_KEYS_ONLY: Final = 1

_BASE64: Final = {"contentEncoding": "base64"}
LEASE_ID: Final = text("decimal", pattern="^[0-9]{1,19}$")
ENTRY: Final = obj(
    {
        "key": text(**_BASE64),
        "value": text(**_BASE64),
        "revision": integer("that wrote it"),
        "created": integer("the revision that made the key"),
        "version": integer("how often it was written since then"),
        "lease": text('decimal; "0" for none'),
    }
)
_RANGE: Final = (
    Parameter("prefix", "keys that begin with it, percent-encoded bytes", text()),
    Parameter("start", "the first key, percent-encoded bytes; not with `prefix`", text()),
    Parameter("end", "the key behind the last one; not with `prefix`", text(minLength=1)),
)
_AT: Final = Parameter("revision", "read as of this revision; 0: the newest", integer(minimum=0))
_LEASE: Final = Parameter("lease", "id of the lease with which the key goes", LEASE_ID)
_IF_MATCH: Final = Parameter(
    "If-Match", "a revision in quotes: the key has it; or `*`: it exists", text()
)
_IF_NONE_MATCH: Final = Parameter(
    "If-None-Match", "a revision in quotes: the key does not have it; or `*`: it is missing", text()
)
_OLD: Final = {410: "the revision was compacted", 422: "there is no such revision yet"}
_FAILED: Final = {412: "the condition does not hold"}
NO_SPACE: Final = {507: "the quota of the store would be exceeded"}
_CREATED: Final = Parameter("Braft-Created", "the revision that made the key", text())
_VERSIONS: Final = Parameter("Braft-Version", "how often it was written since then", text())
_ITS_LEASE: Final = Parameter("Braft-Lease", "the id of its lease, 0 for none", text())
_STORE: Final = Parameter("Braft-Store-Revision", "the revision of the store", text())
_CHANGED: Final[Schema] = obj({"revision": integer("of the store"), "deleted": integer()})


class StoreResource:
    """The store as a whole."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "Numbers of the whole store, and its alarms.",
            {
                200: ResponseSpec(
                    "the numbers; sizes in bytes",
                    {
                        JSON: obj(
                            {
                                name: integer()
                                for name in "revision compacted keys size quota leases".split()
                            }
                            | {"alarms": array(obj({"member": text(), "alarm": integer()}))}
                        )
                    },
                    (STALENESS,),
                )
            },
            query=READ,
            problems=TOO_STALE,
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the numbers."""
        status = dict(await read(self._node, req, resp, "store", "status"))
        del status["rules"]
        alarms = [{"member": str(member), "alarm": alarm} for member, alarm in status["alarms"]]
        await send_json(resp, status | {"alarms": alarms})


class KeysResource:
    """The keys of a range."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The entries of a range, in pages of one revision; all keys without a range.",
            {
                200: ResponseSpec(
                    "a page; it may end before `limit` after some 2 MiB",
                    {
                        JSON: obj(
                            {
                                "next": text(
                                    "`start` of the next page; absent on the last, and in another "
                                    "order",
                                    **_BASE64,
                                ),
                                "revision": integer("of the store"),
                                "count": integer("keys in the whole range"),
                                "more": {"type": "boolean"},
                                "entries": array(ENTRY),
                            },
                            ("next",),
                        )
                    },
                    (STALENESS,),
                )
            },
            query=(
                *_RANGE,
                _AT,
                Parameter(
                    "limit",
                    "most entries in a page",
                    integer(minimum=1, maximum=_MAX_LIMIT, default=_DEFAULT_LIMIT),
                ),
                Parameter(
                    "sort",
                    f"what to sort by; of a range of at most {MAX_SORTED} keys",
                    text(enum=list(_SORTS), default=_SORTS[0]),
                ),
                Parameter("order", "in which order", text(enum=list(_ORDERS), default=_ORDERS[0])),
                Parameter("keys_only", "leave values empty", text(enum=["false", "true"])),
                *READ,
            ),
            problems=_OLD | TOO_STALE,
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with a page of entries."""
        limit = integer_param(req, "limit", _DEFAULT_LIMIT, least=1, most=_MAX_LIMIT)
        sort = _SORTS.index(choice_param(req, "sort", _SORTS))
        order = 1 + _ORDERS.index(choice_param(req, "order", _ORDERS))
        flags = _KEYS_ONLY if choice_param(req, "keys_only", ("false", "true")) == "true" else 0
        span, at = as_range(*_bounds(req)), _revision_param(req)
        arguments = (*span, limit, at, [sort, order], None, flags, MAX_PAGE_BYTES)
        is_plain = sort == 0 and order == 1
        if not is_plain:
            _, count = await read(self._node, req, resp, "store", "count", *span, at)
            if count > MAX_SORTED:
                accepted = f"ascending keys in a range of {count} keys, others up to {MAX_SORTED}"
                raise BadInput("query parameters sort and order", req.query_string, accepted)
        answer = await read(self._node, req, resp, "store", "range", *arguments)
        if len(answer[3]) <= _FEW:
            page = _page(answer, is_plain)
        else:
            page = await run_in_thread(_page, answer, is_plain)
        await send_json(resp, page)

    @documented(
        Operation(
            "Delete the keys of a range, in one revision. A range is required.",
            {200: ResponseSpec("how many there were", {JSON: _CHANGED})},
            query=(*_RANGE, TIMEOUT),
        )
    )
    async def on_delete(self, req: Request, resp: Response) -> None:
        """Delete the keys; answer ``{"revision", "deleted"}``."""
        span, timeout = as_span(None, *_bounds(req)), timeout_param(req)
        revision, count, _ = await self._node.aexecute("store", "delete", *span, timeout=timeout)
        await send_json(resp, {"revision": revision, "deleted": count})


class CountResource:
    """The number of keys of a range."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The number of keys in a range; it takes the same for any.",
            {
                200: ResponseSpec(
                    "the number",
                    {JSON: obj({"revision": integer("of the store"), "count": integer()})},
                    (STALENESS,),
                )
            },
            query=(*_RANGE, _AT, *READ),
            problems=_OLD | TOO_STALE,
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer ``{"revision", "count"}``."""
        arguments = (*as_range(*_bounds(req)), _revision_param(req))
        revision, count = await read(self._node, req, resp, "store", "count", *arguments)
        await send_json(resp, {"revision": revision, "count": count})


class KeyResource:
    """One key."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The value of a key, and its revisions.",
            {
                200: ResponseSpec(
                    "the value as it is",
                    {BINARY: text(format="binary")},
                    (REVISION, _CREATED, _VERSIONS, _ITS_LEASE, _STORE, STALENESS),
                ),
                304: ResponseSpec(
                    "the revision is the one in `If-None-Match`", {}, (REVISION, STALENESS)
                ),
            },
            query=(_AT, *READ),
            headers=(_IF_NONE_MATCH,),
            problems={404: "the key does not exist"} | _OLD | TOO_STALE,
        )
    )
    async def on_get(self, req: Request, resp: Response, store_key: str) -> None:
        """Answer with the value; 304 if ``If-None-Match`` has its revision, 404 without the key."""
        key = key_of(store_key)
        arguments = (key, b"", 0, _revision_param(req))
        answer = await read(self._node, req, resp, "store", "range", *arguments)
        if not answer[3]:
            raise Refused(404, KeyNotFound.code, f"the store has no key {key!r:.200}")
        _, value, created, revision, _, version, lease = answer[3][0]
        resp.etag = str(revision)
        resp.set_header("Braft-Created", str(created))
        resp.set_header("Braft-Version", str(version))
        resp.set_header("Braft-Lease", str(lease))
        resp.set_header("Braft-Store-Revision", str(answer[0]))
        if f'"{revision}"' in tags(req, "If-None-Match"):
            resp.status = 304
        else:
            resp.content_type = BINARY
            resp.data = value

    @documented(
        Operation(
            "Store a value.",
            {
                200: ResponseSpec(
                    "stored", {JSON: obj({"revision": integer("of the store")})}, (REVISION,)
                )
            },
            query=(_LEASE, TIMEOUT),
            headers=(_IF_MATCH, _IF_NONE_MATCH),
            body=RequestBody(
                {BINARY: text(format="binary")},
                "the value: the body as it is, whatever its media type",
                required=False,
            ),
            problems={404: "there is no such lease"} | _FAILED | NO_SPACE,
        )
    )
    async def on_put(self, req: Request, resp: Response, store_key: str) -> None:
        """Store the body; answer ``{"revision"}``, or 412 if the condition does not hold."""
        key, timeout = key_of(store_key), timeout_param(req)
        given = text_param(req, "lease")
        lease = lease_of("query parameter lease", given) if given else 0
        put = [key, await read_body(req), lease, 0]
        compare = _condition(req, key)
        if compare is None:
            answer = await self._node.aexecute("store", "put", *put, timeout=timeout)
        else:
            answer = await self._conditional(compare, [1, *put], timeout)
        resp.etag = str(answer[0])
        await send_json(resp, {"revision": answer[0]})

    @documented(
        Operation(
            "Delete a key.",
            {200: ResponseSpec("how many there were: 1 or 0", {JSON: _CHANGED})},
            query=(TIMEOUT,),
            headers=(_IF_MATCH, _IF_NONE_MATCH),
            problems=_FAILED,
        )
    )
    async def on_delete(self, req: Request, resp: Response, store_key: str) -> None:
        """Delete the key; answer ``{"revision", "deleted"}``, or 412 as for a write."""
        key, timeout = key_of(store_key), timeout_param(req)
        compare = _condition(req, key)
        if compare is None:
            answer = await self._node.aexecute("store", "delete", key, timeout=timeout)
        else:
            answer = await self._conditional(compare, [2, key], timeout)
        await send_json(resp, {"revision": answer[0], "deleted": answer[1]})

    async def _conditional(
        self, compare: list[Any], operation: list[Any], timeout: float | None
    ) -> Any:
        """Run an operation if a compare holds. :raises Conflict: it does not."""
        key = compare[2]
        arguments = ([compare], [operation], [[0, key]])
        _, held, answers = await self._node.aexecute("store", "txn", *arguments, timeout=timeout)
        if held:
            return answers[0]
        records = answers[0][3]
        present = records[0][3] if records else 0
        state = f"is at revision {present}" if present else "does not exist"
        raise Conflict(f"key {key!r:.200} {state}", revision=present)


class CompactResource:
    """The history of the store."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "Forget what only revisions before this one show.",
            {200: ResponseSpec("forgotten", {JSON: obj({"revision": integer()})})},
            query=(TIMEOUT,),
            body=RequestBody({JSON: obj({"revision": integer(minimum=0)})}, "the revision"),
            problems=_OLD | {410: "the store is compacted up to there already"},
        )
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Compact; answer ``{"revision"}``."""
        given, timeout = await json_body(req), timeout_param(req)
        if not isinstance(given, dict) or set(given) != {"revision"}:
            raise BadInput("request body", given, 'an object with "revision"')
        revision = given["revision"]
        if type(revision) is not int or not 0 <= revision <= MAX_NUMBER:
            raise BadInput("revision", revision, f"a number from 0 to {MAX_NUMBER}")
        done = await self._node.aexecute("store", "compact", revision, timeout=timeout)
        await send_json(resp, {"revision": done})


def key_of(path: str) -> bytes:
    """Return the key of a path, which may be any bytes. :raises BadInput: it is empty."""
    if not path:
        raise BadInput("key", path, "bytes that are not empty")
    return path.encode(errors="surrogateescape")


def _bounds(req: Request) -> tuple[bytes | None, bytes | None, bytes | None]:
    given = bytes_params(req)
    prefix, start, end = (given.get(name) for name in _BOUNDS)
    return prefix, start, end


def _revision_param(req: Request) -> int:
    return integer_param(req, "revision", 0, least=0, most=MAX_NUMBER)


def _page(answer: Any, is_plain: bool) -> dict[str, Any]:
    revision, count, more, records = answer
    following = {"next": bytes_json(records[-1][0] + b"\0")} if more and is_plain else {}
    page = {"revision": revision, "count": count, "more": more}
    return following | page | {"entries": [record_json(record) for record in records]}


def _condition(req: Request, key: bytes) -> list[Any] | None:
    """Return the compare of the conditional headers, ``None`` without any.

    :raises BadInput: there are several conditions, or one that is no revision.
    """
    wanted, unwanted = tags(req, "If-Match"), tags(req, "If-None-Match")
    given = wanted + unwanted
    if not given:
        return None
    if len(given) > 1:
        name = "If-None-Match" if unwanted else "If-Match"
        raise BadInput(name, req.get_header(name), "one condition with one revision")
    if given == ["*"]:
        return [_VERSION, _GREATER if wanted else _EQUAL, key, b"", 0]
    return [_MOD, _EQUAL if wanted else _NOT_EQUAL, key, b"", revision_of(given[0])]
