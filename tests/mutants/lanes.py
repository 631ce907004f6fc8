"""Faults in the lanes of both transports, and in snapshot transfers."""

from __future__ import annotations

from tests.mutants.planting import Edit, Mutant

__all__ = ["MUTANTS"]

_PIPELINE = "braft_core.transport.grpc.pipeline"
_GRPC_LINK = "braft_core.transport.grpc.peer_link"
_GRPC_SERVER = "braft_core.transport.grpc.raft_server"
_LINKED = "braft_core.transport.linked"
_TRANSFER = "braft_core.transport.snapshot_transfer"
_OUT = "braft_tcp.outbound"
_IN = "braft_tcp.inbound"
_POOL = "braft_tcp.call_pool"

MUTANTS = (
    # -- gRPC
    Mutant(
        "grpc_responses_belong_to_the_newest_request",
        "grpc",
        (
            Edit(
                _PIPELINE,
                "_BulkBase._answered",
                "self._queue.sent.popleft()",
                "self._queue.sent.pop()",
            ),
        ),
        "tests/conformance/test_transport.py::TestGrpcTransport::test_appends_stay_in_order",
    ),
    Mutant(
        "the_grpc_queue_has_no_bound",
        "grpc",
        (
            Edit(
                _PIPELINE,
                "_Queue.put",
                "self.closing or (full and self.waiting)",
                "self.closing",
            ),
        ),
        "tests/conformance/test_transport.py::TestGrpcTransport::test_a_burst_of_appends_is_bounded_and_what_passes_stays_in_order",
    ),
    Mutant(
        "the_grpc_queue_stays_full",
        "grpc",
        (Edit(_PIPELINE, "_Queue.take", "self._bytes -= len(data)", "pass"),),
        "tests/conformance/test_transport.py::TestGrpcTransport::test_large_appends_free_their_room_when_they_have_left",
    ),
    Mutant(
        "grpc_heartbeats_wait_behind_entries",
        "grpc",
        (
            Edit(
                _GRPC_LINK,
                "PeerLink.send",
                "isinstance(message, AppendEntries) and not message.heartbeat",
                "isinstance(message, AppendEntries)",
            ),
        ),
        "tests/conformance/test_transport.py::TestGrpcTransport::test_a_heartbeat_overtakes_a_blocked_bulk_lane",
    ),
    Mutant(
        "grpc_drops_entries_in_silence",
        "grpc",
        (
            Edit(
                _GRPC_LINK,
                "PeerLink.send",
                "if self._bulk is None or not self._bulk.put(message.request_id, data):\n"
                "    self._health.report_dropped()",
                "if self._bulk is not None:\n    self._bulk.put(message.request_id, data)",
            ),
        ),
        "tests/conformance/test_transport.py::TestGrpcTransport::test_a_lane_that_was_full_is_free_again_and_reports_the_next_loss",
    ),
    Mutant(
        "grpc_says_nothing_of_entries_lost_with_the_stream",
        "grpc",
        (
            Edit(
                _GRPC_LINK,
                "PeerLink._run_bulk",
                "if bulk.pending:\n    self._health.report_dropped()",
                "",
            ),
        ),
        "tests/conformance/test_transport.py::TestGrpcTransport::test_requests_without_answer_are_reported_when_the_peer_goes",
    ),
    Mutant(
        "grpc_never_reads_again_after_a_pause",
        "grpc",
        (Edit(_GRPC_SERVER, "_InboundStream._write", "self._room.set()", "pass"),),
        "tests/conformance/test_transport.py::TestGrpcTransport::test_a_node_that_does_not_answer_is_not_flooded",
    ),
    Mutant(
        "grpc_votes_have_no_bound",
        "grpc",
        (
            Edit(
                _GRPC_LINK,
                "PeerLink._send_control",
                "len(self._calls) >= _MAX_CONTROL_CALLS",
                "False",
            ),
        ),
        "tests/conformance/test_transport.py::TestGrpcTransport::test_votes_to_a_node_that_does_not_answer_are_bounded",
    ),
    # -- braft_tcp
    Mutant(
        "tcp_entries_overtake_those_that_wait",
        "tcp",
        (
            Edit(
                _OUT,
                "BulkChannel.put",
                "not self._waiting and not connection.full",
                "not connection.full or (len(data) < 4096 and len(self._waiting) > 2)",
            ),
        ),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_a_burst_of_appends_is_bounded_and_what_passes_stays_in_order",
    ),
    Mutant(
        "tcp_sends_entries_of_the_last_connection",
        "tcp",
        (
            Edit(
                _OUT,
                "BulkChannel.end",
                "self._sent.clear()\nself._waiting.clear()\nself._waiting_bytes = 0",
                "self._sent.clear()",
            ),
        ),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_what_waited_for_a_connection_is_not_sent_on_the_next",
    ),
    Mutant(
        "the_tcp_queue_has_no_bound",
        "tcp",
        (
            Edit(
                _OUT,
                "BulkChannel.put",
                "self._waiting and (full or len(self._waiting) >= _MAX_QUEUED)",
                "False",
            ),
        ),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_a_burst_of_appends_is_bounded_and_what_passes_stays_in_order",
    ),
    Mutant(
        "tcp_responses_leave_in_the_order_of_their_answers",
        "tcp",
        (
            Edit(
                _IN,
                "BulkInbound.answer",
                "while slots and (data := slots[0].data) is not None:\n"
                "    self._connection.send(Kind.RESPONSE, slots.popleft().request_id, data)",
                "for slot in [slot for slot in slots if slot.data is not None]:\n"
                "    slots.remove(slot)\n"
                "    self._connection.send(Kind.RESPONSE, slot.request_id, slot.data)",
            ),
        ),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_responses_given_in_another_order_find_their_requests",
    ),
    Mutant(
        "tcp_never_reads_again_after_a_pause",
        "tcp",
        (Edit(_IN, "BulkInbound.answer", "self._connection.release()", "pass"),),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_a_node_that_does_not_answer_is_not_flooded",
    ),
    Mutant(
        "tcp_reads_on_although_the_node_is_busy",
        "tcp",
        (Edit(_IN, "BulkInbound.receive", "self._connection.hold()", "pass"),),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_a_node_that_does_not_answer_is_not_flooded",
    ),
    Mutant(
        "tcp_mixes_up_the_answers_of_calls",
        "tcp",
        (
            Edit(
                _POOL,
                "_CallConnection._receive",
                "self.waiting.pop(request_id, None)",
                "self.waiting.popitem()[1] if self.waiting else None",
            ),
        ),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_calls_at_one_time_get_their_own_answers",
    ),
    Mutant(
        "tcp_calls_wait_after_the_connection_is_gone",
        "tcp",
        (
            Edit(
                _POOL,
                "_CallConnection._gone",
                "self.fail(f'{self._address} closed the connection')",
                "pass",
            ),
        ),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_calls_under_way_end_with_the_connection_and_may_have_arrived",
    ),
    Mutant(
        "a_broken_tcp_call_counts_as_never_sent",
        "tcp",
        (
            Edit(
                _POOL,
                "_CallConnection.fail",
                "Unreachable(reason, address=self._address, sent=True)",
                "Unreachable(reason, address=self._address, sent=False)",
            ),
        ),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_calls_under_way_end_with_the_connection_and_may_have_arrived",
    ),
    Mutant(
        "tcp_writes_into_a_full_connection",
        "tcp",
        (
            Edit(
                _OUT,
                "BulkChannel._write_waiting",
                "connection is not None and self._waiting and (not connection.full)",
                "connection is not None and self._waiting",
            ),
            Edit(
                _OUT,
                "BulkChannel.put",
                "not self._waiting and not connection.full",
                "True",
            ),
        ),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_a_burst_of_appends_is_bounded_and_what_passes_stays_in_order",
    ),
    Mutant(
        "tcp_votes_have_no_bound",
        "tcp",
        (Edit(_OUT, "ControlChannel.put", "len(self._sent) >= _MAX_CONTROL", "False"),),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_votes_to_a_node_that_does_not_answer_are_bounded",
    ),
    # -- both
    Mutant(
        "a_peer_that_moved_is_sought_at_its_old_address",
        "transport",
        (
            Edit(
                _LINKED,
                "PeerLinks.set",
                "link is not None and link.address == address",
                "link is not None",
            ),
        ),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_a_peer_that_moved_is_found_at_its_new_address",
    ),
    Mutant(
        "answers_of_transfers_arrive_after_the_stop",
        "transport",
        (Edit(_TRANSFER, "SnapshotSender._ended", "not self._stopped", "True"),),
        "plugins/braft_tcp/tests/test_conformance.py::TestTcpTransport::test_stop_is_quick_in_the_middle_and_tells_nothing",
    ),
    Mutant(
        "a_transfer_begins_beside_the_files_of_the_last",
        "transport",
        (Edit(_TRANSFER, "SnapshotReceiver.receive", "await closed.ended()", "pass"),),
        "tests/unit/transport/test_snapshot_receiver.py::test_a_transfer_begins_when_no_file_of_earlier_ones_is_left",
    ),
)
