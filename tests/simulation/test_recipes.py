"""Locks and leaders in whole nodes, in virtual time: dead and frozen holders harm nobody."""

from __future__ import annotations

import pytest

from braft_core.recipes.claim import Claim
from braft_core.store import Condition, Key
from braft_testing.simulation.runtime import run_seed
from braft_testing.simulation.runtime.recipes import RecipeWorld, draw_recipe_plan

pytestmark = pytest.mark.timeout(1200)  # computing only, on a busy machine too

#: In `make test`, and further ones in `make test-all`.
SEEDS, MORE_SEEDS = (1, 3), range(4, 40)


def run(seed: int, seconds: float | None = None) -> RecipeWorld:
    worlds: list[RecipeWorld] = []

    def make(*args: object) -> RecipeWorld:
        worlds.append(RecipeWorld(*args))  # type: ignore[arg-type]
        return worlds[0]

    outcome = run_seed(seed, plan=draw_recipe_plan(seed, seconds), make=make)
    assert outcome.ok, f"{outcome.rule}: {outcome.detail}\n" + "\n".join(outcome.tail[-60:])
    return worlds[0]


@pytest.mark.parametrize(
    "seed", [*SEEDS, *(pytest.param(seed, marks=pytest.mark.slow) for seed in MORE_SEEDS)]
)
def test_every_rule_holds(seed: int) -> None:
    world = run(seed, 5.0 if seed in SEEDS else None)
    assert len(set(world.acts["lock"])) > 1
    assert world.written["lock"]
    assert world.written["leader"]


@pytest.mark.slow
def test_a_write_without_a_fence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge is awake: a condition that always holds lets former holders write."""

    def open_fence(claim: Claim) -> Condition:
        return Key(claim.key).version > -1

    monkeypatch.setattr(Claim, "fence", open_fence)

    def hunt() -> None:
        for seed in range(0, 60, 3):
            run(seed)

    with pytest.raises(AssertionError, match="fenced writes are in the order of tokens"):
        hunt()
