"""Planted bugs of the runtime, each found by the simulation of whole nodes.

``python -m tests.simulation.mutants.runtime`` hunts them all and prints the seeds each one took.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from braft_core.abc import WriteBatch
from braft_core.cluster import member_rules
from braft_core.errors import BraftError, NoLeader, StorageFull
from braft_core.peer import PeerReply, ProposeReply
from braft_core.raft import Ready, SnapshotMeta
from braft_core.runtime import forwarding
from braft_core.runtime.admission import CommandAdmission
from braft_core.runtime.applier import Applier
from braft_core.runtime.driver import Driver
from braft_core.runtime.forwarding import Forwarder
from braft_core.runtime.parked import ParkedRequests
from braft_core.runtime.replica import Replica
from braft_core.runtime.requests import Command, Query, settle
from braft_core.runtime.retry_queue import RetryQueue
from braft_core.runtime.snapshots import Snapshotter
from braft_core.runtime.writer import Writer
from braft_core.services.sessions import NEW, SessionTable
from braft_testing.simulation.runtime import Outcome, run_seed
from braft_testing.simulation.runtime.plan import RuntimePlan, draw_runtime_plan
from tests.simulation.mutants.planting import Patch

__all__ = ["RUNTIME_MUTANTS", "RuntimeMutant", "hunt_runtime", "main"]


@dataclass(frozen=True, slots=True)
class RuntimeMutant:
    """How to plant a bug, and which rules may find it."""

    plant: Callable[[Patch], None]
    rules: tuple[str, ...]
    #: Changes of the plan that give the bug its circumstances.
    plan: dict[str, Any]
    most_seeds: int = 12

    @property
    def name(self) -> str:
        """The name of the bug."""
        return self.plant.__name__


def hunt_runtime(mutant: RuntimeMutant, known: int | None = None) -> tuple[int, Outcome | None]:
    """Run seeds until one finds the mutant; return how many were run, and the last outcome.

    :param known: a seed that is run first, since it found the mutant before.
    """
    first = () if known is None else (known,)
    with Patch() as patch:
        mutant.plant(patch)
        for runs, seed in enumerate(chain(first, range(mutant.most_seeds)), 1):
            outcome = run_seed(seed, plan=_plan(seed, mutant))
            if not outcome.ok:
                return runs, outcome
    return mutant.most_seeds, None


def _plan(seed: int, mutant: RuntimeMutant) -> RuntimePlan:
    return replace(draw_runtime_plan(seed, 6.0), **{**_STEADY, **mutant.plan})


#: What a plan does not change unless a mutant needs it.
_STEADY: dict[str, Any] = {"membership": "", "spares": 0, "versions": 1}
#: Circumstances that several need.
_KILLS: dict[str, Any] = {
    "servers": 3,
    "clients": 4,
    "think_time": 0.01,
    "reads": 0.1,
    "disk": 0.02,
    "faults": ("kill",),
    "between_faults": 0.5,
}
_CUTS = {**_KILLS, "faults": ("partition", "freeze"), "between_faults": 1.0, "reads": 0.5}
_UNSAFE = (
    "acknowledged entries are durable",
    "votes are durable before they are sent",
    "terms are durable before they are sent",
)
_LOST = ("acknowledged writes are there", "linearizability", "states are equal", "a node starts")
#: The first of these waits for a leader, too.
_SERVES = ("nodes become voters again", "the cluster serves again")
_SILENT = (
    "every call is answered",
    "nothing fails inside a node",
    "queues are empty at rest",
    *_SERVES,
)


def messages_leave_before_the_write(patch: Patch) -> None:
    """Acknowledge and vote before the disk has what is acknowledged."""
    original = Driver._persist

    def persist(self: Driver, ready: Ready) -> None:
        self._send(ready.messages_after_persist)
        ready.messages_after_persist = []
        original(self, ready)

    patch.setattr(Driver, "_persist", persist)


def a_write_is_durable_before_it_is_made(patch: Patch) -> None:
    """Tell the core at once that its own disk has what was only queued."""
    original = Driver._persist

    def persist(self: Driver, ready: Ready) -> None:
        original(self, ready)
        self.call(lambda: self.core.persisted(ready.number))

    patch.setattr(Driver, "_persist", persist)


def a_full_disk_counts_as_written(patch: Patch) -> None:
    def persist(self: Writer, batches: list[WriteBatch]) -> bool:
        try:
            self._storage.write(batches)
        except StorageFull:
            return True
        return True

    patch.setattr(Writer, "_persist", persist)


def a_pause_on_a_full_disk_is_forgotten(patch: Patch) -> None:
    """Drop the batch instead of trying it again; nobody hears of its end."""
    original = Writer._work

    def work(self: Writer, jobs: Sequence[Any]) -> float | None:
        original(self, jobs)
        return None

    patch.setattr(Writer, "_work", work)


def repetitions_are_applied_again(patch: Patch) -> None:
    original = SessionTable.begin

    def begin(self: SessionTable, *args: Any) -> Any:
        kept = original(self, *args)
        return kept if isinstance(kept, BraftError) else NEW

    patch.setattr(SessionTable, "begin", begin)


def sessions_are_not_in_snapshots(patch: Patch) -> None:
    """Forget, with a restored snapshot, which commands were applied."""

    def load(self: SessionTable, rows: Iterator[Any]) -> None:
        for _ in rows:
            continue

    patch.setattr(SessionTable, "_load", load)


def forwarded_answers_change_places(patch: Patch) -> None:
    original = Forwarder._settle

    async def answer(self: Forwarder, leader: str, batch: list[Command], reply: PeerReply) -> None:
        if isinstance(reply, ProposeReply):
            reply = ProposeReply(tuple(reversed(reply.outcomes)))
        await original(self, leader, batch, reply)

    patch.setattr(Forwarder, "_settle", answer)


def forwarded_commands_are_dropped_without_an_answer(patch: Patch) -> None:
    """Lose what the leader refused, instead of sending it again."""

    def again(self: Forwarder, batch: list[Any], why: BraftError) -> None:
        batch.clear()

    patch.setattr(Forwarder, "_again", again)


def an_unknown_outcome_counts_as_refused(patch: Patch) -> None:
    def unknown(leader: str, error: BraftError) -> BraftError:
        return NoLeader(f"the call to {leader} failed: {error.message}")

    patch.setattr(forwarding, "_unknown", unknown)


def reads_do_not_wait_for_their_index(patch: Patch) -> None:
    def read(self: Applier, index: int, queries: list[Query]) -> None:
        self._serve(queries)

    patch.setattr(Applier, "_read", read)


def reads_need_no_proof_of_leadership(patch: Patch) -> None:
    """Serve reads of whoever believes that it leads."""

    def start_read(self: Driver) -> None:
        queries, self._queries = self._queries, []
        self.serve(self.core.commit_index, queries)

    patch.setattr(Driver, "_start_read", start_read)


def replaced_proposals_are_forgotten(patch: Patch) -> None:
    """Neither propose again nor answer what the next leader has replaced."""
    patch.setattr(Driver, "_lost", lambda self, requests: None)


def late_reads_are_not_answered(patch: Patch) -> None:
    """Let reads wait for their index for ever."""
    patch.setattr(Applier, "late", lambda self, now: [])


def a_stop_forgets_the_proposals(patch: Patch) -> None:
    def refuse_nobody(self: Driver, reason: BraftError) -> None:
        self._halted = True
        if self._timer is not None:
            self._timer.cancel()

    patch.setattr(Driver, "halt", refuse_nobody)


def retries_lose_all_but_the_first(patch: Patch) -> None:
    def attempt(self: RetryQueue, at_once: bool) -> None:
        due, self._waiting[at_once] = self._waiting[at_once], []
        for request in due[:1]:
            request.attempt(self._submit)

    patch.setattr(RetryQueue, "_attempt", attempt)


def parked_requests_are_forgotten(patch: Patch) -> None:
    def open_for(self: ParkedRequests, submit: Callable[[Any], None]) -> None:
        self._submit, self._parked = submit, []

    patch.setattr(ParkedRequests, "open", open_for)


def a_snapshot_is_never_named(patch: Patch) -> None:
    def name(self: Snapshotter, meta: SnapshotMeta, index: int, term: int) -> None:
        self._components.storage.compact(index, term)

    patch.setattr(Snapshotter, "name", name)


def a_received_snapshot_is_not_restored(patch: Patch) -> None:
    def restore(self: Replica, meta: SnapshotMeta) -> None:
        self.snapshotter.received(meta)

    patch.setattr(Replica, "_restore", restore)


def a_stop_leaves_the_snapshot_task(patch: Patch) -> None:
    async def stop(self: Snapshotter) -> None:
        return

    patch.setattr(Snapshotter, "stop", stop)
    patch.setattr(Snapshotter, "cancel", lambda self: None)


def an_answer_overtakes_the_state(patch: Patch) -> None:
    """Answer a command when it is committed, before it is applied."""
    original = Applier.apply

    def apply(self: Applier, entries: Sequence[Any], segments: list[Any]) -> None:
        settle((request, None) for segment in segments for request in segment.requests)
        original(self, entries, segments)

    patch.setattr(Applier, "apply", apply)


_ISOLATED = {
    **_KILLS,
    "reads": 0.4,
    "faults": ("isolate", "clock"),
    "between_faults": 1.0,
    "lease_reads": False,
    "clock_rates": (0.2, 0.5, 1.0),
}


def learners_are_never_promoted(patch: Patch) -> None:
    patch.setattr(member_rules, "should_promote", lambda *_: False)


def leaders_append_what_members_lack(patch: Patch) -> None:
    def admit(self: CommandAdmission, _: Any, commands: list[Command]) -> Any:
        return commands, []

    patch.setattr(CommandAdmission, "admit", admit)


#: Few calls: these wait for two minutes in vain.
_CALM = {**_KILLS, "clients": 1, "think_time": 0.2, "network": 0.002, "disk": 0.002}
_CALM |= {"election_timeout": 1.0, "heartbeat_interval": 0.25}
_SNAPSHOTS = {**_KILLS, "snapshot_entries": 10, "snapshot_trailing": 1}

RUNTIME_MUTANTS = (
    RuntimeMutant(messages_leave_before_the_write, _UNSAFE, _KILLS),
    RuntimeMutant(a_write_is_durable_before_it_is_made, _LOST, {**_KILLS, "servers": 1}),
    RuntimeMutant(
        a_full_disk_counts_as_written,
        (*_LOST, *_UNSAFE, *_SERVES),
        {**_KILLS, "faults": ("full_disk", "kill")},
    ),
    RuntimeMutant(
        a_pause_on_a_full_disk_is_forgotten,
        (*_SILENT, "nodes converge"),
        {**_KILLS, "servers": 1, "faults": ("full_disk",)},
    ),
    RuntimeMutant(
        repetitions_are_applied_again,
        ("a command takes effect once",),
        {**_KILLS, "network": 0.02, "faults": ("transfer", "kill", "sever", "stop")},
    ),
    RuntimeMutant(
        sessions_are_not_in_snapshots,
        ("a command takes effect once", "states are equal", "nothing fails inside a node"),
        {**_SNAPSHOTS, "faults": ("kill", "partition")},
    ),
    RuntimeMutant(
        forwarded_answers_change_places,
        ("a caller gets its own answer", "revisions grow", "linearizability"),
        {**_KILLS, "network": 0.02},
    ),
    RuntimeMutant(forwarded_commands_are_dropped_without_an_answer, _SILENT, _CUTS),
    RuntimeMutant(
        an_unknown_outcome_counts_as_refused, ("what was refused is not applied",), _CUTS
    ),
    RuntimeMutant(reads_do_not_wait_for_their_index, ("linearizability", "revisions grow"), _CUTS),
    RuntimeMutant(
        reads_need_no_proof_of_leadership, ("linearizability", "revisions grow"), _ISOLATED
    ),
    RuntimeMutant(
        replaced_proposals_are_forgotten,
        _SILENT,
        {**_ISOLATED, "request_timeout": 5.0, "reads": 0.1},
    ),
    RuntimeMutant(
        late_reads_are_not_answered,
        _SILENT,
        {**_KILLS, "faults": ("full_disk",), "request_timeout": 0.8, "reads": 0.4},
    ),
    RuntimeMutant(
        learners_are_never_promoted,
        ("nodes become voters again",),
        {**_CALM, "faults": ("join",), "membership": "changes", "spares": 1},
    ),
    RuntimeMutant(
        leaders_append_what_members_lack,
        ("a node can execute what is committed",),
        {**_KILLS, "faults": ("upgrade",), "versions": 3},
    ),
    RuntimeMutant(a_stop_forgets_the_proposals, _SILENT, {**_KILLS, "faults": ("stop",)}),
    RuntimeMutant(retries_lose_all_but_the_first, _SILENT, _CUTS),
    RuntimeMutant(parked_requests_are_forgotten, _SILENT, _KILLS),
    RuntimeMutant(a_snapshot_is_never_named, _SERVES, _SNAPSHOTS),
    RuntimeMutant(
        a_received_snapshot_is_not_restored,
        ("states are equal", "nodes converge", *_LOST, *_SILENT),
        _SNAPSHOTS,
    ),
    RuntimeMutant(a_stop_leaves_the_snapshot_task, _SILENT, {**_KILLS, "faults": ("stop",)}),
    RuntimeMutant(an_answer_overtakes_the_state, _SERVES, _KILLS),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Hunt; return 0 if every mutant was found by one of its expected rules, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--only", default="", help="mutants whose name contains this")
    arguments = parser.parse_args(argv)
    numbers = [n for n, each in enumerate(RUNTIME_MUTANTS) if arguments.only in each.name]
    sys.stdout.write(f"{'mutant of whole nodes':52} seeds  found by\n")
    failed = 0
    with ExitStack() as stack:
        hunts: Iterator[tuple[bool, str]] = map(_line, numbers)
        if arguments.jobs > 1:
            hunts = stack.enter_context(ProcessPoolExecutor(arguments.jobs)).map(_line, numbers)
        for good, line in hunts:
            failed += not good
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(numbers)} mutants, {failed} not found as they should be\n")
    return 1 if failed or not numbers else 0


def _line(number: int) -> tuple[bool, str]:
    mutant = RUNTIME_MUTANTS[number]
    seeds, outcome = hunt_runtime(mutant)
    good = outcome is not None and outcome.rule in mutant.rules
    found = "NOT FOUND" if outcome is None else f"{outcome.rule} (seed {outcome.seed})"
    verdict = found if good or outcome is None else f"UNEXPECTED {found}: {outcome.detail:.300}"
    return good, f"{mutant.name:52} {seeds:5}  {verdict}"


if __name__ == "__main__":
    sys.exit(main())
