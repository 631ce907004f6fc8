"""Plant a bug, and remove it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from braft_testing.simulation.plan import Plan

__all__ = ["Mutant", "Patch"]

#: Seeds within which most mutants must be found.
MOST_SEEDS = 40


class Patch:
    """Sets attributes, and restores the old values at the end of its ``with`` block."""

    def __init__(self) -> None:
        self._saved: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Patch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._saved:
            target, name, value = self._saved.pop()
            setattr(target, name, value)

    def setattr(self, target: Any, name: str, value: Any) -> None:
        """Set an existing attribute."""
        self._saved.append((target, name, vars(target)[name]))
        setattr(target, name, value)


@dataclass(frozen=True, slots=True)
class Mutant:
    """How to plant a bug, and which rules may find it."""

    #: Returns further arguments of ``run_seed``.
    plant: Callable[[Patch], dict[str, Any]]
    rules: tuple[str, ...]
    #: Whether a run has the circumstances that the bug needs; other runs are skipped.
    suits: Callable[[Plan], bool] = lambda plan: True
    most_seeds: int = MOST_SEEDS

    @property
    def name(self) -> str:
        """The name of the bug."""
        return self.plant.__name__
