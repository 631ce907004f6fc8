"""Majorities. Pure arithmetic over the voters of one configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["majority", "majority_index"]


def majority(voters: int) -> int:
    """Return the size of a majority of that many voters."""
    return voters // 2 + 1


def majority_index(values: Iterable[int]) -> int:
    """Return the largest value that a majority of voters has reached; 0 without voters.

    Of match indexes it is the index replicated on a majority (Raft §5.3, §5.4).
    """
    ordered: Sequence[int] = sorted(values, reverse=True)
    return ordered[majority(len(ordered)) - 1] if ordered else 0
