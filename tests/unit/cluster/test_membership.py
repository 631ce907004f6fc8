"""Whole nodes against each other: bootstrap, joining, moving, losing the leader."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from braft_core.abc import Contact
from braft_core.cluster.bootstrap_record import decode_record
from braft_core.errors import Conflict, NotReady, StorageFull, WrongCluster
from braft_core.peer import (
    AnnounceReply,
    AnnounceRequest,
    BootstrapProposal,
    DetailsRequest,
    JoinRequest,
    ProbeReply,
    ProbeRequest,
)
from braft_core.raft.types import Configuration, Server, Suffrage, encode_configuration

ADDRESSES = ["10.0.0.1:15000", "10.0.0.2:15000", "10.0.0.3:15000"]


async def three(net: Any, wait: Any, **settings: Any) -> list[Any]:
    """Start a cluster of a, b and c."""
    net.addresses = list(ADDRESSES)
    hosts = [net.host(i, a, expect=3, **settings) for i, a in zip("abc", ADDRESSES, strict=True)]
    for host in hosts:
        await host.boot()
    await wait(lambda: all(h.member_of and not h.membership.waiting for h in hosts))
    return hosts


def test_three_nodes_bootstrap_one_cluster_quickly(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        net.addresses = list(ADDRESSES)
        hosts = [net.host(i, a, expect=3) for i, a in zip("abc", ADDRESSES, strict=True)]
        await hosts[2].boot()
        await hosts[1].boot()
        await asyncio.sleep(3.3)
        assert "2 of 3 nodes are here" in hosts[1].membership.waiting
        assert "10.0.0.1:15000" in hosts[1].membership.waiting
        await hosts[0].boot()
        took = await wait(lambda: all(h.member_of for h in hosts))
        assert took < 1.0
        assert {h.member_of for h in hosts} == {"cluster-1"}
        assert net.tables["cluster-1"].configuration.ids == ("a", "b", "c")
        assert [str(c) for c in hosts[0].membership.contacts] == ADDRESSES
        await wait(lambda: not any(h.membership.waiting for h in hosts))
        assert hosts[1].book == {"a": ADDRESSES[0], "c": ADDRESSES[2]}

    play(scenario)


def test_a_cluster_that_was_found_by_default_is_named_in_log_and_notes(
    play: Any, wait: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(net: Any) -> None:
        chosen, default, other = await three(net, wait, default_discovery="")
        assert not any(host.membership.notes for host in (chosen, default, other))
        await default.halt()
        default._settings = replace(default.settings, default_discovery="mdns://_braft._tcp")
        await default.boot()
        await wait(lambda: "discovery" in default.membership.notes)
        note = default.membership.notes["discovery"]
        for part in ("mdns://_braft._tcp", "cluster-1", "'c'", ADDRESSES[0], ADDRESSES[2]):
            assert part in note
        await wait(lambda: note in caplog.messages)
        await asyncio.sleep(10)
        assert caplog.messages.count(note) == 1
        assert not chosen.membership.notes

    play(scenario)


def test_an_address_outlives_a_server_that_leaves_and_returns_within_a_tick(
    play: Any, wait: Any
) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait)
        table, leader, moved = net.tables["cluster-1"], hosts[0], hosts[1]
        whole = table.configuration
        without = Configuration(tuple(s for s in whole.servers if s.id != "b"))
        leader.membership._member._learn("b", "10.9.9.9:15000")
        assert leader.book["b"] == "10.9.9.9:15000"
        # As the runtime does when two configurations arrive together.
        leader.membership.use_configuration(without)
        del leader.book["b"]
        leader.membership.use_configuration(whole)
        leader.book["b"] = whole.get("b").address
        leader.membership._member._learn("b", "10.9.9.9:15000")
        assert leader.book["b"] == "10.9.9.9:15000"
        assert moved.member_of

    play(scenario)


def test_a_node_without_discovery_bootstraps_alone_at_once(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        host = net.host("a", ADDRESSES[0], expect=1)
        await host.boot(discovery=False)
        assert await wait(lambda: host.member_of) < 0.1

    play(scenario)


def test_newcomers_join_and_get_their_vote_unless_they_want_none(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        await three(net, wait)
        table = net.tables["cluster-1"]
        net.addresses += ["10.0.0.4:15000", "10.0.0.5:15000"]
        new = net.host("d", "10.0.0.4:15000", expect=3)
        mute = net.host("e", "10.0.0.5:15000", expect=3, voter=False)
        await new.boot()
        await mute.boot()
        assert await wait(lambda: table.configuration.is_voter("d") and mute.member_of) < 4
        await asyncio.sleep(5)
        assert table.configuration.get("e").suffrage == Suffrage.NONVOTER
        kinds = [(kind, server_id) for kind, server_id, _ in table.changes]
        assert kinds.count(("add_nonvoter", "d")) == 1
        assert kinds.count(("promote", "d")) == 1
        assert new.book["a"] == ADDRESSES[0]

    play(scenario)


def test_a_learner_gets_its_vote_although_the_leader_that_took_it_in_died(
    play: Any, wait: Any
) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait)
        table = net.tables["cluster-1"]
        net.addresses.append("10.0.0.4:15000")
        new = net.host("d", "10.0.0.4:15000", expect=3)
        await new.boot()
        await wait(lambda: new.member_of)
        await hosts[0].halt()
        await wait(lambda: table.configuration.is_voter("d"))

    play(scenario)


def test_a_voter_that_lost_its_data_reports_how_to_rejoin(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait)
        await hosts[2].halt()
        hosts[2].disk, hosts[2].member_of = None, ""
        await hosts[2].boot()
        await asyncio.sleep(3)
        assert not hosts[2].member_of
        assert "braft members remove c" in hosts[2].membership.waiting
        request = JoinRequest("c", ADDRESSES[2], "c", "", True)
        with pytest.raises(Conflict):
            await hosts[2].call(ADDRESSES[0], request, 1.0)

    play(scenario)


def test_all_members_come_back_with_new_addresses_at_once(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait)
        for host in hosts:
            await host.halt()
        net.addresses = ["10.1.0.7:15000", "10.1.0.8:15000", "10.1.0.9:15000"]
        for host, address in zip(hosts, net.addresses, strict=True):
            host.address = address
            host.book.clear()
            await host.boot()
        table = net.tables["cluster-1"]
        took = await wait(
            lambda: {s.address for s in table.configuration.servers} == set(net.addresses)
        )
        assert took < 5
        assert table.configuration.voters
        assert len(table.configuration.voters) == 3
        await wait(lambda: not any(h.membership.waiting for h in hosts))

    play(scenario)


@pytest.mark.parametrize("which", [0, 2], ids=["the leader", "a follower"])
def test_a_member_that_moves_while_it_runs_is_soon_known_to_be_there(
    which: int, play: Any, wait: Any
) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait)
        moving, table = hosts[which], net.tables["cluster-1"]
        for address in ("10.7.7.7:15000", "10.8.8.8:15000"):
            moving.move(address)
            took = await wait(
                lambda address=address: table.configuration.get(moving.server_id).address == address
            )
            assert took < 1.5
            others = [host for host in hosts if host is not moving]
            await wait(lambda others=others: all(not h.membership.notes for h in others), 1)
            assert {host.book[moving.server_id] for host in others} == {address}
            assert moving.listing.context.ip == address.partition(":")[0]
        assert not any(host.membership.waiting for host in hosts)

    play(scenario)


def test_a_node_that_moves_before_the_bootstrap_uses_its_new_address(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        net.addresses = list(ADDRESSES)
        early = net.host("a", "127.0.0.1:15000", expect=3)
        others = [net.host(i, a, expect=3) for i, a in zip("bc", ADDRESSES[1:], strict=True)]
        await early.boot()
        await others[0].boot()
        await asyncio.sleep(3)
        early.move(ADDRESSES[0])
        await others[1].boot()
        await wait(lambda: all(h.member_of for h in (early, *others)))
        servers = net.tables["cluster-1"].configuration.servers
        assert [server.address for server in servers] == ADDRESSES

    play(scenario)


def test_a_discovery_that_cannot_announce_another_address_does_not_end_the_node(
    play: Any, wait: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait)

        async def fails(ip: str) -> None:
            raise OSError(f"no route for {ip}")

        hosts[1].listing.move = fails
        hosts[1].move("10.7.7.7:15000")
        table = net.tables["cluster-1"]
        await wait(lambda: table.configuration.get("b").address == "10.7.7.7:15000")
        assert "cannot announce the address 10.7.7.7" in caplog.text

    play(scenario)


def test_without_quorum_the_missing_are_named_and_discovery_is_searched(
    play: Any, wait: Any
) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait, restart_min=20.0)
        await hosts[1].halt()
        await hosts[2].halt()
        hosts[0].listing.poll_interval = 10_000.0
        await asyncio.sleep(10)
        waiting = hosts[0].membership.waiting
        assert "2 of 3 voters do not answer" in waiting
        assert "tolerates 1" in waiting
        assert "b at 10.0.0.2:15000" in waiting
        assert "searching" not in waiting
        await asyncio.sleep(15)
        assert "searching discovery" in hosts[0].membership.waiting
        net.addresses = [ADDRESSES[0], "10.9.0.2:15000"]
        hosts[1].address = "10.9.0.2:15000"
        await hosts[1].boot()
        await wait(lambda: not hosts[0].membership.waiting)

    play(scenario)


def test_an_accepted_proposal_survives_a_restart(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        net.addresses = list(ADDRESSES)
        b = net.host("b", ADDRESSES[1], expect=3)
        await b.boot()
        members = Configuration(tuple(Server(i, a) for i, a in zip("abc", ADDRESSES, strict=True)))
        offer = BootstrapProposal("c", "x", encode_configuration(members), "a")
        assert (await b.membership.on_call(offer)).accepted
        assert decode_record(b.disk).accepted == offer
        await b.halt()
        await b.boot()
        rival = BootstrapProposal("c", "y", encode_configuration(members), "a")
        assert not (await b.membership.on_call(rival)).accepted
        assert (await b.membership.on_call(offer)).accepted
        shown = await b.membership.on_call(BootstrapProposal("c", "", b"", "c"))
        assert shown.configuration == offer.configuration
        c = net.host("c", ADDRESSES[2], expect=3)
        await c.boot()
        # The proposer a is dead; the proposal implies its acceptance, so b and c go on.
        await wait(lambda: b.member_of == c.member_of == "x")

    play(scenario)


def test_a_proposal_is_not_accepted_if_the_record_cannot_be_stored(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        b = net.host("b", ADDRESSES[1], expect=2)
        await b.boot()
        b.disk_full = True
        members = Configuration((Server("a", ADDRESSES[0]), Server("b", ADDRESSES[1])))
        offer = BootstrapProposal("c", "x", encode_configuration(members), "a")
        with pytest.raises(StorageFull):
            await b.membership.on_call(offer)
        probe = await b.membership.on_call(ProbeRequest("z", "c", "", "10.0.0.9:1"))
        assert probe.cluster_id == ""
        assert "cannot store the bootstrap record" in b.membership.waiting
        b.disk_full = False
        await wait(lambda: b.member_of == "", 1)
        assert (await b.membership.on_call(offer)).accepted

    play(scenario)


def test_a_full_disk_only_delays_the_bootstrap(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        host = net.host("a", ADDRESSES[0], expect=1)
        host.disk_full = True
        await host.boot(discovery=False)
        await asyncio.sleep(3)
        assert not host.member_of
        host.disk_full = False
        await wait(lambda: host.member_of, 3)

    play(scenario)


def test_failing_discovery_is_not_an_empty_one(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        net.listing_error = OSError("the API is down")
        host = net.host("a", ADDRESSES[0], expect=1)
        await host.boot()
        await asyncio.sleep(10)
        assert not host.member_of
        assert "discovery failed: the API is down" in host.membership.waiting
        net.listing_error = None
        await wait(lambda: host.member_of, 3)

    play(scenario)


async def two_clusters(net: Any, wait: Any) -> list[Any]:
    """Two clusters of one node each that have not seen each other yet."""
    hosts = [net.host(i, a, expect=1) for i, a in zip("ab", ADDRESSES[:2], strict=True)]
    for host in hosts:
        await host.boot()
    await wait(lambda: all(h.member_of for h in hosts))
    assert {h.member_of for h in hosts} == {"cluster-1", "cluster-2"}
    return hosts


def test_an_empty_cluster_of_one_is_abandoned_for_the_other(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        one, two = await two_clusters(net, wait)
        net.addresses = ADDRESSES[:2]
        await wait(lambda: one.member_of == two.member_of == "cluster-1", 20)
        table = net.tables["cluster-1"]
        await wait(lambda: len(table.configuration.voters) == 2)
        await wait(lambda: not one.membership.foreign and not two.membership.foreign)
        loser = next(h for h in (one, two) if decode_record(h.disk).rejected)
        assert decode_record(loser.disk).rejected == ("cluster-2",)
        assert decode_record(loser.disk).accepted is None

    play(scenario)


def test_a_write_at_the_last_moment_keeps_the_cluster(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        one, two = await two_clusters(net, wait)
        one.written = two.written = True
        net.addresses = ADDRESSES[:2]
        await asyncio.sleep(20)
        assert {one.member_of, two.member_of} == {"cluster-1", "cluster-2"}
        assert one.membership.foreign
        assert two.membership.foreign

    play(scenario)


def test_two_clusters_that_meet_keep_their_data_and_say_so(
    play: Any, wait: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(net: Any) -> None:
        one, two = await two_clusters(net, wait)
        one.looks_written = two.looks_written = True
        net.addresses = ADDRESSES[:2]
        await wait(lambda: one.membership.foreign, 20)
        assert one.membership.foreign[0].server_id == "b"
        assert {one.member_of, two.member_of} == {"cluster-1", "cluster-2"}
        with pytest.raises(WrongCluster):
            await two.membership.on_call(AnnounceRequest("a", ADDRESSES[0], one.member_of))

    play(scenario)
    assert sum("have met" in record.message for record in caplog.records) >= 1


def test_calls_are_answered_or_refused_in_every_state(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        host = net.host("a", ADDRESSES[0], expect=2)
        membership = await host.boot()
        with pytest.raises(NotReady, match="no cluster yet"):
            await membership.on_call(JoinRequest("z", ADDRESSES[1], "c", "", True))
        blank = await membership.on_call(ProbeRequest("z", "c", "", ADDRESSES[1]))
        known = host.capabilities.encode()
        assert blank == ProbeReply("a", "c", "", 2, False, "", "", ADDRESSES[0], capabilities=known)
        with pytest.raises(Exception, match="not a membership request"):
            await membership.on_call(DetailsRequest())
        await host.halt()
        with pytest.raises(NotReady):
            await membership.on_call(ProbeRequest("z", "c", "", ADDRESSES[1]))
        await membership.stop()
        assert host.listing.stopped == 1
        assert "not running" in membership.waiting

    play(scenario)


def test_an_announcement_informs_both_sides(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait)
        await hosts[2].halt()
        request = AnnounceRequest("c", "10.7.7.7:15000", "cluster-1")
        reply = await hosts[0].membership.on_call(request)
        assert reply == AnnounceReply("a", ADDRESSES[0])
        assert hosts[0].book["c"] == "10.7.7.7:15000"
        assert hosts[0].membership.address_of("c") == "10.7.7.7:15000"
        # The announcement of c itself is newer and wins.
        await hosts[2].boot()
        await wait(lambda: hosts[0].book["c"] == ADDRESSES[2], 10)

    play(scenario)


def test_a_copy_of_a_member_is_refused_and_the_member_is_not(
    play: Any, wait: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait)
        copy = net.host("c", "10.7.7.7:15000", expect=3)
        copy.disk, copy.member_of = hosts[2].disk, hosts[2].member_of

        def led_elsewhere() -> bool:
            return bool(hosts[0].book.get("c") != copy.address)

        view = copy.raft_view
        # The leader sends to the member's known address, which is not the copy's.
        copy.raft_view = lambda: replace(view(), leader_id="") if led_elsewhere() else view()
        await copy.boot()
        sentence = (
            f"node id c is used at {ADDRESSES[2]} and 10.7.7.7:15000; ids must differ "
            "(was a data directory copied?)"
        )
        await wait(lambda: copy.membership.waiting == sentence)
        assert not copy.campaign_enabled
        assert copy.membership.notes == {"node id": sentence}
        await asyncio.sleep(10)
        assert hosts[2].membership.notes == {"node id": sentence}
        assert hosts[2].campaign_enabled
        assert hosts[2].membership.waiting == ""
        assert {host.book["c"] for host in hosts[:2]} == {ADDRESSES[2]}
        assert net.tables["cluster-1"].changes == []
        # The original process has ended, so the other one becomes the member.
        await hosts[2].halt()
        await wait(lambda: {host.book["c"] for host in hosts[:2]} == {copy.address})
        await wait(lambda: copy.campaign_enabled and not copy.membership.notes)

    play(scenario)
    assert sum(r.message.startswith("node id c is used at") for r in caplog.records) == 3


def test_a_member_is_accepted_once_its_old_process_has_ended(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait)
        # It moved, and its former process still answers for a while.
        moved = net.host("c", "10.7.7.7:15000", expect=3)
        moved.disk, moved.member_of = hosts[2].disk, hosts[2].member_of
        view = moved.raft_view
        moved.raft_view = lambda: replace(view(), leader_id="")
        await moved.boot()
        await wait(lambda: not moved.campaign_enabled)
        # Between two announcements the old process ends, and the leader finds the new one and
        # commits its address. The new process has nothing to announce any more.
        await hosts[2].halt()
        found = AnnounceRequest("c", moved.address, "cluster-1")
        await hosts[0].membership.on_call(found)
        table = net.tables["cluster-1"]
        await wait(lambda: table.configuration.get("c").address == moved.address, 0.5)
        assert not moved.campaign_enabled
        moved.raft_view = view
        await wait(lambda: moved.campaign_enabled and not moved.membership.notes)

    play(scenario)


def test_a_late_round_of_probes_brings_back_no_former_address(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait)
        a, c = hosts[0], hosts[2]
        asked = asyncio.Event()

        async def no_answer(request: Any) -> Any:
            asked.set()
            await asyncio.sleep(60)

        silent = net.host("z", "10.0.0.9:15000", expect=3)
        silent.membership = SimpleNamespace(on_call=no_answer, stop=hosts[1].listing.stop)
        net.hosts[silent.address] = silent
        net.addresses = [*ADDRESSES, silent.address]
        await wait(asked.is_set)
        await asyncio.sleep(0.1)
        # c has answered in this round, which still waits for the silent host. Now c moves.
        await c.halt()
        c.address = "10.7.7.7:15000"
        await c.boot()
        await wait(lambda: a.book["c"] == c.address, 0.5)
        await asyncio.sleep(1)
        assert a.book["c"] == c.address
        assert net.tables["cluster-1"].changes == [("add_voter", "c", c.address)]

    play(scenario)


def test_a_member_found_at_two_addresses_is_not_believed_to_have_moved(
    play: Any, wait: Any
) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait)
        net.addresses = [*net.addresses, "10.7.7.7:15000"]
        copy = net.host("c", "10.7.7.7:15000", expect=3)
        copy.disk, copy.member_of = hosts[2].disk, hosts[2].member_of
        await copy.boot()
        await asyncio.sleep(20)
        assert {host.book["c"] for host in hosts[:2]} == {ADDRESSES[2]}
        assert "10.7.7.7:15000" in hosts[2].membership.notes["node id"]

    play(scenario)


def test_discovery_ports_and_several_names_of_one_node_count_once(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        net.addresses = ["10.0.0.1:15000", "10.0.0.1:15001", "name-of-a:15000"]
        host = net.host("a", ADDRESSES[0], expect=2)
        await host.boot()
        net.hosts["10.0.0.1:15001"] = net.hosts["name-of-a:15000"] = host
        await asyncio.sleep(3)
        assert "1 of 2 nodes are here" in host.membership.waiting
        assert host.membership.contacts[1] == Contact("10.0.0.1", 15001)

    play(scenario)


def test_a_removed_member_logs_it_once_and_does_not_campaign(
    play: Any, wait: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(net: Any) -> None:
        hosts = await three(net, wait, restart_min=4.0)
        gone = hosts[2]
        gone.outdated = net.tables["cluster-1"].configuration
        await hosts[0].change_membership("remove_server", "c", "")
        await wait(lambda: gone.membership.removed, 8)
        sentence = gone.membership.waiting
        assert "was removed from cluster cluster-1" in sentence
        assert f"a at {ADDRESSES[0]}" in sentence
        assert "empty data directory" in sentence
        assert not gone.campaign_enabled
        told = len(caplog.records)
        await asyncio.sleep(30)
        assert len(caplog.records) == told, "it says so once"
        await gone.halt()
        await gone.boot()
        await wait(lambda: gone.membership.removed, 3)
        # When it is added again, messages of the leader prove its membership.
        await hosts[0].change_membership("add_voter", "c", ADDRESSES[2])
        gone.outdated = None
        await wait(lambda: not gone.membership.removed, 3)
        assert gone.campaign_enabled
        assert not gone.membership.waiting

    play(scenario)
    assert sum("was removed from" in r.message for r in caplog.records) == 2


def test_a_leader_that_came_later_is_asked_too(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = await three(net, wait)
        gone = hosts[2]
        gone.outdated = net.tables["cluster-1"].configuration
        new = net.host("A", "10.0.0.9:15000", expect=3)
        net.addresses.append("10.0.0.9:15000")
        await new.boot()
        await wait(lambda: net.leader("cluster-1") is new)
        net.addresses.pop()
        await hosts[0].halt()
        await new.change_membership("remove_server", "a", "")
        await new.change_membership("remove_server", "c", "")
        await wait(lambda: "A at 10.0.0.9:15000" in gone.membership.waiting, 10)

    play(scenario)
