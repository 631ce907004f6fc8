"""Faults in snapshots, restore, bootstrap and the store."""

from __future__ import annotations

from tests.mutants.planting import Edit, Mutant

__all__ = ["MUTANTS"]

_SNAPSHOTS = "braft_core.runtime.snapshots"
_INITIAL = "braft_core.runtime.initial_state"
_FILES = "braft_core.storage.file_snapshots"
_RECOVERY = "braft_core.storage.recovery"
_SQLITE = "braft_core.storage.sqlite"

MUTANTS = (
    # -- snapshots and restore
    Mutant(
        "the_log_is_compacted_before_the_snapshot_is_named",
        "snapshots",
        (
            Edit(
                _SNAPSHOTS,
                "Snapshotter.name",
                "storage.write([WriteBatch(snapshot=meta)])\nstorage.compact(index, term)",
                "storage.compact(index, term)\nstorage.write([WriteBatch(snapshot=meta)])",
            ),
        ),
        "tests/contracts/test_replica_snapshots.py::test_an_own_snapshot_is_named_before_the_log_is_compacted",
    ),
    Mutant(
        "a_snapshot_has_the_newest_configuration",
        "snapshots",
        (
            Edit(
                _SNAPSHOTS,
                "Snapshotter.take",
                "log.configuration_entry_at(capture.index)",
                "log.configuration_entry_at(log.last_index)",
            ),
        ),
        "tests/contracts/test_replica_snapshots.py::test_a_snapshot_has_the_configuration_of_its_index",
    ),
    Mutant(
        "a_received_snapshot_does_not_count",
        "snapshots",
        (Edit(_SNAPSHOTS, "Snapshotter.received", "self.last = meta", "pass"),),
        "tests/contracts/test_replica_snapshots.py::test_a_received_snapshot_counts_as_the_newest",
    ),
    Mutant(
        "received_contents_are_not_verified",
        "snapshots",
        (
            Edit(
                "braft_core.runtime.verified_sink",
                "VerifiedSink.commit",
                "self._sink.commit(verify or self._check)",
                "self._sink.commit(verify)",
            ),
        ),
        "tests/contracts/test_serving.py::test_contents_that_cannot_be_restored_are_never_stored",
    ),
    Mutant(
        "a_cancelled_snapshot_is_committed",
        "snapshots",
        (
            Edit(
                _SNAPSHOTS,
                "_Write._write",
                "raise StorageError('the node is stopping')",
                "break",
            ),
        ),
        "tests/contracts/test_replica_snapshots.py::test_a_snapshot_that_is_not_finished_is_aborted[halted]",
    ),
    Mutant(
        "a_failed_snapshot_leaves_its_file",
        "snapshots",
        (Edit(_SNAPSHOTS, "_Write._write", "sink.abort()", "pass"),),
        "tests/contracts/test_replica_snapshots.py::test_a_snapshot_that_is_not_finished_is_aborted[unreadable]",
    ),
    Mutant(
        "a_rejected_snapshot_stays_in_the_store",
        "snapshots",
        (
            Edit(
                "braft_core.runtime.driver",
                "Driver._check_taken",
                "self._on_refused(meta)",
                "pass",
            ),
        ),
        "tests/contracts/test_replica_snapshots.py::test_a_received_snapshot_that_is_not_needed_is_deleted",
    ),
    Mutant(
        "the_snapshot_of_the_start_is_not_restored",
        "snapshots",
        (
            Edit(
                "braft_core.runtime.replica",
                "Replica.start",
                "self._load(self._snapshot)",
                "pass",
            ),
        ),
        "tests/contracts/test_replica_snapshots.py::test_a_restart_restores_the_snapshot_before_the_entries_behind_it",
    ),
    Mutant(
        "a_crash_before_the_reset_is_not_repaired",
        "snapshots",
        (Edit(_RECOVERY, "reconcile", "_reset(state, newest)", "Recovery(newest, None, state)"),),
        "tests/contracts/test_crash_points.py::test_a_recovery_that_is_cut_is_done_by_the_next",
    ),
    Mutant(
        "a_snapshot_that_was_never_named_is_restored",
        "snapshots",
        (Edit(_RECOVERY, "candidates", "(meta.id, meta.checksum) in named", "True"),),
        "tests/contracts/test_crash_points.py::test_a_recovery_that_is_cut_is_done_by_the_next",
    ),
    # -- bootstrap
    Mutant(
        "the_cluster_id_is_stored_before_the_log",
        "storage",
        (
            Edit(
                "braft_core.runtime.membership_adapter",
                "MembershipAdapter.start_raft",
                """
                if configuration is not None:
                    components.initial.bootstrap(configuration)
                components.storage.set_meta({CLUSTER_ID: cluster_id.encode()})
                """,
                """
                components.storage.set_meta({CLUSTER_ID: cluster_id.encode()})
                if configuration is not None:
                    components.initial.bootstrap(configuration)
                """,
            ),
        ),
        "tests/contracts/test_crash_points.py::test_a_bootstrap_that_is_cut_is_done_by_the_next_start",
    ),
    Mutant(
        "a_second_bootstrap_begins_the_log_anew",
        "storage",
        (
            Edit(
                _INITIAL,
                "InitialState.bootstrap",
                "if self._stored.entries:\n    return",
                "",
            ),
        ),
        "tests/unit/runtime/test_initial_state.py::test_a_log_begins_with_one_configuration",
    ),
    # -- the store
    Mutant(
        "a_snapshot_file_gets_its_name_before_the_sync",
        "storage",
        (
            Edit(_FILES, "_FileSink.commit", "os.fsync(self._fd)", ""),
            Edit(
                _FILES,
                "_FileSink.commit",
                "self._close()\nself._check()\nself._path.rename(whole)",
                "self._check()\nself._path.rename(whole)\nos.fsync(self._fd)\nself._close()",
            ),
        ),
        "tests/contracts/test_snapshot_file_crashes.py::test_a_snapshot_file_is_whole_or_is_not_there",
    ),
    Mutant(
        "the_directory_of_a_snapshot_is_not_synced",
        "storage",
        (Edit(_FILES, "_FileSink.commit", "sync_directory(self._directory)", "pass"),),
        "tests/contracts/test_snapshot_file_crashes.py::test_a_snapshot_file_is_whole_or_is_not_there",
    ),
    Mutant(
        "writes_are_not_synced",
        "storage",
        (
            Edit(
                "braft_core.storage.sqlite_format",
                "_configure",
                "'PRAGMA synchronous = FULL'",
                "'PRAGMA synchronous = NORMAL'",
            ),
        ),
        "tests/contracts/test_sqlite_writes.py::test_every_write_is_one_transaction_and_is_synced",
    ),
    Mutant(
        "a_failed_append_moves_the_end_of_the_log",
        "storage",
        (
            Edit(
                _SQLITE,
                "SQLiteStorage.write",
                """
                with self._transaction(explicit=len(rows) != 1) as db:
                    log.append(db, rows)
                self._bounds = bounds
                """,
                """
                self._bounds = bounds
                with self._transaction(explicit=len(rows) != 1) as db:
                    log.append(db, rows)
                """,
            ),
        ),
        "tests/contracts/test_sqlite_writes.py::test_entries_that_had_no_room_can_be_written_later",
    ),
    Mutant(
        "a_store_goes_on_after_an_io_error",
        "storage",
        (
            Edit(
                _SQLITE,
                "SQLiteStorage._failure",
                "if primary == sqlite3.SQLITE_IOERR:\n    self._failed = str(error)",
                "",
            ),
        ),
        "tests/unit/storage/test_sqlite.py::test_after_a_failed_sync_the_store_refuses_to_go_on",
    ),
    Mutant(
        "a_write_to_a_deleted_file_counts",
        "storage",
        (Edit(_SQLITE, "SQLiteStorage._transaction", "presence.check_vital()", "pass"),),
        "tests/contracts/test_sqlite_writes.py::test_a_write_to_files_that_vanish_meanwhile_does_not_count",
    ),
    Mutant(
        "a_truncation_keeps_an_entry",
        "storage",
        (
            Edit(
                "braft_core.storage.sqlite_log",
                "cut",
                "_entries(row)[: first_removed - row[0]]",
                "_entries(row)[: first_removed - row[0] + 1]",
            ),
        ),
        "tests/conformance/test_storage.py::TestSQLiteStorage::test_one_batch_truncates_before_it_appends",
    ),
    Mutant(
        "a_group_of_rows_is_no_transaction",
        "storage",
        (
            Edit(
                _SQLITE,
                "SQLiteStorage.write",
                "self._transaction(explicit=len(rows) != 1)",
                "self._transaction(explicit=False)",
            ),
        ),
        "tests/unit/storage/test_sqlite.py::test_more_than_a_row_holds_is_written_whole_or_not_at_all",
    ),
    Mutant(
        "the_vote_is_stored_in_another_transaction",
        "storage",
        (
            Edit(
                _SQLITE,
                "SQLiteStorage.write",
                "if garbage:\n"
                "    garbage = log.sweep(db, bounds.compacted_index, added, self._sweep_rows)",
                """
                if db.in_transaction:
                    db.execute("COMMIT")
                    db.execute("BEGIN IMMEDIATE")
                if garbage:
                    garbage = log.sweep(db, bounds.compacted_index, added, self._sweep_rows)
                """,
            ),
        ),
        "tests/contracts/test_sqlite_writes.py::test_every_write_is_one_transaction_and_is_synced",
    ),
)
