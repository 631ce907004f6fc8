"""Generates the list of routes in ``docs/http.md`` from their descriptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from braft_core.http.openapi import (
    COMMON,
    COMMON_OF_CHANGES,
    COMMON_OF_CLUSTER,
    PATH_NAMES,
    operations,
)
from braft_core.http.operation import Operation, Parameter

__all__ = ["routes_markdown"]


def routes_markdown(routes: Mapping[str, object]) -> str:
    """Return the list of routes as Markdown."""
    lines = ["", "## Routes", ""]
    for (path, method), operation in operations(routes).items():
        lines += _operation(path, method, operation)
    lines += ["## Names in paths", "", "| name | meaning |", "|---|---|"]
    lines += [f"| `{{{name}}}` | {meaning} |" for name, meaning in PATH_NAMES.items()]
    lines += ["", "## Problems of any route", "", "| status | of | meaning |"]
    lines += ["|---|---|---|"]
    for of, problems in (
        ("every request", COMMON),
        ("requests that change something", COMMON_OF_CHANGES),
        ("requests to the cluster", COMMON_OF_CLUSTER),
    ):
        lines += [f"| {status} | {of} | {meaning} |" for status, meaning in problems.items()]
    return "\n".join(lines) + "\n"


def _operation(path: str, method: str, operation: Operation) -> Iterator[str]:
    yield from (f"### `{method.upper()} {path}`", "", operation.summary, "")
    rows = [*_parameters("query", operation.query), *_parameters("header", operation.headers)]
    if operation.body is not None:
        kinds = ", ".join(f"`{kind}`" for kind in operation.body.content)
        must = "" if operation.body.required else " (optional)"
        rows.append(f"| body | {kinds} | {operation.body.description}{must} |")
    if rows:
        yield from ("| sent | name or type | meaning |", "|---|---|---|", *rows, "")
    yield from ("| status | answer | headers |", "|---|---|---|")
    for status, response in sorted(operation.responses.items()):
        kinds = ", ".join(f"`{kind}`" for kind in response.content) or "no body"
        headers = ", ".join(f"`{header.name}`" for header in response.headers)
        yield f"| {status} | {response.description}: {kinds} | {headers} |"
    for status, meaning in sorted((operation.problems or {}).items()):
        yield f"| {status} | {meaning} | |"
    yield ""


def _parameters(where: str, parameters: tuple[Parameter, ...]) -> Iterator[str]:
    for parameter in parameters:
        meaning = parameter.description + _accepted(parameter.schema)
        yield f"| {where} | `{parameter.name}` | {meaning} |"


def _accepted(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return f" ({', '.join(schema['enum'])})"
    if "maximum" in schema:
        least = f"at least {schema['minimum']}" if "minimum" in schema else "more than 0"
        return f" ({least}, at most {schema['maximum']:g})"
    return ""
