"""The OpenAPI document is complete, agrees with the page, and with the server."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from braft_core.compat.go_braft.routes import legacy_routes
from braft_core.errors import Stopped
from braft_core.http.app import routes
from braft_core.http.openapi import document
from braft_core.http.openapi_markdown import routes_markdown

HEADERS = {"Host": "localhost", "X-Requested-With": "test"}
EVERY = list(HealthCheck)
ROOT = Path(__file__).parents[3]


def test_every_method_of_every_route_is_described(node: Any, web: Any) -> None:
    described = document(routes(node, legacy_routes(node)))
    assert web.simulate_get("/openapi.json").json == described
    for template in routes(node, legacy_routes(node)):
        path = template.replace(":path}", "}")
        assert path in described["paths"]
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_the_page_says_what_the_description_says(node: Any) -> None:
    page = ROOT / "docs" / "http.md"
    text = page.read_text()
    before, marker, _ = text.partition("<!-- generated below -->\n")
    assert marker
    expected = before + marker + routes_markdown(routes(node, legacy_routes(node)))
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(expected)
        text = expected
    assert text == expected, "UPDATE_DOCS=1 writes it"


def test_the_node_does_what_the_description_says(node: Any, make_client: Any) -> None:
    node._kv_put("m", "k", 1)
    node.staleness = 0.0  # no read is too stale, which would cause a 503
    node.store.watchers = EndingWatchers(node.hub)
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json", make_client(node).app, headers={"Host": "localhost"}
    )
    found: list[Any] = list(schema.get_all_operations())
    operations = [result.ok() for result in found]
    assert len(operations) > 20
    for operation in operations:
        _try(operation)


class EndingWatchers:
    """Ends each watch once it has nothing to show: the answers to these requests must end."""

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self.applied_revision = 1

    def watch(self, *span: Any, wake: Any) -> Any:
        watcher = self._hub.watch(*span, wake=wake)
        take, takes = watcher.take, iter([True])
        return SimpleNamespace(
            take=lambda size: take(size) if next(takes, False) else self._end(watcher),
            close=watcher.close,
            is_current=True,
            revision=1,
        )

    @staticmethod
    def _end(watcher: Any) -> None:
        watcher.close()
        raise Stopped("the node was stopped")


def _try(operation: Any) -> None:
    """Send requests that the description allows, and check the answers against it."""

    @given(case=operation.as_strategy())
    @settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=EVERY)
    def sent(case: Any) -> None:
        # Rules that a schema cannot express, such as the syntax of addresses, cause a 400.
        case.call_and_validate(headers=HEADERS, excluded_checks=[positive_data_acceptance])

    sent()
