"""Inject single faults from a test, by name, into real processes.

Uses the kinds of the long runs (:mod:`braft_testing.faults.kinds`), without their randomness: the
test chooses when and where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from braft_testing.faults.cluster import Cluster
from braft_testing.faults.environment import environment, survey
from braft_testing.faults.kinds import KINDS, Ability, Scene, impossible, kind_named
from braft_testing.faults.machine import FaultKitError
from braft_testing.faults.plan import Fault

__all__ = ["Injector", "injector", "unavailable"]

_FORMING_SECONDS = 60.0


def unavailable() -> dict[str, str]:
    """Return the kinds of faults that this machine cannot make, each with the reason."""
    return impossible(KINDS.values(), survey())


class Injector:
    """A serving cluster and the faults to inject. Use it from the thread that created it.

    Other threads connect to the nodes within the context ``inside``: it moves them into the
    clients' namespace, if there is one.
    """

    def __init__(
        self,
        scene: Scene,
        inside: Callable[[], AbstractContextManager[None]],
        missing: Mapping[Ability, str],
    ) -> None:
        self._scene = scene
        self._missing = missing
        self.inside = inside

    @property
    def cluster(self) -> Cluster:
        """The processes: their addresses, and how to start and stop them."""
        return self._scene.cluster

    def inject(self, kind: str, *victims: int, strength: float = 0.5, other: bool = False) -> str:
        """Inject a fault, which stays until it is healed; return a short description.

        :param kind: a name of ``KINDS``.
        :param victims: the nodes to hit, where a kind has a choice; default: the leader first.
        :param strength: from 0 to 1, where a kind has degrees.
        :param other: the second form of a kind that has two.
        :raises ConfigError: if there is no such kind.
        :raises FaultKitError: if this machine cannot make it.
        """
        chosen = kind_named(kind)
        if (reason := self._missing.get(chosen.needs)) is not None:
            raise FaultKitError(f"{kind}: {reason}")
        leader = self.cluster.leader()
        first = list(victims) or ([leader] if leader is not None else [])
        rest = [index for index in self.cluster.members if index not in first]
        fault = Fault(kind, (*first, *rest), hold=0.0, strength=strength, other=other)
        return chosen.inject(self._scene, fault)

    def heal(self, deadline: float = 60.0) -> None:
        """Undo every fault, start the nodes that exited, and wait until the cluster serves.

        :raises NotServing: if that takes longer than ``deadline`` seconds.
        """
        self._scene.heal()
        self.cluster.wait_serving(deadline)

    @contextmanager
    def during(self, kind: str, *victims: int, strength: float = 0.5) -> Iterator[str]:
        """Call :meth:`inject` at the beginning and :meth:`heal` at the end of a ``with`` block."""
        try:
            yield self.inject(kind, *victims, strength=strength)
        finally:
            self.heal()


@contextmanager
def injector(size: int, directory: Path, **settings: object) -> Iterator[Injector]:
    """Start a cluster of ``size`` real processes, isolated as well as this machine allows.

    It serves when the block begins.

    :param settings: settings of every node by name.
    """
    missing = survey()
    directory.mkdir(parents=True, exist_ok=True)
    with environment(size, directory, missing, **settings) as prepared:
        cluster = prepared.scene.cluster
        cluster.start(*cluster.members)
        cluster.wait_serving(_FORMING_SECONDS)
        yield Injector(prepared.scene, prepared.inside, missing)
