"""Inject real faults into real nodes (processes, networks, disks) and check every answer.

``run(Options(seed, directory))`` runs one cluster and returns a :class:`Report`; ``python -m
braft_testing.faults`` does so from a shell. The parts (namespaces, packet rules, delays, disks) can
be used alone. See ``docs/faults.md``.
"""

from __future__ import annotations

from braft_testing.faults.cluster import Cluster, NotServing, Place
from braft_testing.faults.delaying import DelayLine
from braft_testing.faults.disks import LoopDisk, MemoryDisk
from braft_testing.faults.environment import (
    Environment,
    environment,
    survey,
    survey_loopback,
)
from braft_testing.faults.firewall import Firewall, Rule
from braft_testing.faults.injector import Injector, injector, unavailable
from braft_testing.faults.kinds import KINDS, Ability, Kind, Scene
from braft_testing.faults.machine import FaultKitError
from braft_testing.faults.namespaces import Namespace, Network
from braft_testing.faults.report import Entry, Report
from braft_testing.faults.runner import Options, run

__all__ = [
    "KINDS",
    "Ability",
    "Cluster",
    "DelayLine",
    "Entry",
    "Environment",
    "FaultKitError",
    "Firewall",
    "Injector",
    "Kind",
    "LoopDisk",
    "MemoryDisk",
    "Namespace",
    "Network",
    "NotServing",
    "Options",
    "Place",
    "Report",
    "Rule",
    "Scene",
    "environment",
    "injector",
    "run",
    "survey",
    "survey_loopback",
    "unavailable",
]
