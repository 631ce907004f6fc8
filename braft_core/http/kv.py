"""``/kv``: the original's key-value interface, parameters in the query.

``GET|POST|DELETE /kv?map=&key=&value=``, also ``m``, ``k``, ``v``. As in the original a value is
text, a read answers with the value alone as JSON, a write with ``null``, and every answer names
the node that gave it. Unlike the original reads are linearizable, and a missing key is a 404.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import falcon

from braft_core.abc import NodeAPI
from braft_core.http.problems import BadInput
from braft_core.http.wire import body_value, send_json, text_param

__all__ = ["KvResource"]

#: The original's word where a parameter is missing or empty.
DEFAULT = "default"


class KvResource:
    """One key of one map."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The value as JSON; 404 if there is none."""
        map_name, key = self._address(req, resp)
        found = self._node.query("kv", "get", map_name, key)
        if found is None:
            raise falcon.HTTPNotFound(description=f"map {map_name!r} has no key {key!r}")
        send_json(resp, found[0])

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Store ``value``, or the body where the query has none."""
        map_name, key = self._address(req, resp)
        value = text_param(req, "value", "v")
        self._node.execute("kv", "put", map_name, key, value or _text_body(req))
        send_json(resp, None)

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Delete the key; no error if it was not there."""
        map_name, key = self._address(req, resp)
        self._node.execute("kv", "delete", map_name, key)
        send_json(resp, None)

    def _address(self, req: falcon.Request, resp: falcon.Response) -> tuple[str, str]:
        resp.set_headers(dict(self._identity))
        return (
            text_param(req, "map", "m", default=DEFAULT),
            text_param(req, "key", "k", default=DEFAULT),
        )

    @functools.cached_property
    def _identity(self) -> Mapping[str, str]:
        """Who answers. Cached: an id lasts as long as the process, and details cost."""
        raft_id = self._node.details().get("raftID", {})
        return {
            "Braft-ID": _header(raft_id.get("id", "")),
            "Braft-IP": _header(raft_id.get("ip", "")),
            "Braft-Host": _header(raft_id.get("hostname", "")),
        }


def _text_body(req: falcon.Request) -> object:
    value = body_value(req)
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadInput("request body", value, "UTF-8 text (bytes: PUT /v1/kv/...)") from None


def _header(text: str) -> str:
    """Host names may hold anything; header values may not."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)
