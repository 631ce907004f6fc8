"""A store, and commands for it."""

from __future__ import annotations

from typing import Any

import pytest

from braft_core.abc import CommandContext
from braft_core.services.store import StoreService


class Run:
    """A store, to which commands are applied in a row."""

    def __init__(self) -> None:
        self.service = StoreService()
        self.index = 0

    def __call__(self, command: str, *arguments: Any) -> Any:
        self.index += 1
        context = CommandContext(self.index, 1, 1_000_000_000 * self.index)
        return self.service.apply(command, list(arguments), context)

    def query(self, query: str, *arguments: Any) -> Any:
        return self.service.query(query, list(arguments))

    def snapshot(self) -> bytes:
        return b"".join(self.service.snapshot())

    def keys(self, *arguments: Any) -> list[bytes]:
        return [record[0] for record in self.query("range", *arguments)[3]]


@pytest.fixture
def run() -> Run:
    return Run()


@pytest.fixture
def five(run: Run) -> Run:
    """Return a store with the keys a to e."""
    for key, value in ((b"c", b"1"), (b"a", b"3"), (b"e", b"2"), (b"b", b"5"), (b"d", b"4")):
        run("put", key, value)
    return run
