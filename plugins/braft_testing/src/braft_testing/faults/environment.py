"""Find out what this machine can do, and create isolated places for nodes on it.

Each ability is tried before a run, in its own namespace or on its own disk. So a run knows
beforehand which kinds of faults it can make, and can say why it leaves others out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from braft_testing.faults.cluster import Cluster, Place
from braft_testing.faults.delaying import DelayLine
from braft_testing.faults.disks import Disk, LoopDisk, MemoryDisk
from braft_testing.faults.firewall import Action, Firewall, Rule
from braft_testing.faults.interposing import Interposer, build_library
from braft_testing.faults.kinds import Ability, Scene
from braft_testing.faults.machine import FaultKitError, tool
from braft_testing.faults.namespaces import Namespace, Network
from braft_testing.faults.stalling import SlowSyncs
from braft_testing.processes import HOST, free_ports

__all__ = ["Environment", "environment", "survey", "survey_loopback"]

_PORTS = (15000, 15001, 15002)
_FOR_ROOT = (
    Ability.NETWORK,
    Ability.LOSS,
    Ability.REJECT,
    Ability.DELAY,
    Ability.DISK,
    Ability.POWER,
)


@dataclass(frozen=True, slots=True)
class Environment:
    """A scene whose nodes are not started yet, and the context in which clients open sockets."""

    scene: Scene
    inside: Callable[[], AbstractContextManager[None]] = field(default=nullcontext)


# --------------------------------------------------------------------------------------------
# Abilities


def survey() -> Mapping[Ability, str]:
    """Return the abilities that this machine lacks, each with the reason."""
    if sys.platform != "linux":
        return _not_linux()
    missing: dict[Ability, str] = {}
    if os.geteuid():
        missing |= dict.fromkeys(_FOR_ROOT, "this is not root")
    else:
        _survey_network(missing)
        _survey_disks(missing)
    _survey_tools(missing)
    return missing


def survey_loopback() -> Mapping[Ability, str]:
    """Return the result of :func:`survey` for a run without own networks and disks."""
    if sys.platform != "linux":
        return _not_linux()
    missing: dict[Ability, str] = {}
    _survey_tools(missing)
    return missing | dict.fromkeys(_FOR_ROOT, "--loopback")


def _not_linux() -> Mapping[Ability, str]:
    return {ability: "this is not Linux" for ability in Ability if ability is not Ability.PROCESSES}


def _survey_network(missing: dict[Ability, str]) -> None:
    network_abilities = (Ability.NETWORK, Ability.LOSS, Ability.REJECT, Ability.DELAY)
    try:
        with Network() as network:
            namespace = network.add("try")
            tool("true", prefix=namespace.prefix)
            firewall = Firewall(namespace)
            for ability, rule in (
                (Ability.NETWORK, Rule(Action.DROP, True, namespace.address)),
                (Ability.LOSS, Rule(Action.DROP, True, share=0.5)),
                (Ability.REJECT, Rule(Action.REJECT, False)),
                (Ability.DELAY, Rule(Action.QUEUE, True)),
            ):
                _note(missing, ability, partial(firewall.add, rule))
            if Ability.DELAY not in missing:
                _note(missing, Ability.DELAY, lambda: _try(DelayLine(namespace, 0, 0, 0)))
    except (FaultKitError, OSError) as error:
        missing |= dict.fromkeys(network_abilities, str(error))
    if Ability.NETWORK in missing:
        missing |= dict.fromkeys(network_abilities, missing[Ability.NETWORK])


def _survey_disks(missing: dict[Ability, str]) -> None:
    def cut_power(path: Path) -> None:
        with LoopDisk(path) as disk:
            disk.cut_power()

    with TemporaryDirectory(prefix="braft-faults-") as folder:
        _note(missing, Ability.POWER, lambda: cut_power(Path(folder, "loop")))
        if Ability.POWER in missing:  # a disk that can lose power can also be filled
            _note(missing, Ability.DISK, lambda: _try(MemoryDisk(Path(folder, "memory"))))


def _survey_tools(missing: dict[Ability, str]) -> None:
    def hold_back() -> None:
        sleeper = subprocess.Popen(["sleep", "60"])  # noqa: S607 - any process of ours will do
        try:
            with SlowSyncs(sleeper.pid, 0.0):
                pass
        finally:
            sleeper.kill()
            sleeper.wait()

    with TemporaryDirectory(prefix="braft-faults-") as folder:
        _note(missing, Ability.SLOW, hold_back)
        _note(missing, Ability.INTERPOSE, lambda: build_library(Path(folder)))


def _note(missing: dict[Ability, str], ability: Ability, attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except (FaultKitError, OSError) as error:
        missing[ability] = str(error)


def _try(thing: AbstractContextManager[object]) -> None:
    with thing:
        pass


# --------------------------------------------------------------------------------------------
# Places


@contextmanager
def environment(
    size: int, directory: Path, missing: Mapping[Ability, str], **settings: object
) -> Iterator[Environment]:
    """Create places for ``size`` initial members and one newcomer, isolated as well as possible.

    Everything is removed at the end, even after an error; ``directory`` stays. The calling thread
    is inside the clients' namespace meanwhile.

    :param missing: what :func:`survey` found missing.
    :param settings: settings of every node by name.
    """
    with ExitStack() as stack:
        network = None
        namespaces: list[Namespace | None] = [None] * (size + 1)
        inside: Callable[[], AbstractContextManager[None]] = nullcontext
        if Ability.NETWORK not in missing:
            network = stack.enter_context(Network())
            namespaces = [network.add(f"node{index}") for index in range(size + 1)]
            inside = network.add("clients").inside
        library = build_library(directory) if Ability.INTERPOSE not in missing else None
        places = []
        for index, namespace in enumerate(namespaces):
            folder = directory / f"node-{index}"
            disk = _disk(folder / "disk", missing) if index < size else None
            if disk is not None:
                stack.enter_context(disk)
            interposer = None
            if library is not None:
                folder.mkdir(parents=True, exist_ok=True)
                interposer = Interposer(library, folder / "interposer")
            places.append(_place(index, folder, namespace, disk, interposer))
        stack.enter_context(inside())
        cluster = stack.enter_context(Cluster(places, size, **settings))
        scene = Scene(cluster, network, _firewalls(namespaces[:size]))
        stack.callback(scene.undo.close)
        yield Environment(scene, inside)


def _firewalls(namespaces: list[Namespace | None]) -> list[Firewall]:
    return [Firewall(namespace) for namespace in namespaces if namespace is not None]


def _disk(path: Path, missing: Mapping[Ability, str]) -> Disk | None:
    if Ability.POWER not in missing:
        return LoopDisk(path)
    return MemoryDisk(path) if Ability.DISK not in missing else None


def _place(
    index: int,
    folder: Path,
    namespace: Namespace | None,
    disk: Disk | None,
    interposer: Interposer | None,
) -> Place:
    if namespace is not None:
        return Place(index, namespace.address, _PORTS, folder, namespace, disk, interposer)
    raft, discovery, http = free_ports(3)
    return Place(index, HOST, (raft, discovery, http), folder, None, disk, interposer)
