"""One run: a cluster, clients, faults from a seed, and the check at the end.

Owns the sequence. Faults, clients and rules are defined elsewhere.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from braft_core.client import Client
from braft_core.errors import BraftError, ConfigError
from braft_testing.faults.checking import by_key, check_calls, check_journal
from braft_testing.faults.cluster import Cluster, NotServing
from braft_testing.faults.environment import (
    Environment,
    environment,
    survey,
    survey_loopback,
)
from braft_testing.faults.kinds import KINDS, Ability, impossible, kind_named
from braft_testing.faults.plan import Fault, draw_faults
from braft_testing.faults.recording import Call, Recorder
from braft_testing.faults.report import Entry, Report
from braft_testing.faults.staleness import check_staleness
from braft_testing.faults.workload import JOURNAL, REGISTERS, Workload, read_register
from braft_testing.simulation.history import Outcome

__all__ = ["Options", "run"]

_FORMING_SECONDS = 60.0
_POLL = 0.05
_FINAL_READ_SECONDS = 20.0
_FINAL_CLIENT = "final"
#: The part of ``snapshot_entries`` that stays in the log: small, so that snapshots are sent.
_TRAILING_PART = 5
_ERROR_LINE = re.compile(r" (ERROR|CRITICAL) ([\w.]+): ([^0-9]*)|^(Traceback)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Options:
    """What to run. Durations in seconds.

    :param seconds: time during which faults are started.
    :param faults: at most this many faults; 0: no limit.
    :param kinds: names of :data:`KINDS`; empty: all that the machine can make.
    :param loopback: no namespaces and disks, only processes.
    :param hold: shortest and longest time until a fault is healed.
    :param calm: time before each fault.
    :param deadline: within which the cluster must serve after the healing.
    :param snapshot_entries: entries between two snapshots of a node, few, so that a run takes and
        sends some; 0: the default of nodes.
    :param settings: further settings of all nodes, by name.
    """

    seed: int
    directory: Path
    seconds: float = 60.0
    faults: int = 0
    nodes: int = 3
    clients: int = 8
    kinds: Sequence[str] = ()
    loopback: bool = False
    hold: tuple[float, float] = (1.0, 4.0)
    calm: float = 0.5
    deadline: float = 30.0
    snapshot_entries: int = 500
    settings: Mapping[str, object] = field(default_factory=dict)


def run(
    options: Options, progress: Callable[[str, float], None] = lambda text, part: None
) -> Report:
    """Run and check; on a failure write the evidence to ``options.directory``.

    :param progress: called with the present step and the finished share, from 0 to 1.
    :raises ConfigError: for an unknown kind of fault, or if none can be made here.
    :raises FaultKitError: if an ability that :func:`survey` found does not work after all.
    """
    missing = survey_loopback() if options.loopback else survey()
    kinds, skipped = _choose(options.kinds, missing)
    where = "on loopback" if Ability.NETWORK in missing else "in namespaces"
    report = Report(options.seed, options.nodes, where, skipped)
    settings = {**_snapshots(options.snapshot_entries), **options.settings}
    with environment(options.nodes, options.directory, missing, **settings) as prepared:
        _Run(options, kinds, prepared, report, progress).go()
    return report


def _snapshots(entries: int) -> dict[str, object]:
    if not entries:
        return {}
    return {"snapshot_entries": entries, "snapshot_trailing": entries // _TRAILING_PART}


def _choose(
    wanted: Sequence[str], missing: Mapping[Ability, str]
) -> tuple[list[str], dict[str, str]]:
    """Return the kinds to draw from, and those left out with the reason."""
    asked = [kind_named(name) for name in wanted or KINDS]
    skipped = impossible(asked, missing)
    chosen = [kind.name for kind in asked if kind.name not in skipped]
    if not chosen:
        raise ConfigError(f"no such fault can be made here: {skipped}")
    return chosen, skipped


class _Run:
    def __init__(
        self,
        options: Options,
        kinds: Sequence[str],
        prepared: Environment,
        report: Report,
        progress: Callable[[str, float], None],
    ) -> None:
        self._options = options
        self._kinds = kinds
        self._prepared = prepared
        self._report = report
        self._progress = progress
        self._recorder = Recorder()
        self._cluster: Cluster = prepared.scene.cluster

    def go(self) -> None:
        options, cluster, report = self._options, self._cluster, self._report
        urls = [cluster.places[index].url for index in cluster.members]
        try:
            self._progress("forming the cluster", 0.0)
            cluster.start(*cluster.members)
            cluster.wait_serving(_FORMING_SECONDS)
            with Workload(
                self._recorder, urls, options.clients, options.seed, self._prepared.inside
            ) as workload:
                self._all_faults()
            report.problems += workload.surprises
            report.violations += check_staleness(
                workload.staleness.written, workload.staleness.reads
            )
            report.checked["stale reads keep their staleness bounds"] = len(
                workload.staleness.reads
            )
            self._progress("checking", 1.0)
            self._check_calls()
        except BraftError as error:
            report.problems.append(f"{type(error).__name__}: {error}")
        report.seconds = self._recorder.now()
        self._count()
        if not report.passed:
            report.write_evidence(options.directory, self._recorder.calls)

    # -- faults --------------------------------------------------------------------------------

    def _all_faults(self) -> None:
        options = self._options
        end = self._recorder.now() + options.seconds
        drawn = draw_faults(options.seed, self._kinds, options.nodes, options.hold)
        for number, fault in enumerate(drawn, start=1):
            left = end - self._recorder.now()
            if left <= 0 or (options.faults and number > options.faults):
                return
            part = (number - 1) / options.faults if options.faults else 0.0
            self._progress(f"fault {number}: {fault.kind}", max(part, 1 - left / options.seconds))
            self._calm()
            self._one_fault(Entry(number, fault, self._recorder.now()))

    def _calm(self) -> None:
        """Let the clients work undisturbed, so that a fault has data to affect."""
        options, began = self._options, self._recorder.now()
        time.sleep(options.calm)
        while (count := self._recorder.acknowledged_since(began)) < options.clients:
            if self._recorder.now() - began > options.calm + options.deadline:
                raise NotServing(f"{count} writes were acknowledged within {options.deadline:g} s")
            time.sleep(_POLL)

    def _one_fault(self, entry: Entry) -> None:
        self._report.entries.append(entry)
        scene, fault = self._prepared.scene, entry.fault
        with self._told(entry):
            try:
                entry.detail = KINDS[fault.kind].inject(scene, fault)
                time.sleep(fault.hold)
                self._check_alive(fault)
            finally:
                scene.heal()
            entry.healed = self._recorder.now()
            self._cluster.wait_answering(self._options.deadline)
            entry.answering = self._recorder.now()
            self._cluster.wait_serving(self._options.deadline)
            entry.served = self._recorder.now()
            entry.gap = self._recorder.longest_gap(entry.began, entry.served)

    @contextmanager
    def _told(self, entry: Entry) -> Iterator[None]:
        """End the run if the cluster does not serve after a fault: later faults would be blamed."""
        try:
            yield
        except BraftError as error:
            entry.problem = f"{type(error).__name__}: {error}"
            raise type(error)(f"fault {entry.number} ({entry.fault.kind}): {error}") from error

    def _check_alive(self, fault: Fault) -> None:
        if not KINDS[fault.kind].ends_nodes:
            for index, code in self._cluster.ended_by_themselves().items():
                sentence = f"node {index} ended by itself with exit code {code}: {fault.kind}"
                self._report.problems.append(sentence)

    # -- checks --------------------------------------------------------------------------------

    def _check_calls(self) -> None:
        cluster, report = self._cluster, self._report
        cluster.wait_serving(self._options.deadline)
        calls = self._recorder.calls
        journal = [call for call in calls if call.client.startswith("probe")]
        registers = [call for call in calls if not call.client.startswith("probe")]
        urls = [cluster.places[index].url for index in cluster.members]
        with Client(urls, timeout=_FINAL_READ_SECONDS) as client:
            for key in by_key(registers):
                registers.append(self._final_read(client, key))
            items = client.kv_list(JOURNAL)
        verdict = check_calls(registers)
        report.violations += [*verdict.violations, *check_journal(JOURNAL, journal, items)]
        report.undecided += verdict.undecided
        report.checked["histories of keys are linearizable"] = verdict.keys
        report.checked["entries of the journal are there"] = len(items)
        self._check_convergence()

    def _final_read(self, client: Client, key: str) -> Call:
        call = read_register(self._recorder, _FINAL_CLIENT, client, key)
        if call.outcome is not Outcome.OK:
            self._report.problems.append(f"{key} cannot be read at the end: {call.error}")
        return call

    def _check_convergence(self) -> None:
        """Check that all nodes hold the same state, read from their local copies."""
        cluster = self._cluster
        clients = [cluster.client(index, _FINAL_READ_SECONDS) for index in cluster.members]
        end = time.monotonic() + self._options.deadline
        while True:
            copies = [_state(client) for client in clients]
            different = [i for i, copy in enumerate(copies) if copy != copies[0]]
            if not different:
                self._report.checked["nodes hold the same state"] = len(copies)
                return
            if time.monotonic() > end:
                sentence = f"nodes {different} hold another state than node 0 after all is over"
                self._report.problems.append(sentence)
                return
            time.sleep(0.1)

    def _count(self) -> None:
        report = self._report
        report.outcomes.update(call.outcome.value for call in self._recorder.calls)
        report.errors.update(c.error.partition(":")[0] for c in self._recorder.calls if c.error)
        for place in self._cluster.places:
            text = place.log.read_text(errors="replace") if place.log.exists() else ""
            found: Counter[str] = Counter(
                f"{name or trace}: {words.strip()}" for _, name, words, trace
                in _ERROR_LINE.findall(text)
            )  # fmt: skip
            report.log_errors.update(found)
            if "InvariantViolation" in text:
                report.problems.append(f"node {place.index} reports an InvariantViolation")


def _state(client: Client) -> dict[str, dict[str, object]]:
    maps = (REGISTERS, JOURNAL, "service")
    return {name: client.kv_list(name, consistency="stale") for name in maps}
