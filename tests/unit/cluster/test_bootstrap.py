"""The forming rules, one by one, on a single machine driven by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from braft_core.abc import Contact
from braft_core.cluster.addresses import contact_at
from braft_core.cluster.bootstrap import FOUNDING_PATIENCE, Forming
from braft_core.cluster.bootstrap_effects import (
    AskToJoin,
    Effect,
    Founded,
    ListDiscovery,
    OfferFounding,
    Probe,
    StoreFounding,
)
from braft_core.cluster.bootstrap_proposal import VETO
from braft_core.cluster.discovery_view import FormingFacts
from braft_core.cluster.record import NOTHING_FOUNDED, FoundingRecord
from braft_core.peer import FoundReply, FoundRequest, ProbeReply
from braft_core.raft.types import Configuration, Server, Suffrage, encode_configuration

A, B, C, D = (f"10.0.0.{i}:15000" for i in range(1, 5))
WHERE = {"a": A, "b": B, "c": C, "d": D}
T = 100.0


def reply(server_id: str, **changes: Any) -> ProbeReply:
    address = WHERE.get(server_id, A)
    return replace(ProbeReply(server_id, "c", "", 3, False, "", "", address), **changes)


def founding(cluster_id: str, *ids: str) -> FoundRequest:
    servers = tuple(Server(i, WHERE[i]) for i in ids)
    return FoundRequest("c", cluster_id, encode_configuration(Configuration(servers)), ids[0])


def machine(
    server_id: str = "a", record: FoundingRecord = NOTHING_FOUNDED, **facts: Any
) -> Forming:
    own = FormingFacts(
        **{
            "server_id": server_id,
            "address": WHERE[server_id],
            "cluster_name": "c",
            "expect": 3,
            **facts,
        }
    )
    return Forming(own, record, lambda: "fresh")


def of(effects: Sequence[Effect], kind: type) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]


def show(forming: Forming, now: float, *replies: ProbeReply, at: str = "") -> list[Effect]:
    """Answers from each node's own address (or from ``at``), discovery listing exactly these."""
    effects: list[Effect] = []
    for r in replies:
        effects += forming.probe_answered(now, contact_at(at or r.address), r)
    return effects


def ready(server_id: str = "a", **facts: Any) -> Forming:
    """A machine whose discovery lists a, b and c, which have just answered at ``T``."""
    forming = machine(server_id, **facts)
    forming.start(T)
    forming.contacts_listed(T, map(contact_at, (A, B, C)))
    for i in "abc":
        expect = facts.get("expect", 3)
        forming.probe_answered(T, contact_at(WHERE[i]), reply(i, expect=expect))
    return forming


def proposed(**facts: Any) -> tuple[Forming, FoundRequest]:
    """A machine that has proposed, before its promise is durable."""
    forming = ready(**facts)
    forming.tick(T + 0.35)
    effects = show(forming, T + 0.36, reply("b"), reply("c"))
    (store,) = of(effects, StoreFounding)
    assert store.record.accepted is not None
    return forming, store.record.accepted


def test_discovery_is_listed_at_once_and_then_every_second() -> None:
    forming = machine()
    assert of(forming.start(T), ListDiscovery)
    assert not of(forming.tick(T + 0.5), ListDiscovery), "the first listing is under way"
    forming.contacts_listed(T + 0.6, [])
    assert not of(forming.tick(T + 1.5), ListDiscovery)
    assert of(forming.tick(T + 1.6), ListDiscovery)
    forming.listing_failed(T + 1.7, "down")
    assert of(forming.tick(T + 2.7), ListDiscovery)


def test_every_contact_is_probed_and_silent_ones_more_often() -> None:
    forming = machine()
    forming.start(T)
    contacts = [contact_at(A), contact_at(B)]
    assert [p.contact for p in of(forming.contacts_listed(T, contacts), Probe)] == contacts
    forming.probe_failed(T + 0.01, contacts[0], "refused")
    forming.probe_answered(T + 0.01, contacts[1], reply("b"))
    assert [p.contact for p in of(forming.tick(T + 0.27), Probe)] == contacts[:1]
    assert [p.contact for p in of(forming.tick(T + 0.52), Probe)] == contacts[1:]
    assert not of(forming.tick(T + 0.6), Probe), "both are awaited"


def test_the_smallest_id_proposes_after_the_margin_and_one_more_probe() -> None:
    forming = ready()
    assert not of(forming.tick(T + 0.29), StoreFounding)
    effects = forming.tick(T + 0.31)
    assert {str(p.contact) for p in of(effects, Probe)} == {B, C}
    assert not of(show(forming, T + 0.32, reply("b")), StoreFounding)
    (store,) = of(show(forming, T + 0.33, reply("c")), StoreFounding)
    assert store.record.accepted == founding("fresh", "a", "b", "c")


def test_the_random_sleep_is_added_to_the_margin() -> None:
    forming = ready(sleep=2.0)
    forming.tick(T + 2.2)
    assert not of(show(forming, T + 2.21, reply("b"), reply("c")), StoreFounding)
    forming.tick(T + 2.31)
    assert of(show(forming, T + 2.32, reply("b"), reply("c")), StoreFounding)


def test_where_the_number_is_a_guess_the_others_are_listened_for_first() -> None:
    forming = ready(expect=1, listen=1.5)
    assert not of(forming.tick(T + 1.4), StoreFounding)
    assert "waiting until nothing changes" in forming.waiting(T + 1.4)
    # A change late in that time restarts the margin, and not the whole of it.
    forming.contacts_listed(T + 1.4, map(contact_at, (A, B)))
    assert not of(forming.tick(T + 1.6), StoreFounding)
    assert of(forming.tick(T + 1.71), StoreFounding)


def test_a_member_that_dies_before_the_proposal_stops_it() -> None:
    forming = ready()
    forming.tick(T + 0.31)
    show(forming, T + 0.32, reply("b"))
    assert not of(forming.probe_failed(T + 0.33, contact_at(C), "refused"), StoreFounding)
    assert "2 of 3 nodes are here" in forming.waiting(T + 1)
    assert f"{C} (refused)" in forming.waiting(T + 1)


def test_others_wait_for_the_smallest_id() -> None:
    forming = ready("b")
    for step in range(1, 20):
        now = T + step * 0.5
        assert not of(forming.tick(now), StoreFounding)
        show(forming, now, reply("a"), reply("c"))
    assert f"waiting for {A}" in forming.waiting(T + 10)


def test_exactly_the_smallest_expect_ids_are_chosen() -> None:
    forming = ready(expect=2)
    forming.tick(T + 0.31)
    effects = show(forming, T + 0.32, reply("b", expect=2), reply("c", expect=2))
    (store,) = of(effects, StoreFounding)
    assert store.record.accepted == founding("fresh", "a", "b")


def test_one_expected_node_founds_alone_after_one_still_round() -> None:
    forming = machine(expect=1)
    forming.start(T)
    forming.contacts_listed(T, [])
    assert not of(forming.tick(T + 0.2), StoreFounding)
    (store,) = of(forming.tick(T + 0.31), StoreFounding)
    (founded,) = of(forming.stored(T + 0.32, store.record), Founded)
    assert founded.configuration.ids == ("a",)


def test_one_expected_node_does_not_found_beside_a_cluster() -> None:
    forming = machine(expect=1)
    forming.start(T)
    forming.contacts_listed(T, [contact_at(B)])
    seen = reply("b", cluster_id="x", initialised=True, voters=1)
    assert of(show(forming, T + 0.1, seen), AskToJoin)
    for step in range(1, 50):
        assert not of(forming.tick(T + step * 0.2), StoreFounding)


def test_without_discovery_one_node_founds_at_once_and_more_never() -> None:
    assert of(machine(expect=1, has_discovery=False).start(T), StoreFounding)
    pair = machine(expect=2, has_discovery=False)
    assert not of(pair.start(T), StoreFounding)
    assert not pair.tick(T + 60)
    assert "no discovery is configured" in pair.waiting(T + 60)


def test_an_error_keeps_the_last_set_and_restarts_the_margin() -> None:
    forming = ready()
    forming.listing_failed(T + 0.2, "API down")
    assert [str(c) for c in forming.survey.contacts] == [A, B, C]
    forming.tick(T + 5)
    assert not of(show(forming, T + 5, reply("b"), reply("c")), StoreFounding)
    assert "discovery failed: API down" in forming.waiting(T + 5)
    forming.contacts_listed(T + 6, map(contact_at, (A, B, C)))
    forming.tick(T + 6.29)
    assert not of(show(forming, T + 6.29, reply("b"), reply("c")), StoreFounding)
    forming.tick(T + 6.31)
    assert of(show(forming, T + 6.32, reply("b"), reply("c")), StoreFounding)


def test_a_set_that_changes_restarts_the_margin() -> None:
    forming = ready()
    forming.contacts_listed(T + 0.2, map(contact_at, (A, B, C, D)))
    forming.probe_failed(T + 0.2, contact_at(D), "refused")
    forming.tick(T + 0.4)
    assert not of(show(forming, T + 0.4, reply("b"), reply("c")), StoreFounding)
    forming.tick(T + 0.51)
    assert of(show(forming, T + 0.52, reply("b"), reply("c")), StoreFounding), "d does not block"


def test_an_unprobed_contact_holds_the_founding() -> None:
    forming = ready()
    forming.contacts_listed(T + 0.1, map(contact_at, (A, B, C, D)))
    forming.tick(T + 0.5)
    assert not of(show(forming, T + 0.5, reply("b"), reply("c")), StoreFounding)
    assert "first answers" in forming.waiting(T + 0.5)


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
    forming = ready()
    show(forming, T + 0.1, odd, at=C)
    for step in range(1, 10):
        now = T + step * 0.4
        assert not of(forming.tick(now), StoreFounding)
        assert not of(show(forming, now, reply("b")), StoreFounding)
        assert not of(show(forming, now, odd, at=C), StoreFounding)
    assert sentence in forming.waiting(T + 4)


def test_nodes_of_another_name_do_not_count_but_are_shown() -> None:
    forming = ready()
    show(forming, T + 0.1, reply("c", cluster_name="other"))
    forming.tick(T + 1)
    assert "2 of 3" in forming.waiting(T + 1)
    assert f"{C} is of another cluster, 'other'" in forming.waiting(T + 1)


def test_one_node_behind_several_contacts_counts_once() -> None:
    forming = machine("b", expect=2)
    forming.start(T)
    ports = [Contact("10.0.0.2", 15000), Contact("10.0.0.2", 15001), Contact("host-b", 15000)]
    forming.contacts_listed(T, ports)
    for contact in ports:
        forming.probe_answered(T, contact, reply("b", expect=2))
    forming.tick(T + 2)
    assert "1 of 2 nodes are here" in forming.waiting(T + 2)


def test_waiting_says_since_when() -> None:
    forming = machine()
    forming.start(T)
    assert forming.waiting(T + 42).startswith("no cluster yet after 42 s: ")
    forming.became_member(T + 43, "x")
    assert forming.waiting(T + 43) == ""


# -- promises --------------------------------------------------------------------------------


def test_nothing_is_offered_before_the_own_promise_is_durable() -> None:
    forming, founded = proposed()
    assert forming.cluster_id == ""
    assert not of(forming.tick(T + 1), OfferFounding)
    offers = of(forming.stored(T + 1, forming.record), OfferFounding)
    assert [(o.server_id, o.address, o.request) for o in offers] == [
        ("b", B, founded),
        ("c", C, founded),
    ]
    assert forming.cluster_id == "fresh"


def test_raft_starts_only_when_all_members_have_shown_their_promise() -> None:
    forming, founded = proposed()
    offers = of(forming.stored(T + 1, forming.record), OfferFounding)
    yes = FoundReply(True, "fresh", founded.configuration, "")
    show(forming, T + 1.005, reply("b"), reply("c"))
    for offer in offers:
        effects = forming.found_answered(T + 1.01, offer, yes)
        assert offer.address in {str(p.contact) for p in of(effects, Probe)}
        assert not of(effects, Founded), "a reply does not say who sent it"
    assert not of(show(forming, T + 1.02, reply("b", cluster_id="fresh")), Founded)
    (done,) = of(show(forming, T + 1.03, reply("c", cluster_id="fresh")), Founded)
    assert (done.cluster_id, done.configuration.ids) == ("fresh", ("a", "b", "c"))
    assert not of(forming.tick(T + 1.1), Founded), "once"


def test_a_probe_under_way_is_followed_by_another_when_there_is_news() -> None:
    forming, founded = proposed()
    offer, _ = of(forming.stored(T + 1, forming.record), OfferFounding)
    yes = FoundReply(True, "fresh", founded.configuration, "")
    assert not of(forming.found_answered(T + 1.01, offer, yes), Probe)
    effects = show(forming, T + 1.02, reply("b"))
    assert [str(p.contact) for p in of(effects, Probe)] == [B]


def test_one_member_that_has_started_is_proof_for_all() -> None:
    forming, _ = proposed()
    forming.stored(T + 1, forming.record)
    assert of(show(forming, T + 1.1, reply("b", cluster_id="fresh", initialised=True)), Founded)


def test_a_start_that_failed_is_tried_again() -> None:
    forming, _ = proposed()
    forming.stored(T + 1, forming.record)
    show(forming, T + 1.1, reply("b", cluster_id="fresh", initialised=True))
    assert not of(forming.failed(T + 1.2, "disk full"), Founded)
    assert "disk full" in forming.waiting(T + 2)
    assert of(forming.tick(T + 2.3), Founded)


def test_a_store_that_failed_is_tried_again() -> None:
    forming, _ = proposed()
    assert not of(forming.failed(T + 1, "disk full"), StoreFounding)
    assert not of(forming.tick(T + 1.5), StoreFounding)
    assert of(forming.tick(T + 2.1), StoreFounding)


def test_unanswered_offers_are_repeated() -> None:
    forming, _ = proposed()
    offer, _other = of(forming.stored(T + 1, forming.record), OfferFounding)
    assert not of(forming.tick(T + 1.5), OfferFounding), "under way"
    forming.found_failed(T + 1.6, offer, "timeout")
    assert not of(forming.tick(T + 1.7), OfferFounding)
    assert [o.server_id for o in of(forming.tick(T + 1.9), OfferFounding)] == ["b"]
    assert "b at 10.0.0.2:15000" in forming.waiting(T + 2)
    assert "empty data directories" in forming.waiting(T + 2)


def test_at_most_one_founding_is_promised() -> None:
    forming = machine("b")
    forming.start(T)
    first, second = founding("x", "a", "b", "c"), founding("y", "b", "c", "d")
    decision = forming.found_requested(T, first)
    assert decision.reply == FoundReply(True, "x", first.configuration, "")
    assert of(decision.effects, StoreFounding)[0].record == FoundingRecord(first)
    forming.stored(T, forming.record)
    refusal = forming.found_requested(T + 1, second)
    assert not refusal.reply.accepted
    assert refusal.reply.reason.startswith(VETO)
    assert of(refusal.effects, StoreFounding)[0].record == FoundingRecord(first, ("y",))
    assert forming.found_requested(T + 2, first).reply.accepted, "the same again is fine"


def test_a_vetoed_founding_is_never_promised_even_in_the_next_life() -> None:
    forming = machine("b", FoundingRecord(None, ("x",)))
    forming.start(T)
    decision = forming.found_requested(T, founding("x", "a", "b", "c"))
    assert decision.reply.reason.startswith(VETO)
    assert forming.record.accepted is None


def test_a_promise_is_given_up_only_on_a_veto() -> None:
    forming, founded = proposed()
    b, c = of(forming.stored(T + 1, forming.record), OfferFounding)
    forming.found_answered(T + 1.1, b, FoundReply(False, "", b"", "not now"))
    forming.found_failed(T + 1.1, b, "timeout")
    assert forming.record.accepted == founded
    effects = forming.found_answered(T + 1.2, c, FoundReply(False, "", b"", VETO + "other"))
    assert of(effects, StoreFounding)[0].record == FoundingRecord(None, ("fresh",))
    assert forming.cluster_id == "fresh", "until that is durable"
    forming.stored(T + 1.3, forming.record)
    assert forming.cluster_id == ""


def test_a_late_veto_of_an_old_founding_does_not_touch_the_new_one() -> None:
    forming = machine("b")
    forming.start(T)
    forming.found_requested(T, founding("x", "a", "b", "c"))
    forming.stored(T, forming.record)
    old = OfferFounding("c", C, founding("w", "a", "b", "c"))
    forming.found_answered(T + 1, old, FoundReply(False, "", b"", VETO + "old"))
    assert forming.record.accepted == founding("x", "a", "b", "c")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (replace(founding("x", "a", "b", "c"), cluster_name="other"), "'other'"),
        (founding("x", "a", "c", "d"), "not a member"),
        (founding("x", "b", "a", "c"), "sorted"),
        (replace(founding("x", "a", "b", "c"), proposer="c"), "sorted"),
        (founding("x", "a", "b"), "expects 3"),
        (replace(founding("x", "a", "b", "c"), configuration=b"\xc1"), "not a configuration"),
        (replace(founding("x", "a", "b", "c"), cluster_id=""), "not a member"),
        (
            replace(
                founding("x", "a", "b", "c"),
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
                founding("x", "a", "b", "c"),
                configuration=encode_configuration(
                    Configuration((Server("a", "nowhere"), Server("b", B), Server("c", C)))
                ),
            ),
            "the port is missing",
        ),
    ],
)
def test_wrong_offers_are_refused_without_a_veto(request_: FoundRequest, reason: str) -> None:
    forming = machine("b")
    forming.start(T)
    decision = forming.found_requested(T, request_)
    assert not decision.reply.accepted
    assert reason in decision.reply.reason
    assert not decision.reply.reason.startswith(VETO)
    assert forming.record == NOTHING_FOUNDED


def test_a_promise_from_a_former_life_is_pursued_not_forgotten() -> None:
    held = founding("x", "a", "b", "c")
    forming = machine("c", FoundingRecord(held))
    effects = forming.start(T)
    assert [o.server_id for o in of(effects, OfferFounding)] == ["b"], "a proposed, so it promised"
    assert {str(p.contact) for p in of(effects, Probe)} == {A, B}
    assert of(show(forming, T + 0.1, reply("b", cluster_id="x")), Founded)


def test_offers_go_where_the_member_is_now() -> None:
    forming = machine("c", FoundingRecord(founding("x", "a", "b", "c")))
    forming.start(T)
    forming.contacts_listed(T, [contact_at(D)])
    forming.probe_failed(T, contact_at(B), "refused")
    show(forming, T + 0.1, reply("b", address=D))
    forming.found_failed(T + 0.2, OfferFounding("b", B, founding("x", "a", "b", "c")), "refused")
    (offer,) = of(forming.tick(T + 0.6), OfferFounding)
    assert (offer.server_id, offer.address) == ("b", D)


def test_the_promised_founding_is_shown_to_who_asks() -> None:
    held = founding("x", "a", "b", "c")
    ask = FoundRequest("c", "", b"", "c")
    forming = machine("b", FoundingRecord(held))
    forming.start(T)
    assert forming.found_requested(T, ask).reply == FoundReply(True, "x", held.configuration, "")
    assert not machine("b").found_requested(T, ask).reply.accepted


def test_a_blank_member_fetches_the_founding_it_sees() -> None:
    forming = ready("c")
    effects = show(forming, T + 0.1, reply("b", cluster_id="x"))
    (ask,) = of(effects, OfferFounding)
    assert (ask.server_id, ask.request.configuration) == ("b", b"")
    held = founding("x", "a", "b", "c")
    shown = FoundReply(True, "x", held.configuration, "")
    effects = forming.found_answered(T + 0.2, ask, shown)
    assert of(effects, StoreFounding)[0].record.accepted == held


def test_who_is_no_member_of_a_seen_founding_waits_and_then_joins() -> None:
    forming = ready("d")
    (ask,) = of(show(forming, T + 0.1, reply("b", cluster_id="x")), OfferFounding)
    shown = FoundReply(True, "x", founding("x", "a", "b", "c").configuration, "")
    forming.found_answered(T + 0.2, ask, shown)
    assert not of(forming.tick(T + 5), OfferFounding)
    assert "waiting while other nodes found cluster x" in forming.waiting(T + 5)
    started = reply("b", cluster_id="x", initialised=True, leader_address=C)
    (join,) = of(show(forming, T + 6, started), AskToJoin)
    assert (join.address, join.cluster_id) == (C, "x")


@pytest.mark.parametrize("shown", [b"", b"\xc1", encode_configuration(Configuration(()))])
def test_a_founding_shown_badly_is_ignored(shown: bytes) -> None:
    forming = ready("c")
    (ask,) = of(show(forming, T + 0.1, reply("b", cluster_id="x")), OfferFounding)
    forming.found_answered(T + 0.2, ask, FoundReply(True, "x", shown, ""))
    assert forming.record == NOTHING_FOUNDED


def test_a_seen_founding_that_is_given_up_binds_nobody() -> None:
    forming = ready()
    show(forming, T + 0.1, reply("b", cluster_id="x"))
    assert "found cluster x" in forming.waiting(T + 1)
    show(forming, T + 1, reply("b"), reply("c"))
    forming.tick(T + 1.4)
    assert of(show(forming, T + 1.5, reply("b"), reply("c")), StoreFounding)


def test_a_seen_founding_whose_holders_are_gone_is_vetoed_before_it_is_forgotten() -> None:
    forming = ready()
    show(forming, T + 0.1, reply("d", cluster_id="x"))
    forming.tick(T + FOUNDING_PATIENCE)
    assert forming.record == NOTHING_FOUNDED
    (store,) = of(forming.tick(T + FOUNDING_PATIENCE + 1), StoreFounding)
    assert store.record == FoundingRecord(None, ("x",))


# -- joining ---------------------------------------------------------------------------------


def test_a_cluster_once_seen_means_join_only_for_this_process() -> None:
    forming = ready()
    assert of(show(forming, T + 0.1, reply("c", cluster_id="x", initialised=True)), AskToJoin)
    forming.join_failed(T + 0.2, C, "no leader")
    forming.probe_failed(T + 0.3, contact_at(C), "refused")
    forming.contacts_listed(T + 0.4, map(contact_at, (A, B, D)))
    for step in range(1, 100):
        now = T + step * 0.5
        effects = [*forming.tick(now), *show(forming, now, reply("b"), reply("d"))]
        assert not of(effects, StoreFounding)
    assert "none of its members answers" in forming.waiting(T + 50)
    veto = forming.found_requested(T + 51, founding("y", "a", "b", "d"))
    assert veto.reply.reason.startswith(VETO)


def test_a_member_neither_probes_nor_founds_nor_promises() -> None:
    forming = ready()
    forming.became_member(T + 0.1, "x")
    assert (forming.cluster_id, forming.initialised) == ("x", True)
    assert forming.tick(T + 10) == []
    decision = forming.found_requested(T + 11, founding("y", "a", "b", "c"))
    assert decision.reply.reason.startswith(VETO)
    assert decision.effects == []
    assert forming.found_requested(T + 12, founding("x", "a", "b", "c")).reply.accepted
