"""What a node answers to others, and what it holds for a cluster that it is not in yet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from braft_core.abc import Identity
from braft_core.errors import BraftError, DecodeError, NotLeader, Stopped
from braft_core.peer import ProposeReply, ProposeRequest, ReadIndexReply, ReadIndexRequest
from braft_core.raft import AppendEntries
from braft_core.runtime.forwarding import Forwarder
from braft_core.runtime.parked import ParkedRequests
from braft_core.runtime.peer_calls import PeerCallHandler
from braft_core.runtime.requests import Command, Query
from braft_core.runtime.retry_queue import RetryQueue
from braft_core.runtime.timing import Timing
from braft_core.runtime.verified_sink import VerifiedSink
from braft_core.storage.memory_snapshots import MemorySnapshots
from braft_testing.core_harness import configuration
from braft_testing.transport_nodes import answer_to
from tests.contracts.replica_bench import Bench, put, running_replica


def _calls(bench: Bench) -> PeerCallHandler:
    server = SimpleNamespace(replica=bench.replica, waiting=lambda: "no cluster yet")
    return PeerCallHandler(cast("Any", server), 1 << 20, bench.machine)


# -- calls of other nodes --------------------------------------------------------------------------


def test_a_read_index_is_given_after_the_leader_has_confirmed_that_it_leads() -> None:
    async def main() -> None:
        async with running_replica() as bench:
            await bench.lead()
            bench.transport.answers_to = None
            before = len(bench.sent(AppendEntries))
            asking = asyncio.ensure_future(_calls(bench).answer(ReadIndexRequest("cl")))
            await bench.turn()
            await bench.settled()
            assert not asking.done()
            for request in bench.sent(AppendEntries)[before:]:
                answer = answer_to(request)
                answer.request_id = request.request_id
                bench.receive(answer)
            async with asyncio.timeout(20.0):
                reply = await asking
            assert isinstance(reply, ReadIndexReply)
            assert reply.index == bench.core.commit_index

    asyncio.run(main())


@pytest.mark.parametrize("request_", [ReadIndexRequest("cl"), ProposeRequest((put(9),), 500)])
def test_a_follower_refuses_what_only_a_leader_answers(request_: Any) -> None:
    async def main() -> None:
        async with running_replica() as bench:
            bench.append(prev=(0, 0))
            await bench.turn()
            with pytest.raises(NotLeader) as caught:
                await asyncio.wait_for(_calls(bench).answer(request_), 20.0)
            assert caught.value.data["leader"] == "b"

    asyncio.run(main())


def test_proposals_of_others_are_answered_one_by_one() -> None:
    async def main() -> None:
        async with running_replica() as bench:
            await bench.lead()
            reply = await _calls(bench).answer(ProposeRequest((put(1), put(2), put(3)), 5_000))
            assert isinstance(reply, ProposeReply)
            assert len(set(reply.outcomes)) == 3

    asyncio.run(main())


# -- calls to the leader ---------------------------------------------------------------------------


class _Retryable(Command):
    """A command that a session sends again by itself."""

    __slots__ = ()
    retryable = True

    def classify(self, error: BraftError) -> BraftError | None:
        """See the base class: its session goes on with it."""
        return None


def test_an_attempt_that_was_superseded_is_not_sent_again() -> None:
    """Its session tries it with the new leader; two attempts would be one too many."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        submitted: list[Command | Query] = []
        retries = RetryQueue(submitted.append, 0.0)
        retries.start()
        server = SimpleNamespace(
            addresses=SimpleNamespace(of=lambda _: "b:1"),
            identity=Identity("a", "a:1", "cl"),
            retries=retries,
        )
        forwarder = Forwarder(cast("Any", server), lambda *_: answer, Timing())
        superseded, plain = _Retryable(put(1), 30.0, loop), Command(put(2), 30.0, loop)
        forwarder.commands("b", [superseded, plain])
        await asyncio.sleep(0)
        forwarder.leader_changed("c")
        answer.set_exception(NotLeader("it does not lead any more"))
        while forwarder.has_undecided:
            await asyncio.sleep(0)
            if submitted:
                break
        for _ in range(5):
            await asyncio.sleep(0)
        assert submitted == [plain]
        await forwarder.stop(Stopped("enough"))

    asyncio.run(main())


# -- requests before there is a cluster ------------------------------------------------------------


def _requests(timeout: float = 30.0) -> list[Command | Query]:
    return [Command(put(1), timeout), Query("kv", "get", ("m", "k"), timeout)]


def test_what_is_parked_is_handed_over_once_and_in_order() -> None:
    parked = ParkedRequests()
    taken: list[Command | Query] = []
    early, late, after = _requests(), _requests(), _requests()
    for request in early:
        parked.submit(request)
    parked.open(taken.append)
    for request in late:
        parked.submit(request)
    assert taken == [*early, *late]
    parked.close()
    for request in after:
        parked.submit(request)
    assert taken == [*early, *late]
    parked.open(taken.append)
    assert taken == [*early, *late, *after]


def test_parked_requests_have_deadlines() -> None:
    parked = ParkedRequests()
    late, patient = _requests(-1.0), _requests()
    for request in (*late, *patient):
        parked.submit(request)
    assert parked.expire() == late
    assert parked.expire() == []
    taken: list[Command | Query] = []
    parked.open(taken.append)
    assert taken == patient


def test_the_stop_answers_what_is_parked_and_what_comes_later() -> None:
    parked = ParkedRequests()
    early, late = _requests(), _requests()
    for request in early:
        parked.submit(request)
    parked.stop(Stopped("enough"))
    for request in late:
        parked.submit(request)
    for request in (*early, *late):
        assert isinstance(request.blocking.exception(0), Stopped)


# -- leaving a cluster -----------------------------------------------------------------------------


def test_a_replica_gives_back_what_went_nowhere_yet() -> None:
    async def main() -> None:
        async with running_replica() as bench:
            waiting = [bench.command(timeout=0.1), bench.query(timeout=0.1)]
            await bench.turn()
            waiting.append(bench.query(timeout=0.1))  # not even looked at
            given_back = bench.driver.release()
            assert set(given_back) == set(waiting)
            assert bench.driver.release() == []
            bench.advance(0.2)
            await bench.settled()
            assert not any(request.future.done() for request in waiting)
            bench.requests.clear()

    asyncio.run(main())


# -- received snapshots ----------------------------------------------------------------------------


def test_contents_that_cannot_be_restored_are_never_stored() -> None:
    store = MemorySnapshots()

    def check(chunks: Any) -> None:
        assert b"".join(chunks) == b"nonsense"
        raise DecodeError("it is no snapshot")

    sink = VerifiedSink(store.create(5, 1, configuration("a"), 1), check)
    sink.write(b"nonsense")
    with pytest.raises(DecodeError):
        sink.commit()
    sink.abort()
    assert store.list() == []
