"""Plugins of others, as wheels beside braft's: what ``braft new plugin`` makes, and examples.

Each brings tests of its own, which run in an environment in which nothing else is installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from braft_core.cli.scaffold import KINDS, make_plugin

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

_EXAMPLES = ("braft-consul-like", "braft-counter")


@pytest.fixture(scope="module")
def projects(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A new plugin of each kind, and the examples; name → folder."""
    folder = tmp_path_factory.mktemp("made")
    made = {kind: make_plugin(f"my-{kind}", kind, folder / kind).folder for kind in KINDS}
    return made | {name: root / "examples" / name for name in _EXAMPLES}


@pytest.fixture(scope="module")
def python(
    projects: dict[str, Path],
    wheels: dict[str, Path],
    built: Callable[..., dict[str, Path]],
    installed: Callable[..., Path],
) -> Path:
    """An environment with braft, its static discovery, and all of them."""
    core = f"braft-core[testing] @ {wheels['braft_core'].as_uri()}"
    return installed(core, wheels["braft_static"], *built(*projects.values()).values())


@pytest.mark.parametrize("name", [*KINDS, *_EXAMPLES])
def test_a_plugin_passes_its_own_tests(
    run: Callable[..., str], projects: dict[str, Path], python: Path, name: str
) -> None:
    # Not from its sources: what was installed is tested.
    command = ("-I", "-m", "pytest", "-q", "-o", "pythonpath=", "-p", "no:cacheprovider")
    assert " passed" in run(python, *command, cwd=projects[name])


def test_braft_sees_all_of_them(run: Callable[..., str], python: Path) -> None:
    braft = python.parent / "braft"
    rows = json.loads(run(braft, "plugins", "--json"))["plugins"]
    found = {row["kind"]: row["name"] for row in rows if row["name"].startswith("my-")}
    assert found == {kind: f"my-{kind}" for kind in KINDS}
    provided = {(row["kind"], row["name"]) for row in rows}
    assert {("discovery", "consul-like"), ("service", "counter"), ("cli", "counter")} <= provided
    [shown] = json.loads(run(braft, "plugins", "show", "my-discovery", "--json"))
    assert shown["options"][0]["variable"] == "BRAFT_MY_DISCOVERY_POLL_INTERVAL"
    assert "leads" in run(braft, "my-cli", "--help")
