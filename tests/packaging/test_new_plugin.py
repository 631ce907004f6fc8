"""``braft new plugin``: what it makes is built, installed beside wheels, and passes its tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from braft_core.cli.scaffold import KINDS, make_plugin

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A new plugin of each kind; kind → its folder."""
    folder = tmp_path_factory.mktemp("made")
    return {kind: make_plugin(f"my-{kind}", kind, folder / kind).folder for kind in KINDS}


@pytest.fixture(scope="module")
def python(
    made: dict[str, Path],
    wheels: dict[str, Path],
    built: Callable[..., dict[str, Path]],
    installed: Callable[..., Path],
) -> Path:
    """An environment with the wheels of braft, of its static discovery, and of all new plugins."""
    core = f"braft-core[testing] @ {wheels['braft_core'].as_uri()}"
    return installed(core, wheels["braft_static"], *built(*made.values()).values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_passes_its_own_tests(
    run: Callable[..., str], made: dict[str, Path], python: Path, kind: str
) -> None:
    # Not from its sources: what was installed is tested.
    command = ("-I", "-m", "pytest", "-q", "-o", "pythonpath=", "-p", "no:cacheprovider")
    assert " passed" in run(python, *command, cwd=made[kind])


def test_braft_sees_all_of_them(run: Callable[..., str], python: Path) -> None:
    rows = json.loads(run(python.parent / "braft", "plugins", "--json"))["plugins"]
    found = {row["kind"]: row["name"] for row in rows if row["name"].startswith("my-")}
    assert found == {kind: f"my-{kind}" for kind in KINDS}
    [shown] = json.loads(run(python.parent / "braft", "plugins", "show", "my-discovery", "--json"))
    assert shown["options"][0]["variable"] == "BRAFT_MY_DISCOVERY_POLL_INTERVAL"
    assert "leads" in run(python.parent / "braft", "my-cli", "--help")
