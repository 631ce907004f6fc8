"""Plugins for tests: installed distributions, modules, and the classes they provide."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Any, ClassVar

import pytest

from braft_core.abc import CommandContext, Contact, Discovery, Serializer, Service
from braft_core.plugin import hookimpl

Install = Callable[..., str]

_numbers = itertools.count()


@pytest.fixture
def install(install_distribution: Callable[..., str]) -> Install:
    """``install(distribution, source, entry=..., version=...)`` → name of the made module.

    The source may use what :data:`_HEADER` defines.
    """

    def _install(distribution: str, source: str, entry: str, version: str = "1.0") -> str:
        return install_distribution(distribution, _HEADER + dedent(source), entry, version)

    return _install


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
    """Return complete classes of some kinds: ``Lab``, ``Packing``, ``Counter``."""
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
