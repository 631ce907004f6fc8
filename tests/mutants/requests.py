"""Faults in sessions, forwarding, and serving the requests of callers and of other nodes."""

from __future__ import annotations

from tests.mutants.planting import Edit, Mutant

__all__ = ["MUTANTS"]

_SESSIONS = "braft_core.runtime.sessions"
_RETRIES = "braft_core.runtime.retry_queue"
_FORWARDING = "braft_core.runtime.forwarding"
_CALLS = "braft_core.runtime.peer_calls"
_PARKED = "braft_core.runtime.parked"
_SERVER = "braft_core.runtime.server"

_LONG = "tests/unit/runtime/test_long_commands.py"

MUTANTS = (
    # -- sessions
    Mutant(
        "an_unknown_attempt_is_forgotten",
        "sessions",
        (Edit(_SESSIONS, "RetryableCommand.classify", "self.unknown = True", "pass"),),
        "tests/unit/test_sessions.py::test_after_an_unknown_outcome_nothing_is_surely_not_applied",
    ),
    Mutant(
        "a_refusal_after_an_unknown_attempt_says_not_applied",
        "sessions",
        (
            Edit(
                _SESSIONS,
                "RetryableCommand._verdict",
                "self.unknown and isinstance(error, NotApplied)",
                "False",
            ),
        ),
        "tests/unit/test_sessions.py::test_after_an_unknown_outcome_nothing_is_surely_not_applied",
    ),
    Mutant(
        "commands_under_way_are_acknowledged",
        "sessions",
        (
            Edit(
                _SESSIONS,
                "Window.done",
                "self.first_unacknowledged < self._next\n"
                "and self.first_unacknowledged not in self._under_way".replace("\n", " "),
                "self.first_unacknowledged < self._next",
            ),
        ),
        "tests/unit/test_sessions.py::test_the_floor_is_the_lowest_number_under_way",
    ),
    Mutant(
        "a_retry_keeps_the_old_acknowledgement",
        "sessions",
        (Edit(_SESSIONS, "SessionCommand.prepare", "self.stamp(self.window)", "pass"),),
        "tests/unit/test_sessions.py::test_the_floor_of_another_attempt_is_the_present_one",
    ),
    Mutant(
        "answered_commands_are_sent_again",
        "sessions",
        (
            Edit(
                _SESSIONS,
                "RetryableCommand.attempt",
                "self.prepare()",
                "(self.prepare(), True)[1]",
            ),
        ),
        "tests/unit/test_sessions.py::test_one_that_is_done_with_holds_up_nobody_who_rests_beside_it",
    ),
    Mutant(
        "every_registration_has_the_same_id",
        "sessions",
        (Edit(_SESSIONS, "RegisterClient.prepare", "self._draw()", "pass"),),
        "tests/unit/test_sessions.py::test_each_attempt_to_open_a_session_has_an_id_of_its_own",
    ),
    Mutant(
        "sessions_that_wait_have_no_deadline",
        "sessions",
        (
            Edit(
                _SESSIONS,
                "Sessions.sweep",
                "client_session.refuse_late(self._server.refusal())",
                "pass",
            ),
        ),
        "tests/unit/test_sessions.py::test_who_waits_for_a_session_waits_until_its_own_deadline",
    ),
    Mutant(
        "the_second_retry_wakes_nobody",
        "sessions",
        (
            Edit(
                _RETRIES,
                "RetryQueue._attempt",
                "due, self._waiting[at_once] = self._waiting[at_once], []",
                "due = list(self._waiting[at_once])",
            ),
        ),
        "tests/unit/test_sessions.py::test_after_an_unknown_outcome_nothing_is_surely_not_applied",
    ),
    Mutant(
        "an_expired_session_hides_an_unknown_attempt",
        "sessions",
        (
            Edit(
                _SESSIONS,
                "ClientSession.expired",
                "if command.unknown:\n"
                "    return OutcomeUnknown(f'the outcome is unknown: an earlier attempt may have "
                "been applied; {error.message}')",
                "",
            ),
        ),
        "tests/unit/test_sessions.py::test_an_expired_session_leaves_unknown_what_was_sent_twice",
    ),
    # -- forwarding
    Mutant(
        "a_call_that_may_have_arrived_is_repeated",
        "forwarding",
        (
            Edit(
                _FORWARDING,
                "Forwarder._propose",
                "isinstance(error, WrongCluster) or error.data.get('sent') is False",
                "True",
            ),
        ),
        "tests/unit/runtime/test_forwarding.py::test_what_may_have_been_taken_is_never_sent_again",
    ),
    Mutant(
        "the_stop_says_not_applied_of_forwarded_commands",
        "forwarding",
        (Edit(_FORWARDING, "Forwarder.stop", "cut_off if request.sent else reason", "reason"),),
        "tests/unit/runtime/test_forwarding.py::test_stop_tells_who_was_under_way_from_who_was_not",
    ),
    Mutant(
        "commands_for_a_former_leader_stay_queued",
        "forwarding",
        (Edit(_FORWARDING, "Forwarder.leader_changed", "self._hand_back()", "pass"),),
        "tests/unit/test_sessions.py::test_calls_to_a_frozen_leader_do_not_block_those_to_the_next",
    ),
    Mutant(
        "reads_behind_a_full_set_of_calls_are_forgotten",
        "forwarding",
        (
            Edit(
                _FORWARDING,
                "Forwarder._read_done",
                "self._server.retries.put_all(waiting, at_once=True)",
                "pass",
            ),
        ),
        "tests/unit/runtime/test_forwarding.py::test_reads_share_a_call_and_those_that_come_later_do_not_join_it",
    ),
    Mutant(
        "a_superseded_attempt_is_sent_again",
        "forwarding",
        (
            Edit(
                _FORWARDING,
                "Forwarder._again",
                "[request for request in batch if not isinstance(request, SupersededAttempt)]",
                "list(batch)",
            ),
        ),
        "tests/contracts/test_serving.py::test_an_attempt_that_was_superseded_is_not_sent_again",
    ),
    Mutant(
        "a_broken_transport_says_not_applied",
        "forwarding",
        (Edit(_FORWARDING, "_give_up", "unknown if request.sent else refusal", "refusal"),),
        "tests/unit/runtime/test_forwarding.py::test_a_transport_that_breaks_its_rule_leaves_nobody_waiting",
    ),
    Mutant(
        "late_forwarded_commands_are_not_swept",
        "forwarding",
        (
            Edit(
                _FORWARDING,
                "Forwarder.sweep",
                "settle((command, silent) for command in late if command.sent)",
                "pass",
            ),
        ),
        "tests/unit/runtime/test_forwarding.py::test_each_command_and_read_has_its_own_deadline_though_a_call_serves_many",
    ),
    Mutant(
        "a_forwarded_read_is_served_at_once",
        "forwarding",
        (
            Edit(
                _FORWARDING,
                "Forwarder._read",
                "self._server.serve(reply.index, queries)",
                "self._server.serve(0, queries)",
            ),
        ),
        "tests/unit/runtime/test_forwarding.py::test_reads_share_a_call_and_those_that_come_later_do_not_join_it",
    ),
    # -- serving
    Mutant(
        "a_read_index_is_given_without_confirmation",
        "serving",
        (
            Edit(
                _CALLS,
                "PeerCallHandler._read_index",
                "index = await query.awaitable",
                "index = driver.core.commit_index",
            ),
        ),
        "tests/contracts/test_serving.py::test_a_read_index_is_given_after_the_leader_has_confirmed_that_it_leads",
    ),
    Mutant(
        "a_follower_takes_forwarded_commands",
        "serving",
        (Edit(_CALLS, "PeerCallHandler._leading", "core.role is not Role.LEADER", "False"),),
        "tests/contracts/test_serving.py::test_a_follower_refuses_what_only_a_leader_answers[request_0]",
    ),
    Mutant(
        "the_stop_forgets_parked_requests",
        "serving",
        (
            Edit(
                _PARKED,
                "ParkedRequests.stop",
                "settle((request, reason) for request in parked)",
                "",
            ),
        ),
        "tests/contracts/test_serving.py::test_the_stop_answers_what_is_parked_and_what_comes_later",
    ),
    Mutant(
        "late_parked_requests_stay",
        "serving",
        (Edit(_PARKED, "ParkedRequests.expire", "return late", "return []"),),
        "tests/contracts/test_serving.py::test_parked_requests_have_deadlines",
    ),
    Mutant(
        "leaving_a_cluster_forgets_reads",
        "serving",
        (
            Edit(
                "braft_core.runtime.driver",
                "Driver.release",
                "[*self._commands, *self._queries]",
                "[*self._commands]",
            ),
        ),
        "tests/contracts/test_serving.py::test_a_replica_gives_back_what_went_nowhere_yet",
    ),
    # -- long commands
    Mutant(
        "the_loop_reads_long_commands_of_its_own_node",
        "forwarding",
        (
            Edit(
                "braft_core.node_requests",
                "RequestCalls._command",
                "SessionCommand(client_session, data, wait, loop, need)",
                "SessionCommand(client_session, data, wait, loop)",
            ),
        ),
        f"{_LONG}::test_no_loop_decodes_a_long_command",
    ),
    Mutant(
        "the_loop_reads_long_commands_of_other_nodes",
        "forwarding",
        (
            Edit(
                _CALLS,
                "PeerCallHandler._check",
                "await asyncio.to_thread(read) if len(data) > LONG_COMMAND else read()",
                "read()",
            ),
        ),
        f"{_LONG}::test_no_loop_decodes_a_long_command",
    ),
)
