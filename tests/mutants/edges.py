"""Faults at the edges of a node: HTTP/2, discovery, files of TLS, calls to a leader."""

from __future__ import annotations

from tests.mutants.planting import Edit, Mutant

__all__ = ["MUTANTS"]

_SENDER = "braft_core.http2.sender"
_IO = "braft_core.cluster.bootstrap_io"
_SERVED = "braft_core.tls.served_certificate"
_FORWARDING = "braft_core.runtime.forwarding"

MUTANTS = (
    # -- HTTP/2
    Mutant(
        "a_reset_stream_holds_its_octets_for_ever",
        "http2",
        (Edit(_SENDER, "Sender.discard", "self._hold(-stream.queued)", "pass"),),
        "tests/unit/http2/test_attacks.py::test_a_reset_stream_gives_back_what_it_held",
    ),
    # -- discovery
    Mutant(
        "a_listing_may_hang_for_ever",
        "discovery",
        (
            Edit(
                _IO,
                "BootstrapRunner._list",
                "asyncio.timeout(self._timing.listing_timeout)",
                "asyncio.timeout(None)",
            ),
        ),
        "tests/contracts/test_membership_io.py::test_a_listing_that_hangs_ends_and_the_next_is_made",
    ),
    Mutant(
        "a_watch_that_broke_is_not_started_again",
        "discovery",
        (
            Edit(
                "braft_core.cluster.membership",
                "ClusterMembership._watch",
                "await asyncio.sleep(delay)",
                "return",
            ),
        ),
        "tests/contracts/test_membership_io.py::test_a_watch_that_breaks_is_started_again",
    ),
    Mutant(
        "the_leader_that_a_member_names_is_not_asked",
        "discovery",
        (
            Edit(
                _IO,
                "BootstrapRunner._leader_hint",
                "if not isinstance(error, NotLeader):\n    return ''",
                "return ''",
            ),
        ),
        "tests/contracts/test_membership_io.py::test_a_member_that_does_not_lead_names_who_does",
    ),
    # -- TLS
    Mutant(
        "replaced_files_are_loaded_again_and_again",
        "tls",
        (
            Edit(
                _SERVED,
                "ServedCertificate._look",
                "self._contents, self._current = contents, current",
                "self._current = current",
            ),
        ),
        "tests/security/test_tls_serving.py::test_replaced_files_are_loaded_once",
    ),
    # -- forwarding
    Mutant(
        "a_read_waits_for_a_silent_leader_until_its_deadline",
        "forwarding",
        (
            Edit(
                _FORWARDING,
                "Forwarder._read",
                "min(timeout, self._timing.read_index_timeout)",
                "timeout",
            ),
        ),
        "tests/unit/runtime/test_forwarding.py::test_a_read_does_not_wait_long_for_one_leader",
    ),
)
