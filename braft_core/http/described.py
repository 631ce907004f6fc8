"""Descriptions of what a resource accepts and answers, next to the method that does it.

One source for three uses: which query parameters a request may have, ``/openapi.json``, and
``docs/http.md``. A responder without a description, as plugins' may be, is not checked and not
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
    "TEXT",
    "TIMEOUT",
    "Answer",
    "Body",
    "Operation",
    "Parameter",
    "Schema",
    "array",
    "described",
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


def text(meaning: str = "", **more: Any) -> Schema:
    """Return the schema of a text."""
    return {"type": "string", **_meaning(meaning), **more}


def integer(meaning: str = "", **more: Any) -> Schema:
    """Return the schema of a whole number."""
    return {"type": "integer", **_meaning(meaning), **more}


def array(items: Schema, meaning: str = "") -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items, **_meaning(meaning)}


def obj(properties: Mapping[str, Schema], optional: tuple[str, ...] = (), **more: Any) -> Schema:
    """Return the schema of an object; what is not ``optional`` is always there."""
    required = [name for name in properties if name not in optional]
    found: dict[str, Any] = {"type": "object", "properties": dict(properties), **more}
    return found | ({"required": required} if required else {})


def _meaning(meaning: str) -> dict[str, str]:
    return {"description": meaning} if meaning else {}


#: Any JSON value.
ANY_JSON: Final[Schema] = {}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a header."""

    name: str
    meaning: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request: its schema by media type."""

    content: Mapping[str, Schema]
    meaning: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no problem: its schema by media type, and its own headers."""

    meaning: str
    content: Mapping[str, Schema]
    headers: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route.

    ``problems`` says in which cases a status of problem JSON comes from this operation. Those that
    every request can get are not repeated.
    """

    summary: str
    answers: Mapping[int, Answer]
    query: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    body: Body | None = None
    problems: Mapping[int, str] | None = None

    @property
    def accepted(self) -> frozenset[str]:
        """Names of the query parameters."""
        return frozenset(parameter.name for parameter in self.query)


def described(operation: Operation) -> Callable[[_Responder], _Responder]:
    """Describe a responder."""

    def attach(responder: _Responder) -> _Responder:
        responder.operation = operation  # type: ignore[attr-defined]
        return responder

    return attach


def operation_of(resource: object, method: str) -> Operation | None:
    """Return the description of a resource's method, ``None`` if it has none."""
    responder = getattr(resource, f"on_{method.lower()}", None)
    found = getattr(responder, "operation", None)
    return found if isinstance(found, Operation) else None


#: Accepted wherever a request waits for the cluster.
TIMEOUT: Final = Parameter(
    "timeout",
    "seconds to wait for the answer; without it the setting `request_timeout`",
    {"type": "number", "exclusiveMinimum": 0, "maximum": 60},
)
