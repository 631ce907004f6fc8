"""Recipes on the store: who may act, who leads, and what to do when that is lost.

Each is written against :class:`RecipeStore`, and knows neither nodes nor clients. Everything that
is held has a ``token``: a number that is larger for each later holder. ``store.put(...,
if_held=lock)`` writes only if no later one has taken over. ``docs/recipes.md`` has examples, and
says what happens on loss.
"""

from braft_core.recipes.claim import Claim
from braft_core.recipes.election import Election, ElectionLeader, Observation
from braft_core.recipes.interface import RecipeStore
from braft_core.recipes.leadership import Leadership
from braft_core.recipes.lock import Lock
from braft_core.recipes.party import Guest, Party, PartyWatch
from braft_core.recipes.rendezvous import Rendezvous
from braft_core.recipes.semaphore import Semaphore
from braft_core.recipes.singletons import asingleton, singleton
from braft_core.recipes.transaction import Transaction, atransact, transact

__all__ = [
    "Claim",
    "Election",
    "ElectionLeader",
    "Guest",
    "Leadership",
    "Lock",
    "Observation",
    "Party",
    "PartyWatch",
    "RecipeStore",
    "Rendezvous",
    "Semaphore",
    "Transaction",
    "asingleton",
    "atransact",
    "singleton",
    "transact",
]
