"""Faults in the I/O of discovery and membership."""

from __future__ import annotations

from tests.mutants.planting import Edit, Mutant

__all__ = ["MUTANTS"]

_IO = "braft_core.cluster.bootstrap_io"
_MEMBER = "braft_core.cluster.member"

MUTANTS = (
    Mutant(
        "a_proposal_is_accepted_before_that_is_stored",
        "membership",
        (
            Edit(
                _IO,
                "BootstrapRunner.answer",
                "await self.store()",
                "self._tasks.spawn(self.store(), 'store')",
            ),
        ),
        "tests/contracts/test_membership_io.py::test_a_proposal_is_answered_after_the_decision_is_stored",
    ),
    Mutant(
        "a_record_that_changed_meanwhile_counts_as_stored",
        "membership",
        (
            Edit(
                _IO,
                "BootstrapRunner.store",
                "self.bootstrap.stored(self._host.now(), record)",
                "self.bootstrap.stored(self._host.now(), self.bootstrap.record)",
            ),
        ),
        "tests/contracts/test_membership_io.py::test_a_record_that_changes_during_the_write_is_stored_after_it",
    ),
    Mutant(
        "a_record_that_could_not_be_stored_is_answered",
        "membership",
        (
            Edit(
                _IO,
                "BootstrapRunner.store",
                "self.apply(self.bootstrap.failed(self._host.now(), reason))\nraise",
                "self.apply(self.bootstrap.failed(self._host.now(), reason))\nreturn",
            ),
        ),
        "tests/contracts/test_membership_io.py::test_a_proposal_is_not_answered_if_the_decision_cannot_be_stored",
    ),
    Mutant(
        "a_failed_listing_counts_as_empty",
        "membership",
        (
            Edit(
                _IO,
                "BootstrapRunner._list",
                "self.listing_failed(error)",
                "self.listed(())",
            ),
        ),
        "tests/contracts/test_membership_io.py::test_a_failed_listing_is_no_empty_one_and_the_next_is_made",
    ),
    Mutant(
        "after_a_failed_listing_nobody_is_sought",
        "membership",
        (
            Edit(
                _IO,
                "BootstrapRunner._list",
                "self._listing = False",
                "pass",
            ),
        ),
        "tests/contracts/test_membership_io.py::test_a_failed_listing_is_no_empty_one_and_the_next_is_made",
    ),
    Mutant(
        "a_join_into_another_cluster_is_believed",
        "membership",
        (
            Edit(
                _IO,
                "BootstrapRunner._ask",
                "not isinstance(reply, JoinReply) or reply.cluster_id != ask.cluster_id",
                "not isinstance(reply, JoinReply)",
            ),
        ),
        "tests/contracts/test_membership_io.py::test_a_node_joins_the_cluster_that_it_asked_for_alone[another]",
    ),
    Mutant(
        "a_slow_probe_overrides_a_newer_announcement",
        "membership",
        (
            Edit(
                _MEMBER,
                "Member._probe_all",
                "self._learn(reply.server_id, reply.address, asked)",
                "self._learn(reply.server_id, reply.address)",
            ),
        ),
        "tests/unit/cluster/test_membership.py::test_a_late_round_of_probes_brings_back_no_former_address",
    ),
    Mutant(
        "an_older_report_of_an_address_wins",
        "membership",
        (
            Edit(
                "braft_core.cluster.address_book",
                "AddressBook.learn",
                "known is not None and known.at > now",
                "False",
            ),
        ),
        "tests/unit/cluster/test_address_book.py::test_the_newest_word_wins_in_whatever_order_it_arrives",
    ),
    Mutant(
        "the_configuration_overrides_announced_addresses",
        "membership",
        (
            Edit(
                "braft_core.runtime.peer_addresses",
                "PeerAddresses.use_configuration",
                "server.id not in self._addresses",
                "True",
            ),
        ),
        "tests/contracts/test_membership_io.py::test_an_announced_address_outlasts_the_configuration_and_goes_with_the_member",
    ),
    Mutant(
        "removed_members_stay_connected",
        "membership",
        (
            Edit(
                "braft_core.runtime.peer_addresses",
                "PeerAddresses.use_configuration",
                "self._transport.remove_peer(server_id)",
                "pass",
            ),
        ),
        "tests/contracts/test_membership_io.py::test_an_announced_address_outlasts_the_configuration_and_goes_with_the_member",
    ),
    Mutant(
        "a_duplicate_id_is_learned_all_the_same",
        "membership",
        (
            Edit(
                _MEMBER,
                "Member.on_announce",
                "self._log_once(logging.ERROR, request.server_id, error.message)\nraise",
                "self._log_once(logging.ERROR, request.server_id, error.message)",
            ),
        ),
        "tests/unit/cluster/test_membership.py::test_a_copy_of_a_member_is_refused_and_the_member_is_not",
    ),
    Mutant(
        "a_removed_member_may_campaign",
        "membership",
        (
            Edit(
                _MEMBER,
                "Member._update_campaigning",
                "not (self.removed or self._duplicates.conflict)",
                "not self._duplicates.conflict",
            ),
        ),
        "tests/unit/cluster/test_membership.py::test_a_removed_member_logs_it_once_and_does_not_campaign",
    ),
)
