"""Forwarding to a leader that answers, refuses, or dies before or after it has the request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from braft_core.abc import Identity
from braft_core.errors import (
    AccessDenied,
    BraftError,
    CommandFailed,
    NoLeader,
    NotLeader,
    OutcomeUnknown,
    Stopped,
    TooLarge,
    Unreachable,
    WrongCluster,
)
from braft_core.peer import (
    PeerReply,
    PeerRequest,
    ProposeReply,
    ProposeRequest,
    ReadIndexReply,
    ReadIndexRequest,
)
from braft_core.runtime.forwarding import Forwarder
from braft_core.runtime.requests import Command, Query, settle
from braft_core.runtime.retry_queue import RetryQueue
from braft_core.runtime.timing import Timing
from braft_core.services.envelope import encode_outcome
from braft_testing.processes import PATIENCE

Answer = Callable[[PeerRequest], PeerReply]


class Peers:
    """The node of a forwarder; ``answer`` replaces the leader once ``gate`` opens."""

    identity = Identity("me", "127.0.0.1:2", "c")

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.address = "127.0.0.1:1"
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls: list[PeerRequest] = []
        self.timeouts: list[float] = []
        self.back: list[Command | Query] = []
        self.retries = RetryQueue(self.back.append, Timing().request_retry)
        self.retries.start()
        self.served: list[tuple[int, list[Query]]] = []

    @property
    def addresses(self) -> Peers:
        return self

    def of(self, server_id: str) -> str:
        return self.address

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        self.calls.append(request)
        self.timeouts.append(timeout)
        await self.gate.wait()
        return self.answer(request)

    def serve(self, index: int, queries: list[Query]) -> None:
        self.served.append((index, queries))


def echo(request: PeerRequest) -> PeerReply:
    assert isinstance(request, ProposeRequest)
    return ProposeReply(tuple(encode_outcome(data) for data in request.commands))


def refuse(error: BraftError) -> Answer:
    def answer(request: PeerRequest) -> PeerReply:
        raise error

    return answer


def command(data: bytes = b"x", timeout: float = 10) -> Command:
    return Command(data, timeout, asyncio.get_running_loop())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - there is nothing to be woken by
            await asyncio.sleep(0.002)


def test_each_command_gets_its_own_outcome() -> None:
    async def main() -> None:
        def answer(request: PeerRequest) -> PeerReply:
            return ProposeReply((encode_outcome(1), encode_outcome(CommandFailed("no"))))

        peers = Peers(answer)
        good, bad = command(), command()
        Forwarder(peers, peers.call, Timing()).commands("leader", [good, bad])
        assert await good.awaitable == 1
        with pytest.raises(CommandFailed, match="no"):
            await bad.awaitable
        assert len(peers.calls) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    "error",
    [NotLeader("another"), Unreachable("refused", sent=False), WrongCluster("not ours")],
    ids=lambda error: type(error).__name__,
)
def test_what_surely_was_not_taken_goes_back_to_the_queue(error: BraftError) -> None:
    async def main() -> None:
        peers = Peers(refuse(error))
        commands = [command(), command()]
        Forwarder(peers, peers.call, Timing()).commands("leader", list(commands))
        await until(lambda: peers.back)
        assert peers.back == commands
        assert not any(c.sent or c.future.done() for c in commands)

    asyncio.run(main())


def test_a_leader_that_wants_another_token_is_not_asked_again() -> None:
    async def main() -> None:
        peers = Peers(refuse(AccessDenied("BRAFT_TOKEN must be the same")))
        write, read = command(), Query("kv", "get", (), 10, asyncio.get_running_loop())
        forwarder = Forwarder(peers, peers.call, Timing())
        forwarder.commands("leader", [write])
        forwarder.reads("leader", [read])
        for request in (write, read):
            with pytest.raises(AccessDenied, match="BRAFT_TOKEN"):
                await request.awaitable
        assert peers.back == []

    asyncio.run(main())


def test_a_leader_without_an_address_is_asked_again_later() -> None:
    async def main() -> None:
        peers = Peers(echo)
        peers.address = ""
        waiting = command()
        Forwarder(peers, peers.call, Timing()).commands("leader", [waiting])
        await until(lambda: peers.back)
        assert peers.calls == []
        assert not waiting.sent

    asyncio.run(main())


@pytest.mark.parametrize(
    "error",
    [Unreachable("broke", sent=True), Unreachable("no idea"), OutcomeUnknown("late")],
    ids=["sent", "not known", "the leader does not know"],
)
def test_what_may_have_been_taken_is_never_sent_again(error: BraftError) -> None:
    async def main() -> None:
        peers = Peers(refuse(error))
        doubtful = command()
        Forwarder(peers, peers.call, Timing()).commands("leader", [doubtful])
        with pytest.raises(OutcomeUnknown):
            await doubtful.awaitable
        await asyncio.sleep(0.1)
        assert peers.back == []
        assert len(peers.calls) == 1

    asyncio.run(main())


def test_a_refusal_that_stays_one_is_the_answer() -> None:
    async def main() -> None:
        peers = Peers(refuse(TooLarge("too large", size=2, limit=1)))
        large = command()
        Forwarder(peers, peers.call, Timing()).commands("leader", [large])
        with pytest.raises(TooLarge):
            await large.awaitable
        assert peers.back == []

    asyncio.run(main())


def test_a_reply_of_the_wrong_length_leaves_the_outcome_unknown() -> None:
    async def main() -> None:
        peers = Peers(lambda _: ProposeReply((encode_outcome(1),)))
        both = [command(), command()]
        Forwarder(peers, peers.call, Timing()).commands("leader", list(both))
        for each in both:
            with pytest.raises(OutcomeUnknown, match="1 answers to 2"):
                await each.awaitable

    asyncio.run(main())


def test_calls_are_bounded_in_size_and_in_number() -> None:
    async def main() -> None:
        peers = Peers(echo)
        peers.gate.clear()
        forwarder = Forwarder(peers, peers.call, Timing())
        commands = [command(bytes(200_000)) for _ in range(200)]
        forwarder.commands("leader", list(commands))
        await until(lambda: len(peers.calls) == 16)
        sizes = [sum(map(len, c.commands)) for c in peers.calls if isinstance(c, ProposeRequest)]
        assert max(sizes) <= 1 << 20
        peers.gate.set()
        await until(lambda: sum(c.future.done() for c in commands) + len(peers.back) == 200)
        assert len(peers.calls) == 16, "the rest goes back to the queue, for whoever leads now"

    asyncio.run(main())


def test_reads_share_a_call_and_those_that_come_later_do_not_join_it() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        peers = Peers(lambda _: ReadIndexReply(7, 1))
        peers.gate.clear()
        forwarder = Forwarder(peers, peers.call, Timing())
        first = [Query("kv", "get", (), 10, loop) for _ in range(3)]
        late = [Query("kv", "get", (), 10, loop) for _ in range(3)]
        forwarder.reads("leader", list(first))
        await until(lambda: peers.calls)
        for query in late:
            forwarder.reads("leader", [query])
        one_too_many = Query("kv", "get", (), 10, loop)
        forwarder.reads("leader", [one_too_many])
        await until(lambda: len(peers.calls) == 4)
        peers.gate.set()
        await until(lambda: peers.back)
        assert peers.served == [(7, first), *((7, [query]) for query in late)]
        assert peers.back == [one_too_many]
        assert peers.calls == [ReadIndexRequest("c")] * 4

    asyncio.run(main())


def test_a_read_whose_leader_is_gone_is_tried_again() -> None:
    async def main() -> None:
        peers = Peers(refuse(Unreachable("broke", sent=True)))
        query = Query("kv", "get", (), 10, asyncio.get_running_loop())
        Forwarder(peers, peers.call, Timing()).reads("leader", [query])
        await until(lambda: peers.back)
        assert peers.back == [query]

    asyncio.run(main())


def test_a_read_does_not_wait_long_for_one_leader() -> None:
    """It may be asked again, and by then another node may lead."""

    async def main() -> None:
        peers = Peers(refuse(Unreachable("silent", sent=True)))
        query = Query("kv", "get", (), 10, asyncio.get_running_loop())
        timing = Timing(read_index_timeout=0.25)
        Forwarder(peers, peers.call, timing).reads("leader", [query])
        await until(lambda: peers.back)
        assert peers.timeouts == [0.25]

    asyncio.run(main())


def test_commands_that_were_sent_on_are_undecided_until_they_are_answered() -> None:
    async def main() -> None:
        peers = Peers(echo)
        peers.gate.clear()
        forwarder = Forwarder(peers, peers.call, Timing())
        assert not forwarder.has_undecided
        query = Query("kv", "get", (), 10, asyncio.get_running_loop())
        forwarder.reads("leader", [query])
        await until(lambda: peers.calls)
        assert not forwarder.has_undecided, "a read may be asked again elsewhere"
        sent = command()
        forwarder.commands("leader", [sent])
        await until(lambda: len(peers.calls) == 2)
        assert forwarder.has_undecided
        peers.gate.set()
        await sent.awaitable
        assert not forwarder.has_undecided
        await forwarder.stop(Stopped("over"))

    asyncio.run(main())


def test_stop_tells_who_was_under_way_from_who_was_not() -> None:
    async def main() -> None:
        peers = Peers(echo)
        peers.gate.clear()
        forwarder = Forwarder(peers, peers.call, Timing())
        sent = command()
        query = Query("kv", "get", (), 10, asyncio.get_running_loop())
        forwarder.commands("leader", [sent])
        forwarder.reads("leader", [query])
        await until(lambda: len(peers.calls) == 2)
        await forwarder.stop(Stopped("the node was stopped"))
        with pytest.raises(OutcomeUnknown):
            await sent.awaitable
        with pytest.raises(Stopped):
            await query.awaitable

    asyncio.run(main())


def test_each_command_and_read_has_its_own_deadline_though_a_call_serves_many() -> None:
    async def main() -> None:
        peers = Peers(echo)
        peers.gate.clear()
        forwarder = Forwarder(peers, peers.call, Timing())
        loop = asyncio.get_running_loop()
        hasty, patient = command(timeout=1), command(timeout=1000)
        forwarder.commands("leader", [hasty, patient])
        read = Query("kv", "get", (), 1, loop)
        forwarder.reads("leader", [read])
        for _ in range(15):
            forwarder.commands("leader", [command(timeout=1000)])
        unsent = command(timeout=1)
        forwarder.commands("leader", [unsent])
        await until(lambda: len(peers.calls) == 17)
        settle((late, NoLeader("nobody")) for late in forwarder.sweep(hasty.deadline + 2))
        async with asyncio.timeout(40):
            with pytest.raises(OutcomeUnknown, match="did not answer in time"):
                await hasty.awaitable
            for request in (read, unsent):
                with pytest.raises(NoLeader):
                    await request.awaitable
        peers.gate.set()
        assert await patient.awaitable == b"x"
        assert unsent not in peers.back, "it was said to be not applied"

    asyncio.run(main())


def test_a_command_that_waits_to_be_sent_again_is_not_called_unapplied_by_two() -> None:
    async def main() -> None:
        peers = Peers(refuse(NotLeader("another")))
        forwarder = Forwarder(peers, peers.call, Timing())
        waits = command(timeout=1)
        forwarder.commands("leader", [waits])
        await until(lambda: peers.calls and not waits.sent)
        settle((late, NoLeader("nobody")) for late in forwarder.sweep(waits.deadline + 2))
        await until(lambda: peers.back)
        assert not waits.future.done(), "the queue answers it"

    asyncio.run(main())


def test_a_transport_that_breaks_its_rule_leaves_nobody_waiting() -> None:
    def broken(request: PeerRequest) -> PeerReply:
        raise OSError("no route to host")

    async def main() -> None:
        peers = Peers(broken)
        forwarder = Forwarder(peers, peers.call, Timing())
        sent, read = command(), Query("kv", "get", (), 10, asyncio.get_running_loop())
        forwarder.commands("leader", [sent])
        forwarder.reads("leader", [read])
        async with asyncio.timeout(40):
            with pytest.raises(OutcomeUnknown, match="no route to host"):
                await sent.awaitable
            with pytest.raises(NoLeader, match="no route to host"):
                await read.awaitable

    asyncio.run(main())


def test_a_read_is_asked_again_after_an_answer_that_is_none() -> None:
    async def main() -> None:
        peers = Peers(lambda request: ProposeReply(()))
        query = Query("kv", "get", (), 10, asyncio.get_running_loop())
        Forwarder(peers, peers.call, Timing()).reads("leader", [query])
        await until(lambda: peers.back)
        assert peers.back == [query]

    asyncio.run(main())
