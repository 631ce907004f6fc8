"""``/kv``: the key-value interface of the Go original.

``GET|POST|DELETE /kv?map=&key=&value=``, also ``m``, ``k``, ``v``. As in the original, values are
text, a read returns the value alone as JSON, a write ``null``, and headers name the node that
answers. Unlike the original, reads are linearizable, and a missing key is a 404.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import falcon
from falcon.asgi import Request, Response

from braft_core.abc import NodeAPI
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
    documented,
    text,
)
from braft_core.http.params import text_param, timeout_param
from braft_core.http.problems import BadInput

__all__ = ["LegacyKVResource"]

#: The original's default for a missing or empty parameter.
DEFAULT = "default"

_MAP = (
    Parameter("map", "name of the map; default `default`", text()),
    Parameter("m", "short for `map`", text()),
)
_KEY = (
    Parameter("key", "the key; default `default`", text()),
    Parameter("k", "short for `key`", text()),
)
_VALUE = (
    Parameter("value", "the value, a text; default: the body", text()),
    Parameter("v", "short for `value`", text()),
)
#: The original reads all of them with every method.
_QUERY = (*_MAP, *_KEY, *_VALUE, TIMEOUT)
_WHO = (
    Parameter("Braft-ID", "id of the node that answers", text()),
    Parameter("Braft-IP", "its address", text()),
    Parameter("Braft-Host", "its host name", text()),
)
_WRITTEN = {200: ResponseSpec("done", {JSON: {"type": "null"}}, _WHO)}
_REFUSED = {422: "the service refuses the map, the key or the value"}


class LegacyKVResource:
    """One key of one map."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "The value of a key.",
            {200: ResponseSpec("the value", {JSON: ANY_JSON}, _WHO)},
            query=_QUERY,
            problems={404: "the key does not exist"} | _REFUSED,
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the value as JSON; 404 if the key does not exist."""
        map_name, key = self._address(req, resp)
        found = await self._node.aquery("kv", "get", map_name, key, timeout=timeout_param(req))
        if found is None:
            raise falcon.HTTPNotFound(description=f"map {map_name!r} has no key {key!r}")
        await send_json(resp, found[0])

    @documented(
        Operation(
            "Store a text.",
            _WRITTEN,
            query=_QUERY,
            body=RequestBody(
                {JSON: ANY_JSON, BINARY: text(), TEXT: text()},
                "the value, if the query has none; JSON if its media type says so, else UTF-8",
                required=False,
            ),
            problems=_REFUSED,
        )
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Store ``value``, or the body if the query has none."""
        map_name, key = self._address(req, resp)
        value = text_param(req, "value", "v") or await _text_body(req)
        timeout = timeout_param(req)
        await self._node.aexecute("kv", "put", map_name, key, value, timeout=timeout)
        await send_json(resp, None)

    @documented(
        Operation(
            "Delete a key, whether it exists or not.",
            _WRITTEN,
            query=_QUERY,
            problems=_REFUSED,
        )
    )
    async def on_delete(self, req: Request, resp: Response) -> None:
        """Delete the key, whether it exists or not."""
        map_name, key = self._address(req, resp)
        await self._node.aexecute("kv", "delete", map_name, key, timeout=timeout_param(req))
        await send_json(resp, None)

    def _address(self, req: Request, resp: Response) -> tuple[str, str]:
        resp.set_headers(dict(self._identity))
        return (
            text_param(req, "map", "m", default=DEFAULT),
            text_param(req, "key", "k", default=DEFAULT),
        )

    @functools.cached_property
    def _identity(self) -> Mapping[str, str]:
        """The headers that name this node. Cached, since ``details()`` is slow."""
        raft_id = self._node.details().get("raftID", {})
        return {
            "Braft-ID": _header(raft_id.get("id", "")),
            "Braft-IP": _header(raft_id.get("ip", "")),
            "Braft-Host": _header(raft_id.get("hostname", "")),
        }


async def _text_body(req: Request) -> object:
    value = await body_value(req)
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadInput("request body", value, "UTF-8 text (for bytes use PUT /v1/kv/...)") from None


def _header(text: str) -> str:
    """Replace characters of a host name that header values cannot have."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)
