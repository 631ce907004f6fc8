"""OpenAPI descriptions of what a resource accepts and answers, beside the method that does it.

They decide which query parameters a request may have, and generate ``/openapi.json`` and
``docs/http.md``. A responder without a description, such as a plugin's, is neither checked nor
listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

__all__ = [
    "ANY_JSON",
    "BINARY",
    "JSON",
    "MAX_TIMEOUT_SECONDS",
    "TEXT",
    "TIMEOUT",
    "Operation",
    "Parameter",
    "RequestBody",
    "ResponseSpec",
    "Schema",
    "array",
    "documented",
    "integer",
    "obj",
    "operation_of",
    "text",
]

Schema = Mapping[str, Any]
_Responder = TypeVar("_Responder", bound=Callable[..., Any])

JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"
TEXT: Final = "text/plain"
MAX_TIMEOUT_SECONDS: Final = 60.0


def text(description: str = "", **more: Any) -> Schema:
    """Return the schema of a string."""
    return {"type": "string", **_description(description), **more}


def integer(description: str = "", **more: Any) -> Schema:
    """Return the schema of a whole number."""
    return {"type": "integer", **_description(description), **more}


def array(items: Schema, description: str = "") -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items, **_description(description)}


def obj(properties: Mapping[str, Schema], optional: tuple[str, ...] = (), **more: Any) -> Schema:
    """Return the schema of an object; all properties that are not ``optional`` are required."""
    required = [name for name in properties if name not in optional]
    found: dict[str, Any] = {"type": "object", "properties": dict(properties), **more}
    return found | ({"required": required} if required else {})


def _description(text: str) -> dict[str, str]:
    return {"description": text} if text else {}


#: Any JSON value.
ANY_JSON: Final[Schema] = {}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a header."""

    name: str
    description: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class RequestBody:
    """The body of a request: its schema by media type."""

    content: Mapping[str, Schema]
    description: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """A successful response: its schema by media type, and its headers."""

    description: str
    content: Mapping[str, Schema]
    headers: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route.

    ``problems`` maps status codes of this operation's problem JSON to their meaning. Problems that
    any request can get are not repeated.
    """

    summary: str
    responses: Mapping[int, ResponseSpec]
    query: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    body: RequestBody | None = None
    problems: Mapping[int, str] | None = None

    @property
    def query_names(self) -> frozenset[str]:
        """Names of the query parameters."""
        return frozenset(parameter.name for parameter in self.query)


def documented(operation: Operation) -> Callable[[_Responder], _Responder]:
    """Attach a description to a responder."""

    def attach(responder: _Responder) -> _Responder:
        responder.operation = operation  # type: ignore[attr-defined]
        return responder

    return attach


def operation_of(resource: object, method: str) -> Operation | None:
    """Return the description of a resource's method, ``None`` if it has none."""
    responder = getattr(resource, f"on_{method.lower()}", None)
    found = getattr(responder, "operation", None)
    return found if isinstance(found, Operation) else None


#: Accepted by every operation that waits for the cluster, and by no other.
TIMEOUT: Final = Parameter(
    "timeout",
    "seconds to wait for the answer; without it the setting `request_timeout`",
    {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_SECONDS},
)
