"""The hooks as a published interface: frozen, documented, and each of them exercised."""

from __future__ import annotations

import inspect
import re
import types
from pathlib import Path
from textwrap import dedent
from typing import Any

import falcon.asgi
import pytest
import typer
from typer.testing import CliRunner

from braft_core.plugin import HOOKS_VERSION, hookimpl, specs
from braft_core.plugin.manager import Plugins
from braft_core.plugin.registry import Registry
from braft_core.plugin.validation import HOOKS, KINDS, hook_problems, signature
from braft_core.raft.types import Server
from braft_core.tokens import Keyring
from tests.syntax import parse

#: Published names. A parameter may be added at the end; nothing may be renamed or removed.
FROZEN = {
    "braft_register_discovery": (),
    "braft_register_serializer": (),
    "braft_register_service": (),
    "braft_register_transport": (),
    "braft_register_storage": (),
    "braft_register_options": (),
    "braft_register_http": ("app", "node"),
    "braft_serve": ("node", "keyring"),
    "braft_register_cli": ("app",),
    "braft_on_started": ("node",),
    "braft_on_stopping": ("node",),
    "braft_on_leader_changed": ("node", "leader", "term"),
    "braft_on_member_joined": ("node", "server"),
    "braft_on_member_left": ("node", "server"),
    "braft_on_snapshot_taken": ("node", "index"),
}

MANUAL = Path(__file__).parents[3] / "docs" / "hooks.md"

hooks = pytest.mark.parametrize("hook", sorted(HOOKS))


def docstring(hook: str) -> str:
    return inspect.getdoc(getattr(specs, hook)) or ""


def example(hook: str) -> str:
    return dedent(docstring(hook).split("Example::\n", 1)[1])


def test_hooks_and_their_parameters_are_frozen() -> None:
    assert (HOOKS_VERSION, dict(HOOKS)) == (3, FROZEN), "a larger set has a higher version"


def test_every_kind_has_its_hook() -> None:
    assert {f"braft_register_{kind}" for kind in KINDS} <= set(HOOKS)


@hooks
def test_docstring_says_when_where_and_what(hook: str) -> None:
    text = docstring(hook)
    for word in ("When: ", "Thread: ", "block", ":return: ", "Example::\n"):
        assert word in text
    for parameter in HOOKS[hook]:
        assert f":param {parameter}: " in text


@hooks
def test_example_is_short_and_right(hook: str) -> None:
    code = example(hook)
    assert len([line for line in code.splitlines() if line.strip()]) <= 6
    module = types.ModuleType("example")
    exec(compile(parse(code), hook, "exec"), {"hookimpl": hookimpl}, module.__dict__)  # noqa: S102 - the examples are our own
    assert hook in vars(module)
    assert hook_problems(module) == []


def test_every_hook_has_a_heading_with_its_signature() -> None:
    text = MANUAL.read_text(encoding="utf-8")
    headings = re.findall(r"^### `(braft_[^`]+)`$", text, flags=re.MULTILINE)
    assert headings == [signature(hook) for hook in HOOKS]


def test_manual_says_the_version_of_the_hooks() -> None:
    text = MANUAL.read_text(encoding="utf-8")
    assert f"`HOOKS_VERSION` in `braft_core.plugin`, now {HOOKS_VERSION}." in text


def test_every_hook_reaches_a_plugin(classes: types.SimpleNamespace) -> None:
    """Call every hook of a plugin that implements all of them, with all parameters."""
    seen: dict[str, dict[str, Any]] = {}
    answers: dict[str, Any] = {
        "braft_register_discovery": classes.Lab,
        "braft_register_serializer": [classes.Packing],
        "braft_register_service": (classes.Counter,),
        "braft_register_transport": [],
        "braft_register_storage": [],
        "braft_register_options": [],
    }
    plugins = Plugins()
    plugins.register(recorder(seen, answers), "recorder")

    registry = Registry(plugins)
    assert {kind: registry.names(kind) for kind in KINDS} == {
        "discovery": ("lab",),
        "serializer": ("packing",),
        "service": ("counter",),
        "transport": (),
        "storage": (),
    }
    assert registry.options() == {}
    node: Any = object()
    app, commands = falcon.asgi.App(), typer.Typer()
    plugins.extend_http(app, node)
    plugins.extend_cli(commands)
    keyring = Keyring()
    (info,) = plugins.implementing("braft_serve")
    assert plugins.call(info, "braft_serve", node=node, keyring=keyring) == []
    server = Server("id", "127.0.0.1:1")
    plugins.notify("braft_on_started", node=node)
    plugins.notify("braft_on_stopping", node=node)
    plugins.notify("braft_on_leader_changed", node=node, leader="id", term=7)
    plugins.notify("braft_on_member_joined", node=node, server=server)
    plugins.notify("braft_on_member_left", node=node, server=server)
    plugins.notify("braft_on_snapshot_taken", node=node, index=9)

    assert set(seen) == set(HOOKS), "a new hook needs a line above"
    assert {hook: tuple(arguments) for hook, arguments in seen.items()} == dict(HOOKS)
    assert seen["braft_register_http"] == {"app": app, "node": node}
    assert seen["braft_serve"] == {"node": node, "keyring": keyring}
    assert seen["braft_register_cli"] == {"app": commands}
    assert seen["braft_on_leader_changed"] == {"node": node, "leader": "id", "term": 7}
    assert seen["braft_on_member_left"] == {"node": node, "server": server}
    assert seen["braft_on_snapshot_taken"] == {"node": node, "index": 9}


def recorder(seen: dict[str, dict[str, Any]], answers: dict[str, Any]) -> types.ModuleType:
    module = types.ModuleType("recorder")
    for hook, parameters in HOOKS.items():
        names = ", ".join(parameters)
        scope: dict[str, Any] = {"seen": seen, "answers": answers, "hookimpl": hookimpl}
        exec(  # noqa: S102 - made of the table of hooks alone
            f"@hookimpl\ndef {hook}({names}):\n"
            f"    seen[{hook!r}] = dict({', '.join(f'{name}={name}' for name in parameters)})\n"
            f"    return answers.get({hook!r})\n",
            scope,
        )
        setattr(module, hook, scope[hook])
    return module


def test_http_and_cli_hooks_do_what_their_examples_say() -> None:
    class Resource:
        async def on_get(
            self, request: falcon.asgi.Request, response: falcon.asgi.Response
        ) -> None:
            response.media = {"lab": True}

    module = types.ModuleType("lab")

    @hookimpl
    def braft_register_http(app: Any) -> None:
        app.add_route("/plugins/lab", Resource())

    @hookimpl
    def braft_register_cli(app: typer.Typer) -> None:
        @app.command("lab")
        def lab() -> None:
            typer.echo("hello from the lab")

        @app.command("other")
        def other() -> None:
            typer.echo("other")

    module.__dict__.update(
        braft_register_http=braft_register_http, braft_register_cli=braft_register_cli
    )
    plugins = Plugins()
    plugins.register(module, "lab")
    app, commands = falcon.asgi.App(), typer.Typer()
    node: Any = None
    plugins.extend_http(app, node)
    plugins.extend_cli(commands)

    from falcon import testing

    assert testing.TestClient(app).simulate_get("/plugins/lab").json == {"lab": True}
    result = CliRunner().invoke(commands, ["lab"])
    assert (result.exit_code, result.output) == (0, "hello from the lab\n")
