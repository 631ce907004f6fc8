"""The bootstrap rules, one by one, on a single machine driven by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from braft_core.abc import Contact
from braft_core.cluster.address_book import contact_at
from braft_core.cluster.bootstrap import Bootstrap
from braft_core.cluster.bootstrap_effects import (
    Effect,
    ListDiscovery,
    Probe,
    SendJoinRequest,
    SendProposal,
    StartCluster,
    StoreRecord,
)
from braft_core.cluster.bootstrap_facts import BootstrapFacts
from braft_core.cluster.bootstrap_proposal import REJECTED
from braft_core.cluster.bootstrap_record import EMPTY_RECORD, BootstrapRecord
from braft_core.cluster.timing import DEFAULT_TIMING
from braft_core.peer import BootstrapProposal, BootstrapProposalReply, ProbeReply
from braft_core.raft.types import Configuration, Server, Suffrage, encode_configuration

A, B, C, D = (f"10.0.0.{i}:15000" for i in range(1, 5))
WHERE = {"a": A, "b": B, "c": C, "d": D}
T = 100.0


def reply(server_id: str, **changes: Any) -> ProbeReply:
    address = WHERE.get(server_id, A)
    return replace(ProbeReply(server_id, "c", "", 3, False, "", "", address), **changes)


def proposal(cluster_id: str, *ids: str) -> BootstrapProposal:
    servers = tuple(Server(i, WHERE[i]) for i in ids)
    return BootstrapProposal("c", cluster_id, encode_configuration(Configuration(servers)), ids[0])


def machine(
    server_id: str = "a", record: BootstrapRecord = EMPTY_RECORD, **facts: Any
) -> Bootstrap:
    own = BootstrapFacts(
        **{
            "server_id": server_id,
            "address": WHERE[server_id],
            "cluster_name": "c",
            "expect": 3,
            **facts,
        }
    )
    return Bootstrap(own, record, lambda: "fresh")


def of(effects: Sequence[Effect], kind: type) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]


def show(bootstrap: Bootstrap, now: float, *replies: ProbeReply, at: str = "") -> list[Effect]:
    """Give replies from each node's address (or ``at``); discovery lists exactly these nodes."""
    effects: list[Effect] = []
    for r in replies:
        effects += bootstrap.probe_answered(now, contact_at(at or r.address), r)
    return effects


def ready(server_id: str = "a", **facts: Any) -> Bootstrap:
    """Return a machine whose discovery lists a, b and c, which have answered at ``T``."""
    bootstrap = machine(server_id, **facts)
    bootstrap.start(T)
    bootstrap.contacts_listed(T, map(contact_at, (A, B, C)))
    for i in "abc":
        expect = facts.get("expect", 3)
        bootstrap.probe_answered(T, contact_at(WHERE[i]), reply(i, expect=expect))
    return bootstrap


def proposed(**facts: Any) -> tuple[Bootstrap, BootstrapProposal]:
    """Return a machine that has proposed, before its acceptance is durable."""
    bootstrap = ready(**facts)
    bootstrap.tick(T + 0.35)
    effects = show(bootstrap, T + 0.36, reply("b"), reply("c"))
    (store,) = of(effects, StoreRecord)
    assert store.record.accepted is not None
    return bootstrap, store.record.accepted


def test_discovery_is_listed_at_once_and_then_every_second() -> None:
    bootstrap = machine()
    assert of(bootstrap.start(T), ListDiscovery)
    assert not of(bootstrap.tick(T + 0.5), ListDiscovery), "the first listing is under way"
    bootstrap.contacts_listed(T + 0.6, [])
    assert not of(bootstrap.tick(T + 1.5), ListDiscovery)
    assert of(bootstrap.tick(T + 1.6), ListDiscovery)
    bootstrap.listing_failed(T + 1.7, "down")
    assert of(bootstrap.tick(T + 2.7), ListDiscovery)


def test_every_contact_is_probed_and_silent_ones_more_often() -> None:
    bootstrap = machine()
    bootstrap.start(T)
    contacts = [contact_at(A), contact_at(B)]
    assert [p.contact for p in of(bootstrap.contacts_listed(T, contacts), Probe)] == contacts
    bootstrap.probe_failed(T + 0.01, contacts[0], "refused")
    bootstrap.probe_answered(T + 0.01, contacts[1], reply("b"))
    assert [p.contact for p in of(bootstrap.tick(T + 0.27), Probe)] == contacts[:1]
    assert [p.contact for p in of(bootstrap.tick(T + 0.52), Probe)] == contacts[1:]
    assert not of(bootstrap.tick(T + 0.6), Probe), "both are awaited"


def test_the_smallest_id_proposes_after_the_margin_and_one_more_probe() -> None:
    bootstrap = ready()
    assert not of(bootstrap.tick(T + 0.29), StoreRecord)
    effects = bootstrap.tick(T + 0.31)
    assert {str(p.contact) for p in of(effects, Probe)} == {B, C}
    assert not of(show(bootstrap, T + 0.32, reply("b")), StoreRecord)
    (store,) = of(show(bootstrap, T + 0.33, reply("c")), StoreRecord)
    assert store.record.accepted == proposal("fresh", "a", "b", "c")


def test_the_random_sleep_is_added_to_the_margin() -> None:
    bootstrap = ready(sleep=2.0)
    bootstrap.tick(T + 2.2)
    assert not of(show(bootstrap, T + 2.21, reply("b"), reply("c")), StoreRecord)
    bootstrap.tick(T + 2.31)
    assert of(show(bootstrap, T + 2.32, reply("b"), reply("c")), StoreRecord)


def test_where_the_number_is_a_guess_the_others_are_listened_for_first() -> None:
    bootstrap = ready(expect=1, listen=1.5)
    assert not of(bootstrap.tick(T + 1.4), StoreRecord)
    assert "waiting until nothing changes" in bootstrap.waiting(T + 1.4)
    # A change late in that time restarts the margin, and not the whole time.
    bootstrap.contacts_listed(T + 1.4, map(contact_at, (A, B)))
    assert not of(bootstrap.tick(T + 1.6), StoreRecord)
    assert of(bootstrap.tick(T + 1.71), StoreRecord)


def test_a_member_that_dies_before_the_proposal_stops_it() -> None:
    bootstrap = ready()
    bootstrap.tick(T + 0.31)
    show(bootstrap, T + 0.32, reply("b"))
    assert not of(bootstrap.probe_failed(T + 0.33, contact_at(C), "refused"), StoreRecord)
    assert "2 of 3 nodes are here" in bootstrap.waiting(T + 1)
    assert f"{C} (refused)" in bootstrap.waiting(T + 1)


def test_others_wait_for_the_smallest_id() -> None:
    bootstrap = ready("b")
    for step in range(1, 20):
        now = T + step * 0.5
        assert not of(bootstrap.tick(now), StoreRecord)
        show(bootstrap, now, reply("a"), reply("c"))
    assert f"waiting for {A}" in bootstrap.waiting(T + 10)


def test_exactly_the_smallest_expect_ids_are_chosen() -> None:
    bootstrap = ready(expect=2)
    bootstrap.tick(T + 0.31)
    effects = show(bootstrap, T + 0.32, reply("b", expect=2), reply("c", expect=2))
    (store,) = of(effects, StoreRecord)
    assert store.record.accepted == proposal("fresh", "a", "b")


def test_one_expected_node_bootstraps_alone_after_one_unchanged_round() -> None:
    bootstrap = machine(expect=1)
    bootstrap.start(T)
    bootstrap.contacts_listed(T, [])
    assert not of(bootstrap.tick(T + 0.2), StoreRecord)
    (store,) = of(bootstrap.tick(T + 0.31), StoreRecord)
    (start,) = of(bootstrap.stored(T + 0.32, store.record), StartCluster)
    assert start.configuration.ids == ("a",)


def test_one_expected_node_does_not_bootstrap_beside_a_cluster() -> None:
    bootstrap = machine(expect=1)
    bootstrap.start(T)
    bootstrap.contacts_listed(T, [contact_at(B)])
    seen = reply("b", cluster_id="x", initialised=True, voters=1)
    assert of(show(bootstrap, T + 0.1, seen), SendJoinRequest)
    for step in range(1, 50):
        assert not of(bootstrap.tick(T + step * 0.2), StoreRecord)


def test_without_discovery_one_node_bootstraps_at_once_and_more_never() -> None:
    assert of(machine(expect=1, has_discovery=False).start(T), StoreRecord)
    pair = machine(expect=2, has_discovery=False)
    assert not of(pair.start(T), StoreRecord)
    assert not pair.tick(T + 60)
    assert "no discovery is configured" in pair.waiting(T + 60)


def test_an_error_keeps_the_last_set_and_restarts_the_margin() -> None:
    bootstrap = ready()
    bootstrap.listing_failed(T + 0.2, "API down")
    assert [str(c) for c in bootstrap.view.contacts] == [A, B, C]
    bootstrap.tick(T + 5)
    assert not of(show(bootstrap, T + 5, reply("b"), reply("c")), StoreRecord)
    assert "discovery failed: API down" in bootstrap.waiting(T + 5)
    bootstrap.contacts_listed(T + 6, map(contact_at, (A, B, C)))
    bootstrap.tick(T + 6.29)
    assert not of(show(bootstrap, T + 6.29, reply("b"), reply("c")), StoreRecord)
    bootstrap.tick(T + 6.31)
    assert of(show(bootstrap, T + 6.32, reply("b"), reply("c")), StoreRecord)


def test_a_set_that_changes_restarts_the_margin() -> None:
    bootstrap = ready()
    bootstrap.contacts_listed(T + 0.2, map(contact_at, (A, B, C, D)))
    bootstrap.probe_failed(T + 0.2, contact_at(D), "refused")
    bootstrap.tick(T + 0.4)
    assert not of(show(bootstrap, T + 0.4, reply("b"), reply("c")), StoreRecord)
    bootstrap.tick(T + 0.51)
    assert of(show(bootstrap, T + 0.52, reply("b"), reply("c")), StoreRecord), "d does not block"


def test_an_unprobed_contact_delays_the_proposal() -> None:
    bootstrap = ready()
    bootstrap.contacts_listed(T + 0.1, map(contact_at, (A, B, C, D)))
    bootstrap.tick(T + 0.5)
    assert not of(show(bootstrap, T + 0.5, reply("b"), reply("c")), StoreRecord)
    assert "first answers" in bootstrap.waiting(T + 0.5)


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        (reply("c", expect=5), f"{C} expects 5"),
        (reply("b", address=C), "node id b is used at"),
        (reply("a", address=C), f"node id a is used at {A} and {C}"),
        (reply("c", address=B), f"nodes b and c both advertise {B}"),
        (reply("c", protocol_min=7, protocol_max=9), f"{C} speaks protocol 7-9"),
    ],
)
def test_contradictions_hold_and_are_shown(odd: ProbeReply, sentence: str) -> None:
    bootstrap = ready()
    show(bootstrap, T + 0.1, odd, at=C)
    for step in range(1, 10):
        now = T + step * 0.4
        assert not of(bootstrap.tick(now), StoreRecord)
        assert not of(show(bootstrap, now, reply("b")), StoreRecord)
        assert not of(show(bootstrap, now, odd, at=C), StoreRecord)
    assert sentence in bootstrap.waiting(T + 4)


def test_nodes_of_another_name_do_not_count_but_are_shown() -> None:
    bootstrap = ready()
    show(bootstrap, T + 0.1, reply("c", cluster_name="other"))
    bootstrap.tick(T + 1)
    assert "2 of 3" in bootstrap.waiting(T + 1)
    assert f"{C} is of another cluster, 'other'" in bootstrap.waiting(T + 1)


def test_one_node_behind_several_contacts_counts_once() -> None:
    bootstrap = machine("b", expect=2)
    bootstrap.start(T)
    ports = [Contact("10.0.0.2", 15000), Contact("10.0.0.2", 15001), Contact("host-b", 15000)]
    bootstrap.contacts_listed(T, ports)
    for contact in ports:
        bootstrap.probe_answered(T, contact, reply("b", expect=2))
    bootstrap.tick(T + 2)
    assert "1 of 2 nodes are here" in bootstrap.waiting(T + 2)


def test_waiting_says_since_when() -> None:
    bootstrap = machine()
    bootstrap.start(T)
    assert bootstrap.waiting(T + 42).startswith("no cluster yet after 42 s: ")
    bootstrap.became_member(T + 43, "x")
    assert bootstrap.waiting(T + 43) == ""


# -- acceptance ------------------------------------------------------------------------------


def test_nothing_is_proposed_before_the_own_acceptance_is_durable() -> None:
    bootstrap, accepted = proposed()
    assert bootstrap.cluster_id == ""
    assert not of(bootstrap.tick(T + 1), SendProposal)
    offers = of(bootstrap.stored(T + 1, bootstrap.record), SendProposal)
    assert [(o.server_id, o.address, o.request) for o in offers] == [
        ("b", B, accepted),
        ("c", C, accepted),
    ]
    assert bootstrap.cluster_id == "fresh"


def test_raft_starts_only_when_all_members_have_shown_their_acceptance() -> None:
    bootstrap, accepted = proposed()
    offers = of(bootstrap.stored(T + 1, bootstrap.record), SendProposal)
    yes = BootstrapProposalReply(True, "fresh", accepted.configuration, "")
    show(bootstrap, T + 1.005, reply("b"), reply("c"))
    for offer in offers:
        effects = bootstrap.proposal_answered(T + 1.01, offer, yes)
        assert offer.address in {str(p.contact) for p in of(effects, Probe)}
        assert not of(effects, StartCluster), "a reply does not say who sent it"
    assert not of(show(bootstrap, T + 1.02, reply("b", cluster_id="fresh")), StartCluster)
    (done,) = of(show(bootstrap, T + 1.03, reply("c", cluster_id="fresh")), StartCluster)
    assert (done.cluster_id, done.configuration.ids) == ("fresh", ("a", "b", "c"))
    assert not of(bootstrap.tick(T + 1.1), StartCluster), "once"


def test_a_probe_under_way_is_followed_by_another_when_there_is_news() -> None:
    bootstrap, accepted = proposed()
    offer, _ = of(bootstrap.stored(T + 1, bootstrap.record), SendProposal)
    yes = BootstrapProposalReply(True, "fresh", accepted.configuration, "")
    assert not of(bootstrap.proposal_answered(T + 1.01, offer, yes), Probe)
    effects = show(bootstrap, T + 1.02, reply("b"))
    assert [str(p.contact) for p in of(effects, Probe)] == [B]


def test_one_member_that_has_started_is_proof_for_all() -> None:
    bootstrap, _ = proposed()
    bootstrap.stored(T + 1, bootstrap.record)
    assert of(
        show(bootstrap, T + 1.1, reply("b", cluster_id="fresh", initialised=True)), StartCluster
    )


def test_a_start_that_failed_is_tried_again() -> None:
    bootstrap, _ = proposed()
    bootstrap.stored(T + 1, bootstrap.record)
    show(bootstrap, T + 1.1, reply("b", cluster_id="fresh", initialised=True))
    assert not of(bootstrap.failed(T + 1.2, "disk full"), StartCluster)
    assert "disk full" in bootstrap.waiting(T + 2)
    assert of(bootstrap.tick(T + 2.3), StartCluster)


def test_a_store_that_failed_is_tried_again() -> None:
    bootstrap, _ = proposed()
    assert not of(bootstrap.failed(T + 1, "disk full"), StoreRecord)
    assert not of(bootstrap.tick(T + 1.5), StoreRecord)
    assert of(bootstrap.tick(T + 2.1), StoreRecord)


def test_unanswered_proposals_are_repeated() -> None:
    bootstrap, _ = proposed()
    offer, _other = of(bootstrap.stored(T + 1, bootstrap.record), SendProposal)
    assert not of(bootstrap.tick(T + 1.5), SendProposal), "under way"
    bootstrap.proposal_answered(T + 1.6, offer, None)
    assert not of(bootstrap.tick(T + 1.7), SendProposal)
    assert [o.server_id for o in of(bootstrap.tick(T + 1.9), SendProposal)] == ["b"]
    assert "b at 10.0.0.2:15000" in bootstrap.waiting(T + 2)
    assert "empty data directories" in bootstrap.waiting(T + 2)


def test_at_most_one_proposal_is_accepted() -> None:
    bootstrap = machine("b")
    bootstrap.start(T)
    first, second = proposal("x", "a", "b", "c"), proposal("y", "b", "c", "d")
    decision = bootstrap.proposal_received(T, first)
    assert decision.reply == BootstrapProposalReply(True, "x", first.configuration, "")
    assert of(decision.effects, StoreRecord)[0].record == BootstrapRecord(first)
    bootstrap.stored(T, bootstrap.record)
    refusal = bootstrap.proposal_received(T + 1, second)
    assert not refusal.reply.accepted
    assert refusal.reply.reason.startswith(REJECTED)
    assert of(refusal.effects, StoreRecord)[0].record == BootstrapRecord(first, ("y",))
    assert bootstrap.proposal_received(T + 2, first).reply.accepted, "the same again is fine"


def test_a_rejected_proposal_is_never_accepted_even_after_a_restart() -> None:
    bootstrap = machine("b", BootstrapRecord(None, ("x",)))
    bootstrap.start(T)
    decision = bootstrap.proposal_received(T, proposal("x", "a", "b", "c"))
    assert decision.reply.reason.startswith(REJECTED)
    assert bootstrap.record.accepted is None


def test_a_proposal_is_abandoned_only_after_a_rejection() -> None:
    bootstrap, accepted = proposed()
    b, c = of(bootstrap.stored(T + 1, bootstrap.record), SendProposal)
    bootstrap.proposal_answered(T + 1.1, b, BootstrapProposalReply(False, "", b"", "not now"))
    bootstrap.proposal_answered(T + 1.1, b, None)
    assert bootstrap.record.accepted == accepted
    effects = bootstrap.proposal_answered(
        T + 1.2, c, BootstrapProposalReply(False, "", b"", REJECTED + "other")
    )
    assert of(effects, StoreRecord)[0].record == BootstrapRecord(None, ("fresh",))
    assert bootstrap.cluster_id == "fresh", "until that is durable"
    bootstrap.stored(T + 1.3, bootstrap.record)
    assert bootstrap.cluster_id == ""


def test_a_late_rejection_of_an_old_proposal_does_not_touch_the_new_one() -> None:
    bootstrap = machine("b")
    bootstrap.start(T)
    bootstrap.proposal_received(T, proposal("x", "a", "b", "c"))
    bootstrap.stored(T, bootstrap.record)
    old = SendProposal("c", C, proposal("w", "a", "b", "c"))
    bootstrap.proposal_answered(
        T + 1, old, BootstrapProposalReply(False, "", b"", REJECTED + "old")
    )
    assert bootstrap.record.accepted == proposal("x", "a", "b", "c")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (replace(proposal("x", "a", "b", "c"), cluster_name="other"), "'other'"),
        (proposal("x", "a", "c", "d"), "not a member"),
        (proposal("x", "b", "a", "c"), "sorted"),
        (replace(proposal("x", "a", "b", "c"), proposer="c"), "sorted"),
        (proposal("x", "a", "b"), "expects 3"),
        (replace(proposal("x", "a", "b", "c"), configuration=b"\xc1"), "not a configuration"),
        (replace(proposal("x", "a", "b", "c"), cluster_id=""), "not a member"),
        (
            replace(
                proposal("x", "a", "b", "c"),
                configuration=encode_configuration(
                    Configuration(
                        (
                            Server("a", A),
                            Server("b", B, Suffrage.NONVOTER),
                            Server("c", C),
                        )
                    )
                ),
            ),
            "voters",
        ),
        (
            replace(
                proposal("x", "a", "b", "c"),
                configuration=encode_configuration(
                    Configuration((Server("a", "nowhere"), Server("b", B), Server("c", C)))
                ),
            ),
            "the port is missing",
        ),
    ],
)
def test_invalid_proposals_are_refused_without_a_rejection(
    request_: BootstrapProposal, reason: str
) -> None:
    bootstrap = machine("b")
    bootstrap.start(T)
    decision = bootstrap.proposal_received(T, request_)
    assert not decision.reply.accepted
    assert reason in decision.reply.reason
    assert not decision.reply.reason.startswith(REJECTED)
    assert bootstrap.record == EMPTY_RECORD


def test_an_acceptance_from_before_a_restart_is_pursued() -> None:
    held = proposal("x", "a", "b", "c")
    bootstrap = machine("c", BootstrapRecord(held))
    effects = bootstrap.start(T)
    assert [o.server_id for o in of(effects, SendProposal)] == ["b"], "a proposed, so it accepted"
    assert {str(p.contact) for p in of(effects, Probe)} == {A, B}
    assert of(show(bootstrap, T + 0.1, reply("b", cluster_id="x")), StartCluster)


def test_proposals_go_to_the_current_address() -> None:
    bootstrap = machine("c", BootstrapRecord(proposal("x", "a", "b", "c")))
    bootstrap.start(T)
    bootstrap.contacts_listed(T, [contact_at(D)])
    bootstrap.probe_failed(T, contact_at(B), "refused")
    show(bootstrap, T + 0.1, reply("b", address=D))
    bootstrap.proposal_answered(T + 0.2, SendProposal("b", B, proposal("x", "a", "b", "c")), None)
    (offer,) = of(bootstrap.tick(T + 0.6), SendProposal)
    assert (offer.server_id, offer.address) == ("b", D)


def test_the_accepted_proposal_is_shown_on_request() -> None:
    held = proposal("x", "a", "b", "c")
    ask = BootstrapProposal("c", "", b"", "c")
    bootstrap = machine("b", BootstrapRecord(held))
    bootstrap.start(T)
    assert bootstrap.proposal_received(T, ask).reply == BootstrapProposalReply(
        True, "x", held.configuration, ""
    )
    assert not machine("b").proposal_received(T, ask).reply.accepted


def test_an_uninitialised_member_fetches_the_proposal_it_sees() -> None:
    bootstrap = ready("c")
    effects = show(bootstrap, T + 0.1, reply("b", cluster_id="x"))
    (ask,) = of(effects, SendProposal)
    assert (ask.server_id, ask.request.configuration) == ("b", b"")
    held = proposal("x", "a", "b", "c")
    shown = BootstrapProposalReply(True, "x", held.configuration, "")
    effects = bootstrap.proposal_answered(T + 0.2, ask, shown)
    assert of(effects, StoreRecord)[0].record.accepted == held


def test_a_node_outside_a_seen_proposal_waits_and_then_joins() -> None:
    bootstrap = ready("d")
    (ask,) = of(show(bootstrap, T + 0.1, reply("b", cluster_id="x")), SendProposal)
    shown = BootstrapProposalReply(True, "x", proposal("x", "a", "b", "c").configuration, "")
    bootstrap.proposal_answered(T + 0.2, ask, shown)
    assert not of(bootstrap.tick(T + 5), SendProposal)
    assert "waiting while other nodes bootstrap cluster x" in bootstrap.waiting(T + 5)
    started = reply("b", cluster_id="x", initialised=True, leader_address=C)
    (join,) = of(show(bootstrap, T + 6, started), SendJoinRequest)
    assert (join.address, join.cluster_id) == (C, "x")


@pytest.mark.parametrize("shown", [b"", b"\xc1", encode_configuration(Configuration(()))])
def test_a_malformed_shown_proposal_is_ignored(shown: bytes) -> None:
    bootstrap = ready("c")
    (ask,) = of(show(bootstrap, T + 0.1, reply("b", cluster_id="x")), SendProposal)
    bootstrap.proposal_answered(T + 0.2, ask, BootstrapProposalReply(True, "x", shown, ""))
    assert bootstrap.record == EMPTY_RECORD


def test_an_abandoned_proposal_of_another_node_does_not_delay_ours() -> None:
    bootstrap = ready()
    show(bootstrap, T + 0.1, reply("b", cluster_id="x"))
    assert "bootstrap cluster x" in bootstrap.waiting(T + 1)
    show(bootstrap, T + 1, reply("b"), reply("c"))
    bootstrap.tick(T + 1.4)
    assert of(show(bootstrap, T + 1.5, reply("b"), reply("c")), StoreRecord)


def test_a_lost_proposal_is_rejected_before_it_is_forgotten() -> None:
    bootstrap = ready()
    show(bootstrap, T + 0.1, reply("d", cluster_id="x"))
    bootstrap.tick(T + DEFAULT_TIMING.proposal_patience)
    assert bootstrap.record == EMPTY_RECORD
    (store,) = of(bootstrap.tick(T + DEFAULT_TIMING.proposal_patience + 1), StoreRecord)
    assert store.record == BootstrapRecord(None, ("x",))


# -- joining ---------------------------------------------------------------------------------


def test_a_cluster_once_seen_means_join_only_for_this_process() -> None:
    bootstrap = ready()
    assert of(
        show(bootstrap, T + 0.1, reply("c", cluster_id="x", initialised=True)), SendJoinRequest
    )
    bootstrap.join_failed(T + 0.2, C, "no leader")
    bootstrap.probe_failed(T + 0.3, contact_at(C), "refused")
    bootstrap.contacts_listed(T + 0.4, map(contact_at, (A, B, D)))
    for step in range(1, 100):
        now = T + step * 0.5
        effects = [*bootstrap.tick(now), *show(bootstrap, now, reply("b"), reply("d"))]
        assert not of(effects, StoreRecord)
    assert "none of its members answers" in bootstrap.waiting(T + 50)
    decision = bootstrap.proposal_received(T + 51, proposal("y", "a", "b", "d"))
    assert decision.reply.reason.startswith(REJECTED)


def test_a_member_neither_probes_nor_proposes_nor_accepts() -> None:
    bootstrap = ready()
    bootstrap.became_member(T + 0.1, "x")
    assert (bootstrap.cluster_id, bootstrap.initialised) == ("x", True)
    assert bootstrap.tick(T + 10) == []
    decision = bootstrap.proposal_received(T + 11, proposal("y", "a", "b", "c"))
    assert decision.reply.reason.startswith(REJECTED)
    assert decision.effects == []
    assert bootstrap.proposal_received(T + 12, proposal("x", "a", "b", "c")).reply.accepted
