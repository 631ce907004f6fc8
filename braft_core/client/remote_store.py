"""The store's commands and queries as requests to ``/v1/store``.

``client.store`` and the leases of a client are the classes of :mod:`braft_core.store`, which use
this as they use a node.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx

from braft_core.client.nodes import Call, Nodes, Take
from braft_core.client.request_encoding import json_body_of
from braft_core.client.response_decoding import facts
from braft_core.cluster_types import Consistency
from braft_core.errors import InvalidArgument, KeyNotFound, LeaseNotFound, UnknownCommand
from braft_core.store.json_form import (
    bytes_of,
    lease_of,
    read_answer,
    read_record,
    txn_json,
)
from braft_core.store.keys import ALL

__all__ = ["RemoteStore"]

T = TypeVar("T")

_ROUTE: Final = "/v1/store"
#: Servers send no more entries in a page.
_MAX_LIMIT: Final = 10_000
_JSON: Final = {"Content-Type": "application/json"}
_BYTES: Final = {"Content-Type": "application/octet-stream"}
#: Renewing again does no harm, so such a request may be sent to another node.
_REPEATABLE: Final = frozenset({"renew"})


class RemoteStore:
    """Sends the calls of the store's handles to nodes. Thread-safe, and for any event loop."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        """Send a command of the store. :raises UnknownCommand: no route has it."""
        return self._nodes.send(_command(command, args, timeout))

    async def aexecute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any:
        """Call :meth:`execute` asynchronously."""
        return await self._nodes.asend(_command(command, args, timeout))

    def query(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Any:
        """Send a query of the store. :raises UnknownCommand: no route has it."""
        try:
            return self._nodes.send(_query(query, args, consistency, timeout))
        except (KeyNotFound, LeaseNotFound):
            return _NOTHING[query]

    async def aquery(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Any:
        """Call :meth:`query` asynchronously."""
        try:
            return await self._nodes.asend(_query(query, args, consistency, timeout))
        except (KeyNotFound, LeaseNotFound):
            return _NOTHING[query]


#: The answers about a key and a lease that do not exist.
_NOTHING: Final[dict[str, Any]] = {"range": [0, 0, False, []], "lease": None}


def _command(command: str, args: tuple[Any, ...], timeout: float | None) -> Call[Any]:
    method, path, params, content, take = _command_route(command, args)
    headers = {} if content is None else _BYTES if method == "PUT" else _JSON
    return Call(
        method,
        _ROUTE + path,
        _checked(take),
        write=command not in _REPEATABLE,
        params=params,
        headers=headers,
        content=content,
        timeout=timeout,
    )


_Params = dict[str, "str | bytes"]


def _command_route(
    command: str, args: tuple[Any, ...]
) -> tuple[str, str, _Params, bytes | None, Take[Any]]:
    match (command, *args):
        case ("put", key, value, lease, 0):
            params: _Params = {"lease": str(lease)} if lease else {}
            return "PUT", _key_path(key), params, value, lambda got: [facts(got)["revision"], None]
        case ("delete", key, b"", 0):
            return "DELETE", _key_path(key), {}, None, _deleted
        case ("delete", key, end, 0):
            return "DELETE", "/keys", _span(key, end), None, _deleted
        case ("txn", when, then, otherwise):
            body = json_body_of(txn_json(when, then, otherwise))
            return "POST", "/txn", {}, body, lambda got: read_answer(facts(got))
        case ("compact", revision):
            return _post("/compact", {"revision": revision}, lambda got: facts(got)["revision"])
        case ("grant", lease, ttl):
            fields = {"id": str(lease), "ttl": ttl}
            return _post("/leases", fields, lambda got: facts(got)["ttl"])
        case ("renew", leases):
            fields = {"leases": [str(lease) for lease in leases]}
            return _post("/renew", fields, lambda got: facts(got)["ttls"])
        case ("revoke", lease):
            return "DELETE", f"/leases/{lease}", {}, None, lambda got: facts(got)["revision"]
    raise _no_route(command, args)


def _post(
    path: str, fields: dict[str, Any], take: Take[Any]
) -> tuple[str, str, _Params, bytes | None, Take[Any]]:
    return "POST", path, {}, json_body_of(fields), take


def _query(
    query: str, args: tuple[Any, ...], consistency: Consistency, timeout: float | None
) -> Call[Any]:
    path, params, take = _query_route(query, args)
    params["consistency"] = consistency
    return Call("GET", _ROUTE + path, _checked(take), write=False, params=params, timeout=timeout)


def _query_route(query: str, args: tuple[Any, ...]) -> tuple[str, _Params, Take[Any]]:
    match (query, *args):
        case ("range", key, b"", 0, at):
            return _key_path(key), _at(at), lambda got: _entry(key, got)
        case ("range", key, end, limit, at, None, None, 0, _):
            page = {"limit": str(min(limit, _MAX_LIMIT))}
            return "/keys", _span(key, end) | _at(at) | page, _entries
        case ("count", key, end, at):
            return "/count", _span(key, end) | _at(at), _count
        case ("lease", lease):
            return f"/leases/{lease}", {}, _lease
        case ("leases", after, limit):
            return "/leases", {"after": str(after), "limit": str(limit)}, _leases
        case ("status",):
            return "", {}, facts
    raise _no_route(query, args)


def _no_route(name: str, args: tuple[Any, ...]) -> UnknownCommand:
    return UnknownCommand(f"{name} with {args!r:.80} is not available over HTTP")


# -- parts of requests -------------------------------------------------------------------------


def _key_path(key: bytes) -> str:
    if not key:
        raise InvalidArgument("the key is b''; accepted: bytes that are not empty", key="b''")
    # A path segment of dots would be resolved.
    escaped = quote(key, safe="") if key.strip(b".") else key.decode().replace(".", "%2E")
    return f"/keys/{escaped}"


def _span(key: bytes, end: bytes) -> _Params:
    return {"start": key} if end == ALL else {"start": key, "end": end}


def _at(revision: int) -> _Params:
    return {"revision": str(revision)} if revision else {}


# -- parts of answers --------------------------------------------------------------------------


def _checked(take: Take[T]) -> Take[T]:
    """Let what is wrong in an answer count as an answer that is not a node's."""

    def taken(response: httpx.Response) -> T:
        try:
            return take(response)
        except InvalidArgument as error:
            raise ValueError(error.message) from error

    return taken


def _deleted(response: httpx.Response) -> list[Any]:
    found = facts(response)
    return [found["revision"], found["deleted"], []]


def _entry(key: bytes, response: httpx.Response) -> list[Any]:
    headers = response.headers
    # A compressing proxy turns the tag into a weak one (RFC 9110, section 8.8.1).
    revision = int(headers["ETag"].removeprefix("W/").strip('"'))
    created, version = int(headers["Braft-Created"]), int(headers["Braft-Version"])
    lease = lease_of("lease", headers["Braft-Lease"], 0)
    record = [key, response.content, created, revision, 0, version, lease]
    return [int(headers["Braft-Store-Revision"]), 1, False, [record]]


def _entries(response: httpx.Response) -> list[Any]:
    found = facts(response)
    records = [read_record(each) for each in found["entries"]]
    return [found["revision"], found["count"], bool(found["more"]), records]


def _count(response: httpx.Response) -> list[Any]:
    found = facts(response)
    return [found["revision"], found["count"]]


def _lease(response: httpx.Response) -> list[Any]:
    found = facts(response)
    return [found["ttl"], found["remaining"], [bytes_of("key", key) for key in found["keys"]]]


def _leases(response: httpx.Response) -> list[int]:
    return [lease_of("lease", each) for each in facts(response)["leases"]]
