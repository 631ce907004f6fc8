"""Distributions that look installed: a module and its metadata in a folder on ``sys.path``."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, ClassVar

import pytest

from braft_core.abc import CommandContext, Contact, Discovery, Serializer, Service
from braft_core.plugin import hookimpl

Install = Callable[..., str]

_numbers = itertools.count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install(distribution, source, entry=..., version=...)`` → name of the made module."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def _install(distribution: str, source: str, entry: str, version: str = "1.0") -> str:
        module = f"braft_made_{next(_numbers)}"
        made.append(module)
        (tmp_path / f"{module}.py").write_text(_HEADER + dedent(source), encoding="utf-8")
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(f"[braft]\n{entry} = {module}\n", encoding="utf-8")
        return module

    yield _install
    for module in made:
        sys.modules.pop(module, None)


_HEADER = """\
from braft_core.abc import Contact, Discovery
from braft_core.plugin import hookimpl

class Lab(Discovery):
    name = "lab"

    async def discover(self):
        return [Contact("a", 1)]

"""


class Lab(Discovery):
    name: ClassVar[str] = "lab"

    async def discover(self) -> list[Contact]:
        return []


class Packing(Serializer):
    name: ClassVar[str] = "packing"
    tag: ClassVar[int] = 200

    def dumps(self, value: Any) -> bytes:
        return b""

    def loads(self, data: bytes) -> Any:
        return None


class Counter(Service):
    name: ClassVar[str] = "counter"

    def apply(self, command: str, args: Any, context: CommandContext) -> Any:
        return None

    def query(self, query: str, args: Any) -> Any:
        return None

    def snapshot(self) -> Iterator[bytes]:
        return iter(())

    def restore(self, chunks: Iterator[bytes]) -> None:
        return None


@pytest.fixture
def classes() -> types.SimpleNamespace:
    """Complete classes of some kinds: ``Lab``, ``Packing``, ``Counter``."""
    return types.SimpleNamespace(Lab=Lab, Packing=Packing, Counter=Counter)


@pytest.fixture
def providing() -> Callable[..., types.ModuleType]:
    """``providing(kind, answer)`` → a plugin module whose register hook returns the answer."""

    def make(kind: str, answer: Any) -> types.ModuleType:
        module = types.ModuleType(f"made_{next(_numbers)}")

        def hook() -> Any:
            return answer

        hook.__name__ = f"braft_register_{kind}"
        setattr(module, hook.__name__, hookimpl(hook))
        return module

    return make
