"""Every kind of check of the transport suite can fail: each fails on a broken transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

import braft_testing.transport as kit
from braft_core.abc import Transport, TransportHandler, TransportOptions
from braft_core.errors import BraftError, Unreachable
from braft_core.peer import PeerReply, PeerRequest, ProbeReply, ProposeReply
from braft_core.raft.messages import (
    AppendEntries,
    InstallSnapshot,
    InstallSnapshotResponse,
    Request,
    RequestVote,
    Response,
)
from braft_core.transport.memory import MemoryNetwork, MemoryTransport
from braft_core.transport.memory_snapshots import MemorySnapshotReceiver
from braft_core.transport.snapshot_transfer import InboundSnapshot, SnapshotReader, SnapshotReceiver
from braft_testing import transport_nodes
from braft_testing.transport import Node, TransportConformance


class _LosesExtensions(MemoryTransport):
    def send(self, message: Request) -> None:
        if isinstance(message, AppendEntries):
            bare = [entry._replace(extensions=b"") for entry in message.entries]
            message = replace(message, entries=bare)
        super().send(message)


class _LosesTheTransferFlag(MemoryTransport):
    def send(self, message: Request) -> None:
        if isinstance(message, RequestVote):
            message = replace(message, leadership_transfer=False)
        super().send(message)


class _ForgetsRequestIds(MemoryTransport):
    def send(self, message: Request) -> None:
        super().send(replace(message, request_id=0))


class _NeverAnswers(MemoryTransport):
    def reply(self, message: Response) -> None:
        pass


class _SwapsAppends(MemoryTransport):
    _held: Request | None = None

    def send(self, message: Request) -> None:
        index = message.entries[0].index if isinstance(message, AppendEntries) else 0
        if index == 1000 and self._held is None:
            self._held = message
            return
        super().send(message)
        if self._held is not None:
            held, self._held = self._held, None
            super().send(held)


class _HeartbeatsWait(MemoryTransport):
    def send(self, message: Request) -> None:
        if isinstance(message, AppendEntries) and message.heartbeat and message.request_id == 77:
            return
        super().send(message)


class _SharesEntries(MemoryTransport):
    def send(self, message: Request) -> None:
        asyncio.get_running_loop().call_later(0.01, super().send, message)


class _ServesEverybody(MemoryTransport):
    def _receive(self, handler: TransportHandler, message: Request, cluster_id: str) -> None:
        handler.on_message(message)


class _KeepsSilent(MemoryTransport):
    def _dropped(self, to: str) -> None:
        pass


class _TellsEachDrop(MemoryTransport):
    def _dropped(self, to: str) -> None:
        assert self._handler is not None
        self._handler.on_unreachable(to)


class _RemembersTheFirstAddress(MemoryTransport):
    def set_peer(self, server_id: str, address: str) -> None:
        if server_id not in self._peers:
            super().set_peer(server_id, address)


class _IgnoresBreaks(MemoryTransport):
    def lose(self, server_id: str) -> None:
        pass


class _CriesWolf(MemoryTransport):
    async def stop(self) -> None:
        address = self.listening[0]
        for node in list(self._network._nodes.values()):
            if any(peer.address == address for peer in node._peers.values()):
                node.lose(self.identity.server_id)
        await super().stop()


class _MixesUpCalls(MemoryTransport):
    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        reply = await super().call(address, request, timeout)
        return replace(reply, expect=1) if isinstance(reply, ProbeReply) else reply


class _FlattensErrors(MemoryTransport):
    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        try:
            return await super().call(address, request, timeout)
        except Unreachable:
            raise
        except BraftError as error:
            raise BraftError(error.message) from error


class _AlwaysSent(MemoryTransport):
    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        try:
            return await super().call(address, request, timeout)
        except Unreachable as error:
            error.data["sent"] = True
            raise


class _NeverSent(MemoryTransport):
    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        try:
            return await super().call(address, request, timeout)
        except Unreachable as error:
            error.data["sent"] = False
            raise


class _HoldsAGrudge(MemoryTransport):
    _failed: frozenset[str] = frozenset()

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        if address in self._failed:
            raise Unreachable("failed before", sent=False)
        try:
            return await super().call(address, request, timeout)
        except Unreachable:
            self._failed |= {address}
            raise


class _Squats(MemoryTransport):
    async def start(self, handler: TransportHandler) -> None:
        self._network._nodes.clear()
        await super().start(handler)


class _KeepsItsAddress(MemoryTransport):
    async def stop(self) -> None:
        self.silence()


class _LeavesATask(MemoryTransport):
    async def stop(self) -> None:
        await super().stop()
        self._left = asyncio.create_task(asyncio.sleep(60))


class _MixesUpContents(MemoryTransport):
    async def _contents(
        self, target: MemoryTransport, source: SnapshotReader
    ) -> AsyncGenerator[bytes]:
        async for chunk in super()._contents(target, source):
            yield chunk[::-1]


class _TellsBeforeItStores(MemoryTransport):
    async def start(self, handler: TransportHandler) -> None:
        await super().start(handler)
        self._receiver = _HastyReceiver(
            handler, self.counters, self._hand_over, self.options.timing.snapshot_pace
        )


class _HastyReceiver(MemorySnapshotReceiver):
    async def _store(self, incoming: InboundSnapshot) -> InstallSnapshotResponse:
        answer: asyncio.Future[InstallSnapshotResponse] = asyncio.get_running_loop().create_future()
        incoming.message.context = answer
        self._hand_over(incoming.message)
        await incoming.commit()
        return await answer


class _AlwaysSucceeds(MemoryTransport):
    def _transferred(self, response: InstallSnapshotResponse) -> None:
        super()._transferred(replace(response, success=True))


class _AnswersTransfersTwice(MemoryTransport):
    def _transferred(self, response: InstallSnapshotResponse) -> None:
        super()._transferred(response)
        super()._transferred(response)


class _ForgetsFailures(MemoryTransport):
    def _transferred(self, response: InstallSnapshotResponse) -> None:
        if response.success:
            super()._transferred(response)


class _ReceivesFromAnybody(MemoryTransport):
    async def start(self, handler: TransportHandler) -> None:
        await super().start(handler)
        self._receiver = _OpenReceiver(
            handler, self.counters, self._hand_over, self.options.timing.snapshot_pace
        )


class _OpenReceiver(MemorySnapshotReceiver):
    async def receive(
        self, message: InstallSnapshot, cluster_id: str, contents: AsyncGenerator[bytes]
    ) -> InstallSnapshotResponse:
        return await self._store(await self._receiver.receive(message, contents))


class _StoresBeforeItAsks(MemoryTransport):
    async def start(self, handler: TransportHandler) -> None:
        await super().start(handler)
        assert self._receiver is not None
        self._receiver._receiver = _HastySnapshotReceiver(
            handler, self.options.timing.snapshot_pace
        )


class _HastySnapshotReceiver(SnapshotReceiver):
    async def receive(
        self, message: InstallSnapshot, contents: AsyncGenerator[bytes]
    ) -> InboundSnapshot:
        incoming = self._admit(message)
        await incoming.begin()
        async for chunk in contents:
            await incoming.write(chunk)
        self._handler.wants_snapshot(message)
        return incoming


class _KeepsPieces(MemoryTransport):
    """Leaves an interrupted transfer in the store."""

    async def start(self, handler: TransportHandler) -> None:
        await super().start(handler)
        assert self._receiver is not None
        self._receiver._receiver = _HoardingIntake(handler, self.options.timing.snapshot_pace)


class _HoardingIntake(SnapshotReceiver):
    def _admit(self, message: InstallSnapshot) -> InboundSnapshot:
        incoming = super()._admit(message)
        incoming._abort = incoming._commit  # type: ignore[assignment, method-assign]
        return incoming


class _AcceptsAnyLength(MemoryTransport):
    async def start(self, handler: TransportHandler) -> None:
        await super().start(handler)
        assert self._receiver is not None
        self._receiver._receiver = _CarelessIntake(handler, self.options.timing.snapshot_pace)

    async def _send_snapshot(self, message: InstallSnapshot) -> InstallSnapshotResponse:
        store: Any = getattr(self._handler, "snapshots", None)
        size = sum(map(len, store.open(message.meta.id)))
        return await super()._send_snapshot(replace(message, meta=message.meta._replace(size=size)))


class _CarelessIntake(SnapshotReceiver):
    def _admit(self, message: InstallSnapshot) -> InboundSnapshot:
        incoming = super()._admit(message)
        incoming._missing = 1 << 40
        incoming.check_complete = lambda: None  # type: ignore[method-assign]
        return incoming


class _WaitsForTransfers(MemoryTransport):
    async def stop(self) -> None:
        if self._sender._running:
            await asyncio.wait(self._sender._running, timeout=0.6)
        await super().stop()


class _FinishesWhatItBegan(MemoryTransport):
    """A second transfer to the same peer waits for the first."""

    def send(self, message: Request) -> None:
        running = [*self._sender._running]
        if isinstance(message, InstallSnapshot) and running:
            running[0].add_done_callback(lambda _task: self.send(message))
        else:
            super().send(message)


class _LastComesFirst(MemoryTransport):
    """Any transfer replaces the one under way."""

    async def start(self, handler: TransportHandler) -> None:
        await super().start(handler)
        assert self._receiver is not None
        self._receiver._receiver = _YieldingIntake(handler, self.options.timing.snapshot_pace)


class _YieldingIntake(SnapshotReceiver):
    def _admit(self, message: InstallSnapshot) -> InboundSnapshot:
        current, self._current = self._current, None
        if current is not None:
            current.replace()
        return super()._admit(message)


class _WritesOnTheLoop(MemoryTransport):
    async def start(self, handler: TransportHandler) -> None:
        await super().start(handler)
        assert self._receiver is not None
        self._receiver._receiver = _BlockingIntake(handler, self.options.timing.snapshot_pace)


class _BlockingIntake(SnapshotReceiver):
    def _admit(self, message: InstallSnapshot) -> InboundSnapshot:
        incoming = super()._admit(message)

        async def write(chunk: bytes) -> None:
            assert incoming._sink is not None
            incoming._missing -= len(chunk)
            incoming._sink.write(chunk)

        incoming.write = write  # type: ignore[method-assign]
        return incoming


class _TransfersComeFirst(MemoryTransport):
    def send(self, message: Request) -> None:
        running = [*self._sender._running]
        if running and not isinstance(message, InstallSnapshot):
            running[0].add_done_callback(lambda _task: self._later(message))
        else:
            super().send(message)

    def _later(self, message: Request) -> None:
        self.loop.call_later(1.1, super().send, message)


class _HasNoBound(MemoryTransport):
    def send(self, message: Request) -> None:
        for peer in self._peers.values():
            peer.forget()
        super().send(message)


class _ReportsTheFirstLoss(MemoryTransport):
    _told = False

    def _dropped(self, to: str) -> None:
        if not self._told:
            super()._dropped(to)
        self._told = True


class _NeverFreesBytes(MemoryTransport):
    _bytes = 0

    def send(self, message: Request) -> None:
        if isinstance(message, AppendEntries):
            self._bytes += sum(len(entry.data) for entry in message.entries)
        if self._bytes > 42 << 20:
            self._dropped(message.to)
        else:
            super().send(message)


class _SendsAgainWhatWaited(MemoryTransport):
    _first: Request | None = None

    def send(self, message: Request) -> None:
        if message.request_id == 10:
            self._first = message
        if message.request_id == 10_000_000 and self._first is not None:
            super().send(self._first)
        super().send(message)


class _SharesAnswers(MemoryTransport):
    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        reply = await super().call(address, request, timeout)
        return replace(reply, outcomes=(b"0", b"!")) if isinstance(reply, ProposeReply) else reply


class _CallsHang(MemoryTransport):
    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        try:
            return await super().call(address, request, timeout)
        except Unreachable:
            await asyncio.sleep(60)
            raise


class _ReportsAfterTheStop(MemoryTransport):
    async def stop(self) -> None:
        handler = self._handler
        await super().stop()
        if handler is not None:
            self.loop.call_later(0.02, handler.on_unreachable, "b")


_RULES: list[tuple[type[MemoryTransport], str]] = [
    (_LosesExtensions, "every_request_arrives_with_every_field_in_both_directions"),
    (_LosesTheTransferFlag, "every_request_arrives_with_every_field_in_both_directions"),
    (_ForgetsRequestIds, "every_response_comes_home_with_every_field_and_the_request_id"),
    (_ForgetsRequestIds, "responses_given_in_another_order_find_their_requests"),
    (_NeverAnswers, "every_response_comes_home_with_every_field_and_the_request_id"),
    (_NeverAnswers, "an_unreachable_peer_does_not_delay_another"),
    (_SwapsAppends, "appends_stay_in_order"),
    (_HeartbeatsWait, "a_heartbeat_overtakes_a_blocked_bulk_lane"),
    (_SharesEntries, "what_was_sent_does_not_change_later"),
    (_ServesEverybody, "another_cluster_is_refused"),
    (_ServesEverybody, "a_server_that_was_not_meant_refuses"),
    (_ServesEverybody, "a_node_without_cluster_refuses_until_it_joins"),
    (_KeepsSilent, "requests_to_an_unreachable_peer_are_dropped_and_reported_once"),
    (_KeepsSilent, "a_request_to_an_unknown_server_is_reported_and_harmless"),
    (_KeepsSilent, "a_restarted_peer_is_found_again"),
    (_TellsEachDrop, "requests_to_an_unreachable_peer_are_dropped_and_reported_once"),
    (_RemembersTheFirstAddress, "a_peer_that_moved_is_found_at_its_new_address"),
    (_IgnoresBreaks, "a_broken_connection_is_reported_on_both_sides"),
    (_CriesWolf, "an_orderly_end_is_not_reported_as_loss"),
    (_MixesUpCalls, "every_call_carries_request_and_reply_with_every_field"),
    (_MixesUpCalls, "calls_are_answered_before_there_is_a_cluster"),
    (_FlattensErrors, "errors_of_the_handler_reach_the_caller"),
    (_FlattensErrors, "a_call_that_acts_on_a_cluster_is_refused_by_another"),
    (_NeverSent, "a_call_without_answer_times_out_as_maybe_received"),
    (_AlwaysSent, "a_call_to_nobody_fails_fast_as_never_sent"),
    (_Squats, "a_taken_address_is_an_error_that_names_it"),
    (_KeepsItsAddress, "an_address_is_free_again_after_stop"),
    (_HoldsAGrudge, "a_call_reaches_a_node_that_came_up_after_a_failure"),
    (_LeavesATask, "stop_is_quick_idempotent_and_leaves_nothing"),
    (_MixesUpContents, "a_snapshot_arrives_whole_whatever_its_size"),
    (_ForgetsRequestIds, "a_snapshot_arrives_whole_whatever_its_size"),
    (_TellsBeforeItStores, "the_message_follows_the_durable_snapshot"),
    (_AlwaysSucceeds, "the_nodes_refusal_comes_home_with_its_term"),
    (_ForgetsFailures, "a_transfer_to_nobody_fails_once"),
    (_AnswersTransfersTwice, "a_transfer_to_nobody_fails_once"),
    (_AnswersTransfersTwice, "a_snapshot_that_is_gone_fails_once"),
    (_ReceivesFromAnybody, "another_cluster_or_server_refuses_before_anything_is_stored"),
    (_StoresBeforeItAsks, "an_offer_is_put_before_the_node_before_anything_is_stored"),
    (_StoresBeforeItAsks, "an_offer_that_is_refused_fails_and_stores_nothing"),
    (_StoresBeforeItAsks, "an_offer_whose_contents_are_not_wanted_is_answered_without_them"),
    (_KeepsPieces, "contents_that_break_off_fail_and_leave_nothing"),
    (_AcceptsAnyLength, "contents_of_another_length_fail_and_leave_nothing"),
    (_KeepsPieces, "a_full_disk_fails_and_leaves_nothing"),
    (_KeepsPieces, "the_end_of_the_sender_leaves_nothing"),
    (_AnswersTransfersTwice, "the_end_of_the_receiver_fails_once"),
    (_IgnoresBreaks, "a_broken_connection_fails_once_and_leaves_nothing"),
    (_ForgetsFailures, "a_removed_or_moved_peer_fails_once"),
    (_WaitsForTransfers, "stop_is_quick_in_the_middle_and_tells_nothing"),
    (_FinishesWhatItBegan, "a_newer_transfer_to_the_same_peer_replaces_the_older"),
    (_LastComesFirst, "only_a_later_term_replaces_another_leaders_transfer"),
    (_WritesOnTheLoop, "a_slow_disk_of_the_receiver_delays_nothing_else"),
    (_HasNoBound, "a_burst_of_appends_is_bounded_and_what_passes_stays_in_order"),
    (_HasNoBound, "a_node_that_does_not_answer_is_not_flooded"),
    (_HasNoBound, "votes_to_a_node_that_does_not_answer_are_bounded"),
    (_ReportsTheFirstLoss, "a_lane_that_was_full_is_free_again_and_reports_the_next_loss"),
    (_NeverFreesBytes, "large_appends_free_their_room_when_they_have_left"),
    (_SendsAgainWhatWaited, "what_waited_for_a_connection_is_not_sent_on_the_next"),
    (_KeepsSilent, "requests_without_answer_are_reported_when_the_peer_goes"),
    (_SharesAnswers, "calls_at_one_time_get_their_own_answers"),
    (_CallsHang, "calls_under_way_end_with_the_peer_and_may_have_arrived"),
    (_CallsHang, "calls_under_way_end_with_the_connection_and_may_have_arrived"),
    (_ReportsAfterTheStop, "nothing_is_delivered_after_the_stop"),
    (_TransfersComeFirst, "heartbeats_and_appends_are_prompt_while_a_snapshot_travels"),
]


@pytest.mark.parametrize(
    ("broken", "rule"), _RULES, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_broken_transport_fails(
    broken: type[MemoryTransport], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit, "PATIENCE", 0.5)
    monkeypatch.setattr(transport_nodes, "PATIENCE", 0.5)
    network = MemoryNetwork()

    class Suite(TransportConformance):
        can_sever = True

        def make(self, address: str) -> Transport:
            options = {"network": network}
            return broken(TransportOptions(listen=(address,), rpc_timeout=0.1, options=options))

        async def sever(self, first: Node, second: Node) -> None:
            network.sever(first.address, second.address)

    check: Any = getattr(Suite(), f"test_{rule}")
    # pytest.raises reports a Failed, which is no Exception. A check that times out has failed,
    # too: the timeout is short here, and some of these transports are slow.
    with pytest.raises((AssertionError, BraftError, TimeoutError, pytest.fail.Exception)):
        check()


def test_every_rule_is_shown_a_transport_that_breaks_it() -> None:
    rules = {n.removeprefix("test_") for n in dir(TransportConformance) if n.startswith("test_")}
    # stop() of a transport without sockets cannot fail, started or not.
    assert rules - {rule for _broken, rule in _RULES} == {"stop_without_start_is_harmless"}
