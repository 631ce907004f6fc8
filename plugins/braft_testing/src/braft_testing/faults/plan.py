"""Draw faults, their order and their parameters from one seed.

Pure. Which node leads at the time of a fault is decided when it is injected; everything else is
drawn here, so that a seed reproduces the plan.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from braft_core.errors import ConfigError

__all__ = ["Fault", "draw_faults"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault to inject.

    :param nodes: all nodes in a random order; the victims are taken from the front.
    :param hold: seconds until it is healed.
    :param strength: from 0 to 1, where a kind has degrees.
    :param other: a random bit, where a kind has two forms.
    """

    kind: str
    nodes: tuple[int, ...]
    hold: float
    strength: float
    other: bool


def draw_faults(
    seed: int, kinds: Sequence[str], nodes: int, hold: tuple[float, float]
) -> Iterator[Fault]:
    """Yield faults without end; each kind occurs once before any occurs again.

    :raises ConfigError: if there is no kind.
    """
    if not kinds:
        raise ConfigError("there is no kind of fault to draw from")
    chance = random.Random(f"{seed}/faults")  # noqa: S311 - must be reproducible, not secret
    while True:
        for kind in chance.sample(list(kinds), len(kinds)):
            order = tuple(chance.sample(range(nodes), nodes))
            seconds = chance.uniform(*hold)
            yield Fault(kind, order, seconds, chance.random(), chance.random() < 0.5)
