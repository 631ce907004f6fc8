"""The kinds of faults: how each is made, and how it is healed.

A kind makes its fault on a :class:`Scene` and registers there what undoes it. Healing runs these in
reverse order, also after an interruption in the middle. Every kind begins with a healthy cluster.
Add a new kind to the module of what it affects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from braft_core.errors import ConfigError
from braft_testing.faults.kinds import clocks, disks, networks, processes, versions
from braft_testing.faults.kinds.scene import Ability, Kind, Scene

__all__ = ["KINDS", "Ability", "Kind", "Scene", "impossible", "kind_named"]

_ALL = (*processes.KINDS, *networks.KINDS, *disks.KINDS, *clocks.KINDS, *versions.KINDS)
#: Kinds by name.
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}


def kind_named(name: str) -> Kind:
    """Return the kind of that name.

    :raises ConfigError: if no kind has that name.
    """
    if name not in KINDS:
        raise ConfigError(f"kind of fault is {name!r}; accepted: {', '.join(KINDS)}")
    return KINDS[name]


def impossible(kinds: Iterable[Kind], missing: Mapping[Ability, str]) -> dict[str, str]:
    """Return the kinds that a machine without these abilities cannot make, with the reason."""
    return {kind.name: missing[kind.needs] for kind in kinds if kind.needs in missing}
