"""Commands of a session on the node that accepted them: retries, and what callers see."""

from __future__ import annotations

import asyncio
import functools
import traceback
from collections.abc import Callable, Coroutine, Sequence
from types import CodeType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.abc import Identity
from braft_core.errors import (
    BraftError,
    Busy,
    Conflict,
    NoLeader,
    NotApplied,
    NotLeader,
    NotReady,
    OutcomeUnknown,
    SessionExpired,
    Stopped,
    TooLarge,
    Unreachable,
)
from braft_core.peer import PeerReply, PeerRequest, ProposeReply, ProposeRequest
from braft_core.raft import Entry, EntryType
from braft_core.runtime import sessions as module
from braft_core.runtime.forwarding import Forwarder
from braft_core.runtime.pending import PendingProposals, Segment
from braft_core.runtime.requests import Command, Query, Request, SupersededAttempt, settle
from braft_core.runtime.retry_queue import RetryQueue
from braft_core.runtime.sessions import ClientSession, SessionCommand, Sessions, Window
from braft_core.runtime.timing import Timing
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.envelope import (
    decode_command,
    decode_session_stamp,
    encode_command,
    encode_outcome,
)

MSGPACK = MsgpackSerializer()
PLAIN = encode_command(MSGPACK, "kv", "put", ["m", "k", 1])
UNKNOWN = OutcomeUnknown("lost in the wire")
#: Timeout of commands in tests that are not about deadlines, seconds.
PATIENCE = 40.0


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run the test in its own event loop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen in time")


def callers() -> list[CodeType]:
    """Return the functions that are being executed by this thread."""
    return [frame.f_code for frame, _ in traceback.walk_stack(None)]


class Node:
    """Records submitted commands; the test answers them."""

    def __init__(self) -> None:
        self.taken: list[Command] = []
        #: The ids that were drawn, in order.
        self.drawn: list[bytes] = []
        self.retries = RetryQueue(self.submit, 0.001)
        self.retries.start()
        self.sessions = Sessions(self, MSGPACK, 1.0, self.draw)
        self.sessions.start()

    def draw(self, count: int) -> bytes:
        self.drawn.append((100 + len(self.drawn)).to_bytes(count, "big"))
        return self.drawn[-1]

    def submit(self, request: Command | Query) -> None:
        assert isinstance(request, Command)
        assert settle.__code__ not in callers(), "an answer submits"
        self.taken.append(request)

    def refusal(self) -> NotApplied:
        return NoLeader("nobody leads")

    async def next(self) -> Command:
        await until(lambda: bool(self.taken))
        return self.taken.pop(0)

    async def open(self, client_session: ClientSession) -> bytes:
        """Answer the command that opens a session."""
        opening = await self.next()
        session = opened_by(opening)
        settle([(opening, session)])
        await until(lambda: client_session.session_id == session)
        return session

    def command(self, client_session: ClientSession, timeout: float = PATIENCE) -> SessionCommand:
        command = SessionCommand(client_session, PLAIN, timeout, asyncio.get_running_loop())
        client_session.submit(command)
        return command


def opened_by(command: Command) -> bytes:
    """Return the id in a command that opens a session."""
    service, name, (session,) = decode_command({1: MSGPACK}, command.data)
    assert (service, name) == ("$sessions", "open")
    assert type(session) is bytes
    return session


async def _started(renews: bool = True) -> tuple[Node, ClientSession, SessionCommand]:
    """Return a client with an open session, and its first command, which was sent once."""
    node = Node()
    client_session = ClientSession(node.sessions, renews=renews)
    command = node.command(client_session)
    await node.open(client_session)
    assert await node.next() is command
    return node, client_session, command


async def _error(command: Command) -> BraftError:
    with pytest.raises(BraftError) as caught:
        await asyncio.wait_for(command.awaitable, PATIENCE)
    return caught.value


@on_loop
async def test_one_that_is_done_with_holds_up_nobody_who_rests_beside_it() -> None:
    """Its caller was cancelled before the retry, and its number was acknowledged."""
    node, client_session, first = await _started()
    second = node.command(client_session)
    taken = await node.next()
    assert taken is second
    settle([(first, UNKNOWN), (second, UNKNOWN)])
    first.finish()
    again = await node.next()
    assert again is second
    assert decode_session_stamp(second.data)[2] == second.number


@on_loop
async def test_one_session_serves_all_that_wait_for_it() -> None:
    node = Node()
    client_session = node.sessions.shared
    commands = [node.command(client_session) for _ in range(3)]
    session = await node.open(client_session)
    assert [await node.next() for _ in commands] == commands
    assert [decode_session_stamp(c.data) for c in commands] == [(session, n, 1) for n in (1, 2, 3)]
    commands[0].finish()
    assert decode_session_stamp((node.command(client_session)).data) == (session, 4, 2)
    assert not [c for c in node.taken if decode_command({1: MSGPACK}, c.data)[0] != "kv"]


@pytest.mark.parametrize(
    "error",
    [
        UNKNOWN,
        NotLeader("deposed"),
        NoLeader("none"),
        NotReady("not yet"),
        Stopped("the leader stops"),
        Busy("full of answers", session=1),
        Busy("a transfer", successor="b"),
    ],
)
@on_loop
async def test_what_passes_is_tried_again_under_the_same_number(error: BraftError) -> None:
    node, _, command = await _started()
    before = decode_session_stamp(command.data)
    settle([(command, error)])
    assert await node.next() is command
    assert decode_session_stamp(command.data) == before
    assert not command.sent
    settle([(command, 7)])
    assert await command.awaitable == 7


@pytest.mark.parametrize("error", [Busy("too much"), TooLarge("too large"), Conflict("no")])
@on_loop
async def test_what_does_not_pass_is_an_answer(error: BraftError) -> None:
    node, _, command = await _started()
    settle([(command, error)])
    assert await _error(command) is error
    assert not node.taken


@on_loop
async def test_after_an_unknown_outcome_nothing_is_surely_not_applied() -> None:
    node, _, command = await _started()
    settle([(command, UNKNOWN)])
    assert await node.next() is command
    settle([(command, Busy("too much"))])
    assert await node.next() is command
    command.deadline = 0.0
    settle([(command, NoLeader("none in time"))])
    assert isinstance(await _error(command), OutcomeUnknown)


@on_loop
async def test_a_deadline_without_an_attempt_that_may_have_been_applied_is_not_unknown() -> None:
    node, _, command = await _started()
    settle([(command, NotLeader("deposed"))])
    assert await node.next() is command
    command.deadline = 0.0
    settle([(command, NoLeader("none in time"))])
    assert isinstance(await _error(command), NoLeader)


@on_loop
async def test_a_conflict_after_a_retry_is_the_answer() -> None:
    node, _, command = await _started()
    settle([(command, UNKNOWN)])
    await node.next()
    conflict = Conflict("no", revision=3)
    settle([(command, conflict)])
    assert await _error(command) is conflict


@on_loop
async def test_the_floor_of_another_attempt_is_the_present_one() -> None:
    node, client_session, command = await _started()
    second = node.command(client_session)
    await node.next()
    assert decode_session_stamp(second.data)[2] == 1
    command.finish()
    settle([(second, Busy("full of answers", session=1))])
    await node.next()
    assert decode_session_stamp(second.data)[1:] == (2, 2)


@on_loop
async def test_nobody_waits_for_a_cancelled_command() -> None:
    node, client_session, command = await _started()
    command.awaitable.cancel()
    command.finish()
    settle([(command, UNKNOWN)])
    other = node.command(client_session)
    assert await node.next() is other
    await asyncio.sleep(0.01)
    assert not node.taken
    assert decode_session_stamp(other.data)[1:] == (2, 2)


@on_loop
async def test_a_caller_that_has_gone_away_holds_no_number() -> None:
    node, client_session, _ = await _started()
    gone = SessionCommand(client_session, PLAIN, PATIENCE, asyncio.get_running_loop())
    gone.finish()
    client_session.submit(gone)
    assert not node.taken
    assert decode_session_stamp(node.command(client_session).data)[1] == 2


@on_loop
async def test_an_expired_session_is_renewed_for_what_was_sent_once() -> None:
    node, client_session, command = await _started()
    first = client_session.session_id
    settle([(command, SessionExpired("gone"))])
    session = await node.open(client_session)
    assert await node.next() is command
    assert session > first
    assert decode_session_stamp(command.data) == (session, 1, 1)
    settle([(command, SessionExpired("gone", session=session))])
    await node.open(client_session)
    assert await node.next() is command


@on_loop
async def test_an_expired_session_leaves_unknown_what_was_sent_twice() -> None:
    node, _, command = await _started()
    settle([(command, UNKNOWN)])
    await node.next()
    settle([(command, SessionExpired("gone"))])
    assert isinstance(await _error(command), OutcomeUnknown)


@pytest.mark.parametrize("twice", [False, True])
@on_loop
async def test_a_session_of_ones_own_tells_whether_it_may_have_been_applied(twice: bool) -> None:
    node, client_session, command = await _started(renews=False)
    if twice:
        settle([(command, UNKNOWN)])
        await node.next()
    settle([(command, SessionExpired("gone", session=client_session.session_id))])
    error = await _error(command)
    assert isinstance(error, SessionExpired)
    assert error.data == {"session": client_session.session_id, "maybe_applied": twice}


@on_loop
async def test_a_full_session_is_replaced_or_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 2)
    for renews in (True, False):
        node, client_session, _ = await _started(renews=renews)
        node.command(client_session)
        await node.next()
        if renews:
            third = node.command(client_session)
            session = await node.open(client_session)
            assert decode_session_stamp(third.data) == (session, 1, 1)
        else:
            with pytest.raises(Busy, match="at most 2 numbers later"):
                node.command(client_session)


@on_loop
async def test_who_waits_for_a_session_waits_until_its_own_deadline() -> None:
    node = Node()
    client_session = node.sessions.shared
    short, long = node.command(client_session, 0.0), node.command(client_session)
    node.sessions.sweep()
    assert isinstance(await _error(short), NoLeader)
    assert not long.future.done()
    opening = await node.next()
    opening.deadline = 0.0
    settle([(opening, UNKNOWN)])  # ``long`` was not sent yet, so its outcome is known
    await node.open(client_session)
    assert await node.next() is long


@on_loop
async def test_a_session_that_cannot_be_opened_is_an_answer() -> None:
    node = Node()
    command = node.command(node.sessions.shared)
    full = Busy("the disk is full")
    settle([(await node.next(), full)])
    assert await _error(command) is full
    late = node.command(node.sessions.shared, 0.0)
    opening = await node.next()
    opening.deadline = 0.0
    settle([(opening, UNKNOWN)])
    assert isinstance(await _error(late), NoLeader)


@on_loop
async def test_a_command_that_waits_for_a_session_is_never_sent_without_one() -> None:
    node = Node()
    command = node.command(node.sessions.shared)
    opening = await node.next()
    opening.deadline = 0.0  # a later command may have a later deadline than the opening
    settle([(opening, NotLeader("the leader has changed"))])
    assert isinstance(await _error(command), NotLeader)
    assert node.taken == []


@on_loop
async def test_a_node_that_stops_answers_everybody() -> None:
    node, client_session, tried = await _started()
    fresh = node.command(client_session)
    await node.next()
    other = ClientSession(node.sessions, renews=False)
    waiting = node.command(other)
    settle([(tried, UNKNOWN), (fresh, NotLeader("deposed"))])
    stopped = Stopped("the node was stopped")
    node.sessions.stop(stopped)
    node.retries.stop(stopped)
    assert isinstance(await _error(tried), OutcomeUnknown)
    assert await _error(fresh) is stopped
    assert await _error(waiting) is stopped
    with pytest.raises(Stopped):
        node.command(other)


@given(st.lists(st.one_of(st.none(), st.lists(st.integers(0, 30), max_size=5)), max_size=60))
def test_the_floor_is_the_lowest_number_under_way(steps: list[list[int] | None]) -> None:
    window, under_way, given_out = Window(bytes(16)), set[int](), 0
    for done in steps:
        if done is None:
            given_out += 1
            assert window.take() == given_out
            under_way.add(given_out)
        elif given_out:
            numbers = [which % given_out + 1 for which in done]
            under_way.difference_update(numbers)
            window.done(numbers)
        assert window.first_unacknowledged == min(under_way, default=given_out + 1)


@on_loop
async def test_commands_that_are_answered_together_are_acknowledged_together() -> None:
    """A forwarded command among them has no session here; another session has its own numbers."""
    node, client_session, first = await _started()
    second, third = node.command(client_session), node.command(client_session)
    other = ClientSession(node.sessions, renews=True)
    foreign = node.command(other)
    forwarded = Command(PLAIN, PATIENCE, asyncio.get_running_loop())
    settle([(first, 1), (forwarded, 2), (foreign, 3), (third, Conflict("no"))])
    assert await forwarded.awaitable == 2
    assert [each.finished for each in (first, second, third, foreign)] == [True, False, True, True]
    assert decode_session_stamp(node.command(client_session).data)[2] == second.number
    settle([(second, 4)])
    assert await second.awaitable == 4
    assert decode_session_stamp(node.command(client_session).data)[2] == third.number + 1


@on_loop
async def test_a_cancelled_command_keeps_its_number_until_its_caller_has_left() -> None:
    node, client_session, first = await _started()
    second = node.command(client_session)
    first.awaitable.cancel()
    settle([(first, 1), (second, 2)])
    assert await second.awaitable == 2
    assert not first.finished
    assert decode_session_stamp(node.command(client_session).data)[2] == first.number
    first.finish()
    assert decode_session_stamp(node.command(client_session).data)[2] == second.number + 1


@on_loop
async def test_the_success_of_a_superseded_attempt_leaves_the_number_to_the_caller() -> None:
    node, client_session, first = await _started()
    settle([(SupersededAttempt(first), 1)])
    assert await first.awaitable == 1
    assert decode_session_stamp(node.command(client_session).data)[2] == first.number
    first.finish()
    assert decode_session_stamp(node.command(client_session).data)[2] == first.number + 1


@on_loop
async def test_a_command_of_a_session_has_all_that_requests_have() -> None:
    """It is made in one step, without the constructors of its base classes."""
    _, _, command = await _started()
    slots = [name for each in type(command).__mro__ for name in getattr(each, "__slots__", ())]
    assert {"deadline", "holder", "unknown", "number"} <= set(slots)
    assert all(hasattr(command, name) for name in slots)


# --------------------------------------------------------------------------------------------
# The runtime's part of sessions


class Peers:
    """The node of a forwarder: calls to ``frozen`` never end, others return ``reply``."""

    identity = Identity("me", "127.0.0.1:2", "c")

    def __init__(self, reply: Callable[[ProposeRequest], PeerReply]) -> None:
        self._reply = reply
        self.release = asyncio.Event()
        self.calls: list[str] = []
        self.again: list[Request] = []
        self.retries = RetryQueue(self.again.append, 0.001)
        self.retries.start()

    @property
    def addresses(self) -> Peers:
        return self

    def of(self, server_id: str) -> str:
        return server_id

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        self.calls.append(address)
        assert isinstance(request, ProposeRequest)
        if address == "frozen":
            await self.release.wait()
        return self._reply(request)

    def serve(self, index: int, queries: list[Query]) -> None:
        raise AssertionError("no reads here")


def _values(request: ProposeRequest) -> ProposeReply:
    return ProposeReply(tuple(encode_outcome(9) for _ in request.commands))


def _failure(request: ProposeRequest) -> ProposeReply:
    raise Unreachable("broken")


@pytest.mark.parametrize("reply", [_values, _failure])
@on_loop
async def test_a_frozen_leader_is_not_waited_for_when_there_is_another(
    reply: Callable[[ProposeRequest], PeerReply],
) -> None:
    node, _, command = await _started()
    plain = Command(PLAIN, PATIENCE, asyncio.get_running_loop())
    peers = Peers(reply)
    forwarder = Forwarder(peers, peers.call, Timing())
    forwarder.commands("frozen", [command, plain])
    await until(lambda: bool(peers.calls))
    forwarder.leader_changed("frozen")
    assert not command.unknown
    forwarder.leader_changed("other")
    assert await node.next() is command
    assert command.unknown
    peers.release.set()
    if reply is _values:
        assert [await command.awaitable, await plain.awaitable] == [9, 9]
    else:
        assert isinstance(await _error(plain), OutcomeUnknown)
        await asyncio.sleep(0.02)
        assert not command.future.done(), "the first attempt's failure is no answer any more"
        assert not node.taken
    await forwarder.stop(Stopped("the end"))


@on_loop
async def test_calls_to_a_frozen_leader_do_not_block_those_to_the_next() -> None:
    peers = Peers(_values)
    forwarder = Forwarder(peers, peers.call, Timing())
    loop = asyncio.get_running_loop()
    frozen = [Command(PLAIN, PATIENCE, loop) for _ in range(20)]
    for command in frozen:
        forwarder.commands("frozen", [command])
    forwarder.leader_changed("other")
    await until(lambda: bool(peers.again))
    assert len(peers.again) == 4, "what waited for a free call goes to the new leader"
    command = Command(PLAIN, PATIENCE, loop)
    forwarder.commands("other", [command])
    assert await asyncio.wait_for(command.awaitable, PATIENCE) == 9
    await forwarder.stop(Stopped("the end"))
    assert all([isinstance(await _error(c), OutcomeUnknown) for c in frozen[:16]])


@on_loop
async def test_an_echo_brings_only_what_is_certain() -> None:
    loop = asyncio.get_running_loop()
    for error in (UNKNOWN, NotLeader("no"), SessionExpired("gone")):
        command = Command(PLAIN, PATIENCE, loop)
        settle([(SupersededAttempt(command), error)])
        settle([(SupersededAttempt(command), 3)])
        assert await command.awaitable == 3


def _entries(first: int, terms: Sequence[int]) -> list[Entry]:
    return [Entry(first + n, term, EntryType.COMMAND, b"") for n, term in enumerate(terms)]


def test_a_later_term_ends_the_waiting_of_all_earlier_ones() -> None:
    old = [Command(b"", PATIENCE) for _ in range(3)]
    new = Command(b"", PATIENCE)
    pending = PendingProposals()
    pending.add(5, 1, [*old])
    pending.add(9, 2, [new])
    segments, lost = pending.take(_entries(5, [1]))
    assert (segments, lost) == ([Segment(0, [old[0]])], [])
    segments, lost = pending.take(_entries(6, [2]))
    assert segments == []
    assert lost == [old[1], old[2]]
    assert pending.undecided() == [new]


def test_a_request_is_settled_once_by_whoever_is_first() -> None:
    command = Command(b"", PATIENCE)

    class Slow:
        """Claims to be pending, as a future may to the second of two threads."""

        def done(self) -> bool:
            return False

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    real = command.blocking
    settle([(command, 1)])
    command.future = Slow()  # type: ignore[assignment]
    settle([(command, UNKNOWN), (command, 2)])
    assert real.result(0) == 1


@on_loop
async def test_each_attempt_to_open_a_session_has_an_id_of_its_own() -> None:
    """A late first attempt must not reopen a session that has ended meanwhile."""
    node = Node()
    client_session = ClientSession(node.sessions, renews=True)
    node.command(client_session)
    opening = await node.next()
    first = opened_by(opening)
    settle([(opening, UNKNOWN)])
    again = await node.next()
    assert again is opening
    second = opened_by(again)
    assert first != second
    settle([(again, second)])
    await until(lambda: client_session.session_id == second)


@pytest.mark.parametrize("answer", [None, 7, b"", b"x" * 16, "text"])
@on_loop
async def test_a_leader_cannot_choose_the_session(answer: Any) -> None:
    node = Node()
    client_session = ClientSession(node.sessions, renews=True)
    command = node.command(client_session)
    settle([(await node.next(), answer)])
    assert "did not register the requested session" in (await _error(command)).message
    assert client_session.session_id == b""
