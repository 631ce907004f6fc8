"""Distributions that look installed, in a folder on ``sys.path``; the fake node of HTTP tests."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_numbers = itertools.count()


@pytest.fixture(scope="session")
def fake_node_class() -> Any:
    """Return the fake node of the HTTP tests, for tests of what speaks HTTP."""
    path = Path(__file__).parent / "http" / "conftest.py"
    spec = importlib.util.spec_from_file_location("braft_fake_node", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FakeNode


@pytest.fixture
def install_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., str]]:
    """Return ``install(distribution, source, entry, version="1.0", metadata="")``.

    Its result is the name of the made module. ``metadata`` are further lines of METADATA.
    """
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def install(
        distribution: str, source: str, entry: str, version: str = "1.0", metadata: str = ""
    ) -> str:
        module = f"braft_made_{next(_numbers)}"
        made.append(module)
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (info / "METADATA").write_text(head + metadata, encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[braft]\n{entry} = {module}\n", encoding="utf-8")
        return module

    yield install
    for module in made:
        sys.modules.pop(module, None)
