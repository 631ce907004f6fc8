"""Faults in the driver, the writer and the applier."""

from __future__ import annotations

from tests.mutants.planting import Edit, Mutant

__all__ = ["MUTANTS"]

_DRIVER = "braft_core.runtime.driver"
_WRITER = "braft_core.runtime.writer"
_APPLIER = "braft_core.runtime.applier"
_WORKERS = "braft_core.runtime.workers"
_PENDING = "braft_core.runtime.pending"

MUTANTS = (
    # -- driver: the order of write, send and apply
    Mutant(
        "votes_and_acknowledgements_leave_before_the_write",
        "driver",
        (
            Edit(
                _DRIVER,
                "Driver._persist",
                "writer.submit(ready.number, batch, ready.messages_after_persist)",
                "self._send(ready.messages_after_persist); writer.submit(ready.number, batch, [])",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_a_vote_leaves_after_its_write",
    ),
    Mutant(
        "a_batch_with_nothing_to_write_overtakes_writes",
        "driver",
        (
            Edit(
                _DRIVER,
                "Driver._persist",
                "not ready.must_persist and writer.idle",
                "not ready.must_persist",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_what_needs_no_write_itself_still_waits_for_those_before_it",
    ),
    Mutant(
        "a_write_counts_as_durable_when_it_is_queued",
        "driver",
        (
            Edit(
                _DRIVER,
                "Driver._persist",
                "writer.submit(ready.number, batch, ready.messages_after_persist)",
                """
                writer.submit(ready.number, batch, ready.messages_after_persist)
                self.core.persisted(ready.number)
                """,
            ),
            Edit(
                _DRIVER,
                "Driver.on_durable",
                "self.call(lambda: self.core.persisted(report.number))",
                "",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_an_acknowledgement_leaves_after_its_write",
    ),
    Mutant(
        "messages_that_may_leave_early_wait_for_the_disk",
        "driver",
        (
            Edit(_DRIVER, "Driver._handle", "self._send(ready.messages)", ""),
            Edit(
                _DRIVER,
                "Driver._persist",
                "writer.submit(ready.number, batch, ready.messages_after_persist)",
                "writer.submit("
                "ready.number, batch, [*ready.messages, *ready.messages_after_persist])",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_a_leader_replicates_in_parallel_with_its_own_write",
    ),
    Mutant(
        "a_received_snapshot_counts_as_named_before_the_write",
        "driver",
        (
            Edit(
                _DRIVER,
                "Driver._persist",
                "writer.run(lambda: self._on_named(taken))",
                "self._on_named(taken)",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_older_snapshots_are_deleted_after_the_received_one_is_named",
    ),
    Mutant(
        "messages_leave_after_the_halt",
        "driver",
        (Edit(_DRIVER, "Driver.on_durable", "if self._halted:\n    return", ""),),
        "tests/contracts/test_replica_durability.py::test_nothing_leaves_after_the_halt_although_the_write_succeeds",
    ),
    Mutant(
        "the_node_goes_on_after_a_failed_write",
        "driver",
        (
            Edit(
                _DRIVER,
                "Driver.on_disk_trouble",
                "self.halt(Stopped(f'the node stopped: {error}'))\nself._on_fatal(error)",
                "",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_a_failed_write_acknowledges_nothing_and_ends_the_replica",
    ),
    # -- driver: answers
    Mutant(
        "proposals_under_a_snapshot_count_as_not_applied",
        "driver",
        (
            Edit(
                _DRIVER,
                "Driver._restore",
                "unknown = _unknown('this node was brought up to date by a snapshot')",
                "unknown = NotLeader('this node was brought up to date by a snapshot')",
            ),
        ),
        "tests/contracts/test_replica_snapshots.py::test_commands_under_a_received_snapshot_have_an_unknown_outcome",
    ),
    Mutant(
        "late_proposals_count_as_not_applied",
        "driver",
        (
            Edit(
                _DRIVER,
                "Driver._sweep",
                "settle((request, _unknown()) for request in self._pending.expire(now))",
                "settle((request, NoLeader('late')) for request in self._pending.expire(now))",
            ),
        ),
        "tests/contracts/test_replica_answers.py::test_the_deadline_of_an_appended_command_leaves_its_outcome_open",
    ),
    Mutant(
        "pending_proposals_have_no_deadline",
        "driver",
        (
            Edit(
                _DRIVER,
                "Driver._requests_wait",
                "self._commands or self._queries or self._pending or self._reads",
                "self._commands or self._queries or self._reads",
            ),
        ),
        "tests/contracts/test_replica_answers.py::test_a_deadline_needs_no_other_event",
    ),
    Mutant(
        "a_replaced_proposal_gets_the_answer_of_its_successor",
        "driver",
        (
            Edit(
                _PENDING,
                "_decide",
                "count and entries[offset + count - 1].term != term",
                "count and entries[offset + count - 1].term < term",
            ),
        ),
        "tests/contracts/test_replica_answers.py::test_a_replaced_command_is_not_applied_and_goes_to_the_next_leader",
    ),
    Mutant(
        "a_later_term_rules_out_nothing",
        "driver",
        (Edit(_PENDING, "PendingProposals.take", "lost += self._superseded()", ""),),
        "tests/contracts/test_replica_answers.py::test_several_replaced_commands_are_all_given_back",
    ),
    Mutant(
        "the_halt_forgets_reads_under_way",
        "driver",
        (
            Edit(
                _DRIVER,
                "Driver._refuse_all",
                "for queries in self._reads.values():\n    waiting.extend(queries)",
                "",
            ),
        ),
        "tests/contracts/test_replica_answers.py::test_the_halt_answers_everybody",
    ),
    Mutant(
        "confirmed_reads_do_not_wait_for_their_index",
        "driver",
        (
            Edit(
                _DRIVER,
                "Driver.serve",
                "self._applier.read(index, queries)",
                "self._applier.read(0, queries)",
            ),
        ),
        "tests/contracts/test_replica_answers.py::test_a_read_for_the_next_entry_waits_for_it",
    ),
    Mutant(
        "a_lease_is_judged_by_an_old_time",
        "driver",
        (Edit(_DRIVER, "Driver._serve_leased", "self.core.tick(clock.monotonic())", ""),),
        "tests/contracts/test_replica_answers.py::test_a_lease_is_judged_by_the_time_of_the_read",
    ),
    # -- driver: pauses and wake-ups
    Mutant(
        "a_full_disk_is_never_over",
        "driver",
        (
            Edit(
                _DRIVER,
                "Driver.on_disk_trouble",
                "self.disk_trouble = error",
                "self.disk_trouble = error or self.disk_trouble",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_a_full_disk_pauses_everything_and_is_over_when_there_is_space",
    ),
    Mutant(
        "commands_are_appended_while_the_disk_is_full",
        "driver",
        (Edit(_DRIVER, "Driver.append", "self.disk_trouble is not None", "False"),),
        "tests/contracts/test_replica_durability.py::test_a_full_disk_pauses_everything_and_is_over_when_there_is_space",
    ),
    # -- writer
    Mutant(
        "a_write_is_reported_before_it_is_made",
        "writer",
        (
            Edit(
                _WRITER,
                "Writer._work",
                "if batches and not self._persist(batches):\n"
                "    return self._timing.full_disk_retry",
                "",
            ),
            Edit(
                _WRITER,
                "Writer._work",
                "return None",
                "if batches and not self._persist(batches):\n"
                "    return self._timing.full_disk_retry\n"
                "return None",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_a_vote_leaves_after_its_write",
    ),
    Mutant(
        "a_failed_write_counts_as_durable",
        "writer",
        (
            Edit(
                _WRITER,
                "Writer._persist",
                "self._tell(self._on_trouble, as_storage_error(error))\nraise EndOfWork from error",
                "self._tell(self._on_trouble, as_storage_error(error))\nreturn True",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_a_failed_write_acknowledges_nothing_and_ends_the_replica",
    ),
    Mutant(
        "a_write_to_a_full_disk_counts_as_durable",
        "writer",
        (
            Edit(
                _WRITER,
                "Writer._work",
                "batches and not self._persist(batches)",
                "batches and not self._persist(batches) and False",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_a_stop_on_a_full_disk_acknowledges_nothing",
    ),
    Mutant(
        "the_last_of_a_group_is_never_reported",
        "writer",
        (Edit(_WRITER, "Writer._work", "max(job.number for job in jobs)", "jobs[0].number"),),
        "tests/contracts/test_replica_durability.py::test_writes_that_were_joined_are_all_reported_and_acknowledged",
    ),
    Mutant(
        "only_the_last_of_a_group_is_acknowledged",
        "writer",
        (
            Edit(
                _WRITER,
                "Writer._work",
                "[message for job in jobs for message in job.messages]",
                "jobs[-1].messages",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_writes_that_were_joined_are_all_reported_and_acknowledged",
    ),
    Mutant(
        "the_writer_seems_idle_after_any_report",
        "writer",
        (Edit(_WRITER, "Writer._report", "self._in_flight -= jobs", "self._in_flight = 0"),),
        "tests/contracts/test_replica_durability.py::test_the_writer_is_busy_until_its_last_report",
    ),
    Mutant(
        "the_stop_drops_what_is_queued",
        "writer",
        (Edit(_WORKERS, "ThreadWorker._run", "last = True\nbreak", "return"),),
        "tests/contracts/test_replica_durability.py::test_a_stop_writes_what_is_queued",
    ),
    Mutant(
        "a_failed_compaction_is_hidden",
        "writer",
        (
            Edit(
                _WRITER,
                "Writer._maintain",
                "self._tell(self._on_trouble, as_storage_error(error))\nreturn False",
                "return True",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_maintenance_that_fails_ends_the_replica[compaction]",
    ),
    Mutant(
        "maintenance_overtakes_the_writes_before_it",
        "writer",
        (
            Edit(
                _WRITER,
                "Writer._work",
                "batches = [job.batch for job in jobs if job.batch is not None]",
                """
                batches = [job.batch for job in jobs if job.batch is not None]
                maintained = [self._maintain(job.action) for job in jobs if job.action is not None]
                """,
            ),
            Edit(
                _WRITER,
                "Writer._work",
                "self._tell(self._report, report, len(jobs))\n"
                "maintained = "
                "[self._maintain(job.action) for job in jobs if job.action is not None]",
                "self._tell(self._report, report, len(jobs))",
            ),
        ),
        "tests/contracts/test_replica_durability.py::test_older_snapshots_are_deleted_after_the_received_one_is_named",
    ),
    # -- applier
    Mutant(
        "entries_that_were_not_executed_count_as_applied",
        "applier",
        (Edit(_APPLIER, "Applier._apply", "entries[len(outcomes) - 1]", "entries[-1]"),),
        "tests/unit/runtime/test_applier.py::test_an_entry_that_this_node_cannot_execute_stops_its_applying",
    ),
    Mutant(
        "reads_are_served_one_entry_early",
        "applier",
        (
            Edit(
                _APPLIER,
                "Applier._read",
                "index <= self.applied_index",
                "index <= self.applied_index + 1",
            ),
        ),
        "tests/contracts/test_replica_answers.py::test_a_read_for_the_next_entry_waits_for_it",
    ),
    Mutant(
        "answers_are_those_of_other_entries",
        "applier",
        (
            Edit(
                _APPLIER,
                "_pair",
                "answers[segment.offset + position]",
                "answers[position]",
            ),
        ),
        "tests/unit/runtime/test_applier.py::test_each_request_of_a_batch_gets_the_answer_of_its_entry",
    ),
    Mutant(
        "a_stop_leaves_reads_that_are_ahead",
        "applier",
        (
            Edit(
                _APPLIER,
                "Applier.stop",
                "self._refuse_ahead(Stopped('the node was stopped'))",
                "",
            ),
        ),
        "tests/contracts/test_replica_answers.py::test_a_stop_of_the_applier_answers_its_reads[ahead]",
    ),
    Mutant(
        "what_comes_after_the_stop_is_queued",
        "applier",
        (Edit(_APPLIER, "Applier._put", "not self._ended", "True"),),
        "tests/contracts/test_replica_answers.py::test_a_stop_of_the_applier_answers_its_reads[behind]",
    ),
    Mutant(
        "a_restore_wakes_no_reads",
        "applier",
        (
            Edit(
                _APPLIER,
                "Applier._restore",
                "self._advance(index, term)",
                "self.applied_index, self._applied_term = index, term",
            ),
        ),
        "tests/contracts/test_replica_snapshots.py::test_reads_wait_for_a_restore_and_are_woken_by_it",
    ),
    Mutant(
        "a_broken_machine_leaves_the_queue_unanswered",
        "applier",
        (
            Edit(
                _APPLIER,
                "Applier._do",
                "if self._failed is not None:\n    _refuse(job, self._failed)\n    return",
                "if self._failed is not None:\n    return",
            ),
        ),
        "tests/unit/runtime/test_applier.py::test_a_machine_that_breaks_leaves_nobody_waiting",
    ),
    Mutant(
        "a_stopped_state_is_captured",
        "applier",
        (Edit(_APPLIER, "Applier._capture", "not fault", "True"),),
        "tests/unit/runtime/test_applier.py::test_an_entry_that_this_node_cannot_execute_stops_its_applying",
    ),
    Mutant(
        "a_snapshot_that_was_read_in_part_is_served",
        "applier",
        (
            Edit(
                _APPLIER,
                "Applier._read",
                "stop is not None and (index > self.applied_index or stop.state_lost)",
                "stop is not None and index > self.applied_index",
            ),
        ),
        "tests/unit/runtime/test_applier.py::test_a_snapshot_that_cannot_be_read_is_waited_out[missing]",
    ),
)
