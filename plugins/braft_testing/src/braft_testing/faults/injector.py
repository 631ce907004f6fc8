"""Faults at a test's command: real processes, and one fault at a time, made and healed by name.

The same kinds as in the long runs (:mod:`braft_testing.faults.kinds`), without their chance:
the test says when and to whom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from braft_testing.faults.cluster import Cluster
from braft_testing.faults.kinds import KINDS, Ability, Scene, impossible, kind_named
from braft_testing.faults.laboratory import laboratory, survey
from braft_testing.faults.machine import FaultKitError
from braft_testing.faults.plan import Fault

__all__ = ["Injector", "injector", "unavailable"]

_FORMING_SECONDS = 60.0


def unavailable() -> dict[str, str]:
    """The kinds of faults that this machine cannot make, each with the reason."""
    return impossible(KINDS.values(), survey())


class Injector:
    """A cluster that serves, and what can be done to it. From the thread that made it.

    ``inside`` is the context in which other threads make their connections to the nodes: where
    there is a network of its own, they are in a namespace.
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
        """The processes: their addresses, their life and death."""
        return self._scene.cluster

    def inject(self, kind: str, *victims: int, strength: float = 0.5, other: bool = False) -> str:
        """Make a fault, which stays until it is healed; returns in a few words what was done.

        :param kind: a name of ``KINDS``.
        :param victims: whom it strikes, where a kind has a choice; default: the leader first.
        :param strength: from 0 to 1, where a kind has degrees.
        :param other: the second form of a kind that has two.
        :raises ConfigError: there is no such kind. :raises FaultKitError: not on this machine.
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
        """Undo every fault, start the nodes that ended, and wait until the cluster serves.

        :raises NotServing: not within ``deadline`` seconds.
        """
        self._scene.heal()
        self.cluster.wait_serving(deadline)

    @contextmanager
    def during(self, kind: str, *victims: int, strength: float = 0.5) -> Iterator[str]:
        """:meth:`inject` at the beginning and :meth:`heal` at the end of a ``with`` block."""
        try:
            yield self.inject(kind, *victims, strength=strength)
        finally:
            self.heal()


@contextmanager
def injector(size: int, directory: Path, **settings: object) -> Iterator[Injector]:
    """A cluster of ``size`` real processes that serves, in places as good as the machine allows.

    :param settings: of every node, by name.
    """
    missing = survey()
    directory.mkdir(parents=True, exist_ok=True)
    with laboratory(size, directory, missing, **settings) as lab:
        cluster = lab.scene.cluster
        cluster.start(*cluster.members)
        cluster.wait_serving(_FORMING_SECONDS)
        yield Injector(lab.scene, lab.inside, missing)
