"""Plugins import only braft-core's public modules, and import contracts can fail."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.syntax import parse

_PUBLIC = (
    "braft_core",
    "braft_core.abc",
    "braft_core.addresses",
    "braft_core.audit",
    "braft_core.auth_failures",
    "braft_core.cli.logs",
    "braft_core.cli.options",
    "braft_core.cli.output",
    "braft_core.client",
    "braft_core.errors",
    "braft_core.escaping",
    "braft_core.http2",
    "braft_core.http2.grpc_aio",
    "braft_core.peer",
    "braft_core.plugin",
    "braft_core.plugin.options",
    "braft_core.proof",
    "braft_core.raft",
    "braft_core.serializers",
    "braft_core.services",
    "braft_core.storage",
    "braft_core.store",
    "braft_core.store_import",
    "braft_core.tokens",
    "braft_core.transport",
    "braft_core.transport.grpc",
)
#: Also allowed in tests: the command line, to run commands.
_PUBLIC_FOR_TESTS = ("braft_core.cli",)
_PLUGINS = (
    "braft_static",
    "braft_mdns",
    "braft_k8s",
    "braft_serializers",
    "braft_tcp",
    "braft_etcd",
)


def _imports(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, node.module or ""


def _private(source: str) -> list[tuple[int, str]]:
    return [
        (line, name)
        for line, name in _imports(source)
        if name.split(".")[0] == "braft_core" and name not in _PUBLIC
    ]


@pytest.mark.parametrize("plugin", _PLUGINS)
def test_a_plugin_imports_only_public_modules(root: Path, plugin: str) -> None:
    modules = sorted((root / "plugins" / plugin / "src" / plugin).rglob("*.py"))
    assert modules
    found = {str(path.relative_to(root)): _private(path.read_text()) for path in modules}
    assert not {path: names for path, names in found.items() if names}


def test_tests_of_plugins_and_examples_use_nothing_private(root: Path) -> None:
    """The project's own plugins use only what third-party plugins can use."""
    modules = [*root.glob("plugins/*/tests/**/*.py"), *root.glob("examples/**/*.py")]
    assert len(modules) > 20
    found = {
        str(path.relative_to(root)): [
            (line, name)
            for line, name in _private(path.read_text())
            if not name.startswith(_PUBLIC_FOR_TESTS)
        ]
        for path in modules
    }
    assert not {path: names for path, names in found.items() if names}


def test_the_check_sees_private_imports() -> None:
    source = "import braft_core.raft.core\nfrom braft_core.runtime import server\nimport os\n"
    assert _private(source) == [(1, "braft_core.raft.core"), (2, "braft_core.runtime")]
    assert _private("from braft_core import Node\nfrom braft_core.abc import Contact\n") == []


@pytest.mark.parametrize("plugin", _PLUGINS)
def test_a_plugin_depends_on_one_minor_version_of_the_core(root: Path, plugin: str) -> None:
    project = tomllib.loads((root / "plugins" / plugin / "pyproject.toml").read_text())["project"]
    core = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    major, minor, _ = core["version"].split(".")
    wanted = f"braft-core>={major}.{minor},<{major}.{int(minor) + 1}"
    assert wanted in [item.replace(" ", "") for item in project["dependencies"]]
    assert project["name"] == plugin.replace("_", "-")
    assert list(project["entry-points"]) == ["braft"]


def test_every_extra_of_the_core_names_a_plugin(root: Path) -> None:
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    everything = extras.pop("all")
    extras.pop("speed")  # a quicker event loop, not a plugin
    extras.pop("testing")  # for tests of others
    named = {requirement.split(">=")[0] for items in extras.values() for requirement in items}
    assert named == {plugin.replace("_", "-") for plugin in _PLUGINS}
    assert sorted(everything) == sorted(item for items in extras.values() for item in items)
