"""The error that ends a simulation when a rule was broken."""

from __future__ import annotations

from braft_core.errors import InvariantViolation

__all__ = ["InvariantBroken"]


class InvariantBroken(InvariantViolation):
    """A rule that every run must keep was broken; ``invariant`` is its short name."""

    code = "simulation_invariant"

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}", invariant=invariant)
        self.invariant = invariant
