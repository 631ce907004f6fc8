"""``/v1/members``: the Raft configuration and its changes, one server at a time.

Every change answers like ``GET /v1/members``, with the members after it. The leader decides whether
a server is a member, since this node may lag behind. A node without a cluster answers 503, never an
empty list or a 404.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import falcon
from falcon.asgi import Request, Response

from braft_core.abc import NodeAPI
from braft_core.addresses import check_server_id, parse_address
from braft_core.errors import DecodeError, InvalidRequest, Rejected
from braft_core.http.json_body import json_body, send_json
from braft_core.http.operation import (
    JSON,
    TIMEOUT,
    Operation,
    RequestBody,
    ResponseSpec,
    array,
    documented,
    obj,
    text,
)
from braft_core.http.params import timeout_param
from braft_core.http.problems import BadInput

__all__ = ["MemberResource", "MembersResource", "PromotionResource"]

_ROW = obj(
    {
        "id": text("server id"),
        "address": text("host:port of its Raft port"),
        "suffrage": text("`Voter` or `Nonvoter`"),
        "leader": {"type": "boolean"},
    }
)
_LIST = {JSON: obj({"members": array(_ROW)})}
_MEMBERS = {200: ResponseSpec("the members; of a change, those after it", _LIST)}
_NEW_SERVER = obj(
    {
        "id": text("server id", minLength=1),
        "address": text("host:port of its Raft port", minLength=1),
        "voter": {"type": "boolean", "default": True, "description": "false: a nonvoter"},
    },
    ("voter",),
)
_NO_MEMBER = {404: "no member has this id"}


class MembersResource:
    """``{"members": [{"id", "address", "suffrage", "leader"}]}``."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(Operation("The members, as far as this node knows.", _MEMBERS))
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the configuration in use here."""
        await _send_members(resp, self._node)

    @documented(
        Operation(
            "Add a server, or change the address of a member.",
            _MEMBERS,
            query=(TIMEOUT,),
            body=RequestBody({JSON: _NEW_SERVER}, "the server"),
            problems={422: "the cluster refuses the change"},
        )
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Add ``{"id", "address", "voter": true}``."""
        asked = await json_body(req)
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
        await self._node.aadd_member(server_id, address, voter=voter, timeout=timeout_param(req))
        await _send_members(resp, self._node)


class MemberResource:
    """A single member."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation("One member.", {200: ResponseSpec("its row", {JSON: _ROW})}, problems=_NO_MEMBER)
    )
    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        """Answer with the member's row."""
        await send_json(resp, _find(self._node, server_id))

    @documented(
        Operation(
            "Remove a member from the configuration.",
            _MEMBERS,
            query=(TIMEOUT,),
            problems=_NO_MEMBER | {422: "the cluster refuses the change"},
        )
    )
    async def on_delete(self, req: Request, resp: Response, server_id: str) -> None:
        """Remove the member; 404 if there is no such member."""
        timeout = timeout_param(req)
        with _unknown_is_not_found():
            await self._node.aremove_member(server_id, timeout=timeout)
        await _send_members(resp, self._node)


class PromotionResource:
    """Promotion of a nonvoter to voter."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "Make a nonvoter a voter, once it has caught up.",
            _MEMBERS,
            query=(TIMEOUT,),
            problems=_NO_MEMBER | {422: "the cluster refuses the change"},
        )
    )
    async def on_post(self, req: Request, resp: Response, server_id: str) -> None:
        """Promote the nonvoter; 404 if there is no such member."""
        timeout = timeout_param(req)
        with _unknown_is_not_found():
            await self._node.apromote_member(server_id, timeout=timeout)
        await _send_members(resp, self._node)


async def _send_members(resp: Response, node: NodeAPI) -> None:
    await send_json(resp, {"members": [asdict(member) for member in node.members()]})


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
        if member.id == server_id:
            return asdict(member)
    raise falcon.HTTPNotFound(description=f"no member has the id {server_id!r}")


def _text(asked: dict[str, object], key: str) -> str:
    value = asked.get(key)
    if not isinstance(value, str) or not value:
        raise BadInput(key, value, "a non-empty text")
    return value
