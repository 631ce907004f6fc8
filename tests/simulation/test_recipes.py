"""Locks and leaders in whole nodes, in virtual time: dead and frozen holders harm nobody."""

from __future__ import annotations

import pytest

from braft_core.recipes.claim import Claim
from braft_core.recipes.steps import Steps
from braft_testing.simulation.runtime import run_seed
from braft_testing.simulation.runtime.recipes import RecipeWorld, draw_recipe_plan

pytestmark = pytest.mark.timeout(1200)  # computing only, on a busy machine too

#: Short runs, of which `make test` has the first, and long ones.
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
    "seed",
    [
        pytest.param(seed, marks=() if seed == SEEDS[0] else pytest.mark.slow)
        for seed in (*SEEDS, *MORE_SEEDS)
    ],
)
def test_every_rule_holds(seed: int) -> None:
    world = run(seed, 5.0 if seed in SEEDS else None)
    assert len(set(world.acts["lock"])) > 1
    assert world.written["lock"]
    assert world.written["leader"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "rule"),
    [(1, "nobody acts after a later holder"), (3, "fenced writes are in the order of tokens")],
)
def test_a_lock_with_several_holders_is_found(
    seed: int, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_place(*_: object) -> Steps[None]:
        yield from ()

    monkeypatch.setattr(Claim, "_taking_place", take_place)
    with pytest.raises(AssertionError, match=rule):
        run(seed, 5.0)
