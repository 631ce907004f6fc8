"""``/openapi.json``: the OpenAPI document, generated from the descriptions of the routes.

``docs/http.md`` is generated from the same descriptions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from falcon.asgi import Request, Response

from braft_core.errors import PluginError
from braft_core.http.json_body import send_json
from braft_core.http.operation import (
    JSON,
    Operation,
    Parameter,
    ResponseSpec,
    Schema,
    documented,
    operation_of,
)
from braft_core.http.origin_policy import SAFE_METHODS
from braft_core.http.problems import PROBLEM_JSON

__all__ = [
    "COMMON",
    "COMMON_OF_CHANGES",
    "COMMON_OF_CLUSTER",
    "PATH_NAMES",
    "OpenAPIResource",
    "document",
    "operations",
]

_METHODS: Final = ("get", "put", "post", "delete")
_FIELD = re.compile(r"\{(\w+)(?::\w+)?\}")
#: Path parameters and their meaning.
PATH_NAMES: Final = {
    "map_name": "name of a map; a slash in it is written `%2F`",
    "key": "a key, or the id of a node",
    "store_key": "a key of the store: its bytes, percent-encoded",
    "lease_id": "id of a lease, decimal",
    "server_id": "id of a server",
    "snapshot_id": "id of a snapshot",
}
#: Problems of any request; of requests that change something; of requests to the cluster.
COMMON: Final = {
    400: "invalid input; `data` names the parameter, its value and what is accepted",
    401: "a token is required",
    403: "the token is not accepted, or the request comes from a page of another origin",
    414: "path and query are too long",
    421: "`Host` does not name this node (`BRAFT_HTTP_HOSTS`)",
    431: "the headers are too large",
    500: "an unexpected error; the log of the node has it",
}
COMMON_OF_CHANGES: Final = {
    413: "the body is too large",
    415: "any web page can send a body of this type: add a header `X-Requested-With`",
}
COMMON_OF_CLUSTER: Final = {
    502: "another node could not be reached",
    503: "not applied: no leader, not ready, or busy; `Retry-After` says when to try again",
    504: "no answer in time; a change may or may not have been applied",
    507: "the disk is full",
}
_ALIVE: Final = "/healthz"
_OPEN: Final = ("/healthz", "/readyz", "/openapi.json")


class OpenAPIResource:
    """The OpenAPI document."""

    def __init__(self, routes: Mapping[str, object]) -> None:
        self._routes = dict(routes) | {"/openapi.json": self}
        self._document: dict[str, Any] | None = None

    @documented(
        Operation(
            "This description.",
            {200: ResponseSpec("an OpenAPI 3.1 document", {JSON: {"type": "object"}})},
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the document, which is generated once."""
        if self._document is None:
            self._document = document(self._routes)
        await send_json(resp, self._document)


def operations(routes: Mapping[str, object]) -> dict[tuple[str, str], Operation]:
    """Return the operations by path and method.

    :raises PluginError: a method has no description.
    """
    found = {}
    for template, resource in routes.items():
        for method in _METHODS:
            if not hasattr(resource, f"on_{method}"):
                continue
            operation = operation_of(resource, method)
            if operation is None:
                raise PluginError(f"{method.upper()} {template} has no description")
            found[_FIELD.sub(r"{\1}", template), method] = operation
    return found


def document(routes: Mapping[str, object]) -> dict[str, Any]:
    """Return the OpenAPI document of ``routes``."""
    paths: dict[str, dict[str, Any]] = {}
    for (path, method), operation in operations(routes).items():
        paths.setdefault(path, {})[method] = _operation(path, method, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "braft",
            "version": "1",
            "description": "A node of a replicated state machine. `braft docs http` explains it.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def problems_of(path: str, method: str, operation: Operation) -> dict[int, str]:
    """Return the meaning of every problem of a request, by status."""
    found = dict(COMMON)
    if path == _ALIVE:
        del found[421]
    if method.upper() not in SAFE_METHODS:
        found |= COMMON_OF_CHANGES
    if path not in _OPEN:
        found |= COMMON_OF_CLUSTER
    for status, meaning in (operation.problems or {}).items():
        found[status] = f"{found[status]}; {meaning}" if status in found else meaning
    return dict(sorted(found.items()))


def _operation(path: str, method: str, operation: Operation) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "description": PATH_NAMES[name]}
        | {"schema": {"type": "string", "minLength": 1}}
        for name in _FIELD.findall(path)
    ]
    parameters += [_parameter(parameter, "query") for parameter in operation.query]
    parameters += [_parameter(parameter, "header") for parameter in operation.headers]
    spec: dict[str, Any] = {
        "operationId": _operation_id(path, method),
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            str(status): _response(response)
            for status, response in sorted(operation.responses.items())
        },
    }
    if operation.body is not None:
        spec["requestBody"] = {
            "description": operation.body.description,
            "required": operation.body.required,
            "content": _content(operation.body.content),
        }
    for status, meaning in problems_of(path, method, operation).items():
        spec["responses"][str(status)] = _problem(meaning)
    return spec


def _operation_id(path: str, method: str) -> str:
    words = re.sub(r"[^a-z_]+", " ", path.lower()).split()
    return "_".join([method, *words])


def _parameter(parameter: Parameter, where: str) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": where,
        "required": False,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _response(response: ResponseSpec) -> dict[str, Any]:
    spec: dict[str, Any] = {"description": response.description}
    if response.content:
        spec["content"] = _content(response.content)
    if response.headers:
        spec["headers"] = {
            header.name: {"description": header.description, "schema": header.schema}
            for header in response.headers
        }
    return spec


def _content(content: Mapping[str, Schema]) -> dict[str, Any]:
    return {kind: {"schema": schema} for kind, schema in content.items()}


def _problem(meaning: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": meaning, "content": {PROBLEM_JSON: {"schema": schema}}}


_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "instance", "code", "data"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "a sentence for people"},
        "instance": {"type": "string", "description": "the path of the request"},
        "code": {"type": "string", "description": "a stable code for programs"},
        "data": {"type": "object", "description": "facts about the problem"},
    },
}
