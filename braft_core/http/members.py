"""``/v1/members``: the Raft configuration and its changes, one server at a time.

Every change answers with the members after it, as ``GET /v1/members`` does. Whether a server is a
member is for the leader to say: this node may lag behind, or be in no cluster. Without a cluster
everything is a 503, never an empty list or a 404.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import falcon

from braft_core.abc import NodeAPI
from braft_core.addresses import check_server_id, parse_address
from braft_core.errors import DecodeError, InvalidRequest, Rejected
from braft_core.http.problems import BadInput
from braft_core.http.wire import json_body, send_json, timeout_param

__all__ = ["MemberResource", "MembersResource", "PromotionResource"]


class MembersResource:
    """``{"members": [{"id", "address", "suffrage", "leader"}]}``."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The configuration this node has now."""
        _send_members(resp, self._node)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Add ``{"id", "address", "voter": true}``."""
        asked = json_body(req)
        if not isinstance(asked, dict):
            raise BadInput("request body", asked, 'an object with "id" and "address"')
        server_id, address = _text(asked, "id"), _text(asked, "address")
        voter = asked.get("voter", True)
        if not isinstance(voter, bool):
            raise BadInput("voter", voter, "true or false")
        try:
            check_server_id(server_id)
            address = str(parse_address(address))
        except DecodeError as error:
            raise InvalidRequest(error.message, **error.data) from error
        self._node.add_member(server_id, address, voter=voter, timeout=timeout_param(req))
        _send_members(resp, self._node)


class MemberResource:
    """One member."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response, server_id: str) -> None:
        """Its row."""
        send_json(resp, _find(self._node, server_id))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, server_id: str) -> None:
        """Remove it from the configuration; 404 if it is not in it."""
        timeout = timeout_param(req)
        with _unknown_is_not_found():
            self._node.remove_member(server_id, timeout=timeout)
        _send_members(resp, self._node)


class PromotionResource:
    """A nonvoter becomes a voter."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    def on_post(self, req: falcon.Request, resp: falcon.Response, server_id: str) -> None:
        """Promote it; 404 if it is not a member."""
        timeout = timeout_param(req)
        with _unknown_is_not_found():
            self._node.promote_member(server_id, timeout=timeout)
        _send_members(resp, self._node)


def _send_members(resp: falcon.Response, node: NodeAPI) -> None:
    send_json(resp, {"members": node.members()})


@contextmanager
def _unknown_is_not_found() -> Iterator[None]:
    try:
        yield
    except Rejected as error:
        if error.data.get("member") is False:
            raise falcon.HTTPNotFound(description=error.message) from error
        raise


def _find(node: NodeAPI, server_id: str) -> dict[str, object]:
    for member in node.members():
        if member["id"] == server_id:
            return member
    raise falcon.HTTPNotFound(description=f"no member has the id {server_id!r}")


def _text(asked: dict[str, object], key: str) -> str:
    value = asked.get(key)
    if not isinstance(value, str) or not value:
        raise BadInput(key, value, "a text that is not empty")
    return value
