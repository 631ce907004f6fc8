"""Invalid messages are refused without effect; stale ones are answered or ignored."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braft_core.errors import ProtocolViolation
from braft_core.raft import (
    EMPTY_CONFIGURATION,
    AppendEntries,
    AppendEntriesResponse,
    Configuration,
    Entry,
    EntryType,
    InstallSnapshot,
    InstallSnapshotResponse,
    Message,
    RaftCore,
    Ready,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Role,
    SnapshotMeta,
    TimeoutNow,
    TimeoutNowResponse,
    encode_configuration,
)
from braft_core.raft.limits import MAX_ENTRIES, MAX_INDEX, MAX_SERVERS, MAX_TERM, MAX_TERM_STEP
from braft_testing.core_harness import CoreHarness, configuration, take_ready

HUGE = (1 << 63) - 1


def follower() -> tuple[CoreHarness, RaftCore]:
    """Return a follower of ``a`` in a cluster of three, with some committed entries."""
    harness = CoreHarness("abc")
    leader = harness.elect("a")
    for _ in range(4):
        leader.propose([b"x"])
        harness.settle()
    harness.advance(0.2)
    return harness, harness.nodes["b"]


def state_of(core: RaftCore) -> tuple[Any, ...]:
    log = core.log
    return (
        core.role,
        core.current_term,
        core.voted_for,
        core.leader,
        core.commit_index,
        [log.term_at(index) for index in range(core.last_index + 1)],
        core.configuration,
    )


def append(core: RaftCore, *entries: Entry, **fields: Any) -> AppendEntries:
    """Return entries of the next term from ``c``, after the end of the log."""
    last = core.last_index
    values: dict[str, Any] = {
        "sender": "c",
        "to": core.server_id,
        "term": core.current_term + 1,
        "prev_log_index": last,
        "prev_log_term": core.log.term_at(last),
        "entries": entries,
        "leader_commit": 0,
    }
    return AppendEntries(**{**values, **fields})


def command(index: int, term: int, kind: int = EntryType.COMMAND, data: bytes = b"x") -> Entry:
    return Entry(index, term, kind, data)


def install(core: RaftCore, **fields: Any) -> InstallSnapshot:
    meta = SnapshotMeta("s", core.last_index + 5, core.current_term, configuration("abc"), 1)
    sender, term = fields.pop("sender", "c"), fields.pop("term", core.current_term + 1)
    return InstallSnapshot(sender, core.server_id, term, meta._replace(**fields))


def broken(core: RaftCore) -> dict[str, Message]:
    """Return messages that no honest server sends to that follower of ``a``."""
    me, last, term, commit = core.server_id, core.last_index, core.current_term, core.commit_index
    index, new = last + 1, term + 1
    lists = {
        "a gap": [command(index + 1, new)],
        "a gap between": [command(index, new), command(index + 2, new)],
        "an entry twice": [command(index, new), command(index, new)],
        "entries backwards": [command(index + 1, new), command(index, new)],
        "terms that fall": [command(index, new), command(index + 1, term)],
        "a term below the previous": [command(index, term - 1)],
        "a term above the leader's": [command(index, new + 1)],
        "term 0": [command(index, 0)],
        "a negative type": [command(index, new, -1)],
        "a type of two bytes": [command(index, new, 256)],
        "a negative time": [Entry(index, new, 0, b"", b"", -1)],
        "no configuration": [command(index, new, EntryType.CONFIGURATION, b"\xff")],
        "nobody votes": [
            command(index, new, EntryType.CONFIGURATION, encode_configuration(EMPTY_CONFIGURATION))
        ],
        "too many": [command(index + n, new) for n in range(MAX_ENTRIES + 1)],
    }
    found: dict[str, Message] = {name: append(core, *entries) for name, entries in lists.items()}
    found |= {
        "heartbeat of a second leader": AppendEntries("c", me, term, 0, 0, (), 0),
        "entries of a second leader": append(core, command(index, term), term=term),
        "snapshot of a second leader": install(core, term=term),
        "other committed entry": append(
            core,
            command(commit, new),
            prev_log_index=commit - 1,
            prev_log_term=core.log.term_at(commit - 1),
        ),
        "other committed previous entry": append(core, prev_log_index=commit, prev_log_term=new),
        "previous index": append(core, prev_log_index=HUGE),
        "negative previous index": append(core, prev_log_index=-1),
        "previous term": append(core, prev_log_term=new + 1),
        "negative previous term": append(core, prev_log_term=-1),
        "previous entry without a term": append(core, prev_log_term=0),
        "commit index": append(core, leader_commit=HUGE),
        "negative commit index": append(core, leader_commit=-1),
        "snapshot at 0": install(core, index=0),
        "snapshot at the end of numbers": install(core, index=HUGE),
        "snapshot of a later term": InstallSnapshot(
            "a", me, term, install(core).meta._replace(term=new)
        ),
        "snapshot of term 0": InstallSnapshot("c", me, new, install(core).meta._replace(term=0)),
        "snapshot that nobody votes in": install(core, configuration=EMPTY_CONFIGURATION),
        "snapshot of too many": install(core, configuration=configuration("a" * (MAX_SERVERS + 1))),
        "snapshot with a later configuration": install(core, configuration_index=last + 6),
        "vote for the last term": RequestVote("c", me, HUGE, last, term, True),
        "vote for a negative term": RequestVote("c", me, -1, last, term, True),
        "vote for term 0": RequestVote("c", me, 0, 0, 0),
        "pre-vote for the last term": RequestPreVote("c", me, MAX_TERM, last, term),
        "vote with an index": RequestVote("c", me, new, HUGE, term),
        "vote with a term": RequestVote("c", me, new, last, HUGE),
        "heartbeat of the last term": AppendEntries("c", me, HUGE, 0, 0, (), 0),
        "heartbeat of term 0": AppendEntries("c", me, 0, 0, 0, (), 0),
        "answer of the last term": AppendEntriesResponse("c", me, HUGE, False, 0, request_id=1),
        "answer with an index": AppendEntriesResponse("c", me, term, True, -1, request_id=1),
        "answer with a stamp": AppendEntriesResponse("c", me, term, True, 1, stamp=-1),
        "vote of the last term": RequestVoteResponse("c", me, HUGE, True, request_id=1),
        "pre-vote of the last term": RequestPreVoteResponse("c", me, HUGE, True, request_id=1),
        "receipt of the last term": InstallSnapshotResponse("c", me, HUGE, True, request_id=1),
        "for somebody else": AppendEntries("a", "x", term, 0, 0, (), 0),
        "from ourselves": AppendEntries(me, me, new, 0, 0, (), 0),
        "our own vote": RequestVoteResponse(me, me, term, True, request_id=1),
    }
    return found


@pytest.mark.parametrize("name", broken(follower()[1]))
def test_what_breaks_a_rule_is_refused_and_changes_nothing(name: str) -> None:
    _, core = follower()
    before = state_of(core)
    with pytest.raises(ProtocolViolation) as caught:
        core.step(broken(core)[name])
    assert state_of(core) == before
    assert core.poll() is None, "nobody is answered"
    assert caught.value.data["rule"] in caught.value.message


def test_a_leader_refuses_another_leader_of_its_term() -> None:
    harness, _ = follower()
    leader = harness.nodes["a"]
    before = state_of(leader)
    for message in (
        AppendEntries("b", "a", leader.current_term, 0, 0, (), 0),
        install(leader, term=leader.current_term, sender="b"),
    ):
        with pytest.raises(ProtocolViolation, match="two leaders in term"):
            leader.step(message)
    assert state_of(leader) == before
    assert leader.role is Role.LEADER


def stale(core: RaftCore) -> dict[str, Message]:
    """Return messages that are late, duplicated or out of order."""
    me, term, last = core.server_id, core.current_term, core.last_index
    old = term - 1
    return {
        "entries of an older leader": append(
            core, term=old, prev_log_index=1, prev_log_term=1, entries=(command(2, old),)
        ),
        "snapshot of an older leader": InstallSnapshot(
            "c", me, old, install(core).meta._replace(term=old)
        ),
        "vote for an older term": RequestVote("c", me, old, last, old, True),
        "pre-vote for an older term": RequestPreVote("c", me, old, last, old),
        "successor of nobody": TimeoutNow("c", me),
        "a position we have not reached": append(
            core, sender="a", term=term, prev_log_index=last + 99, prev_log_term=term
        ),
    }


@pytest.mark.parametrize("name", stale(follower()[1]))
def test_what_is_stale_is_answered(name: str) -> None:
    _, core = follower()
    before = state_of(core)
    core.step(stale(core)[name])
    assert state_of(core) == before
    ready = take_ready(core)
    assert len([*ready.messages, *ready.messages_after_persist]) == 1


@pytest.mark.parametrize(
    "answer",
    [
        AppendEntriesResponse("b", "a", 2, True, MAX_INDEX, lease=True, request_id=1 << 40),
        AppendEntriesResponse("b", "a", 2, False, 0, stamp=77, request_id=1 << 40),
        AppendEntriesResponse("x", "a", 2, True, MAX_INDEX, request_id=1),
        RequestVoteResponse("b", "a", 2, True, request_id=1 << 40),
        RequestPreVoteResponse("b", "a", 2, True, request_id=1 << 40),
        InstallSnapshotResponse("b", "a", 2, True, request_id=1 << 40),
        TimeoutNowResponse("b", "a", request_id=1 << 40),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_an_answer_to_what_was_never_asked_proves_nothing(answer: Message) -> None:
    harness = CoreHarness("abc")
    leader = harness.elect("a")
    harness.dead = {"b", "c"}
    leader.propose([b"x"])
    harness.settle()
    if not isinstance(answer, TimeoutNow | TimeoutNowResponse):
        answer.term = leader.current_term
    before = state_of(leader), [p._replace(silent_for=0.0) for p in leader.peers()]
    leader.step(answer)
    assert (state_of(leader), [p._replace(silent_for=0.0) for p in leader.peers()]) == before
    assert leader.commit_index < leader.last_index


def test_a_vote_in_anothers_name_does_not_use_up_the_question() -> None:
    harness = CoreHarness("abcde")
    harness.lose = lambda message: isinstance(message, RequestVote)
    core = harness.nodes["a"]
    for server in harness.nodes.values():
        server.tick(0.0)
    core.tick(core.next_deadline())
    harness.settle()
    asked = {m.to: m.request_id for m in harness.sent if isinstance(m, RequestVote)}
    core.step(RequestVoteResponse("c", "a", core.current_term, False, request_id=asked["b"]))
    for voter in "bc":
        core.step(RequestVoteResponse(voter, "a", core.current_term, True, request_id=asked[voter]))
    assert core.role is Role.LEADER


# -- large steps of the term ---------------------------------------------------------------------


def far(core: RaftCore, term: int) -> AppendEntriesResponse:
    return AppendEntriesResponse("c", core.server_id, term, False, 0, request_id=1 << 40)


def tolerate(harness: CoreHarness) -> None:
    """Let servers refuse messages of each other."""

    def deliver(message: Message) -> bool:
        with suppress(ProtocolViolation):
            harness.nodes[message.to].step(message)
        return True

    harness.lose = deliver


def test_a_term_within_a_leap_is_adopted() -> None:
    _, core = follower()
    core.step(far(core, core.current_term + MAX_TERM_STEP))
    assert core.current_term == 2 + MAX_TERM_STEP


def test_one_message_raises_the_term_by_a_step_and_many_by_no_more() -> None:
    harness, core = follower()
    start = core.current_term
    for _ in range(1000):
        with pytest.raises(ProtocolViolation, match="beyond"):
            core.step(far(core, MAX_TERM - 1))
    assert core.current_term == start + MAX_TERM_STEP
    core.tick(harness.now + harness.config.election_timeout)
    with pytest.raises(ProtocolViolation, match="beyond"):
        core.step(far(core, MAX_TERM - 1))
    assert core.current_term == start + 2 * MAX_TERM_STEP


def test_a_candidate_of_a_far_term_moves_nobody_who_hears_a_leader() -> None:
    _, core = follower()
    before = state_of(core)
    term = core.current_term + MAX_TERM_STEP + 1
    with pytest.raises(ProtocolViolation, match="beyond"):
        core.step(RequestVote("c", "b", term, 9, 2))
    core.step(RequestPreVote("c", "b", term, 9, 2))
    assert state_of(core) == before
    (answer,) = take_ready(core).messages
    assert isinstance(answer, RequestPreVoteResponse)
    assert not answer.granted


def test_a_candidate_of_a_far_term_is_elected_by_voters_that_do_not_campaign() -> None:
    """Found by simulation: the only possible candidate's term was too far ahead."""
    harness, core = follower()
    harness.isolate("b")
    core.step(far(core, core.current_term + MAX_TERM_STEP))
    harness.heal()
    harness.nodes["a"].step_down("for the test")
    for server in ("a", "c"):
        harness.nodes[server].set_campaign_enabled(False)
    tolerate(harness)
    core.step(far(core, core.current_term + MAX_TERM_STEP))
    harness.advance(20.0)
    assert harness.leaders == ["b"]


def test_servers_whose_terms_are_far_apart_meet() -> None:
    harness, core = follower()
    harness.cut = {frozenset("ab"), frozenset("bc")}
    for step in range(1, 6):
        core.tick(harness.now + step * harness.config.election_timeout)
        with pytest.raises(ProtocolViolation):
            core.step(far(core, MAX_TERM - 1))
    assert core.current_term > 4 * MAX_TERM_STEP
    harness.cut = set()
    tolerate(harness)
    harness.advance(20.0)
    terms = {server.current_term for server in harness.nodes.values()}
    assert len(terms) == 1
    assert len(harness.leaders) == 1


# -- arbitrary messages --------------------------------------------------------------------------

_NUMBERS = st.one_of(
    st.integers(0, 12),
    st.sampled_from(
        [-1, MAX_TERM_STEP, MAX_TERM_STEP + 9, MAX_TERM - 1, MAX_TERM, MAX_INDEX, HUGE]
    ),
    st.integers(-(1 << 64), 1 << 64),
)
_NAMES = st.sampled_from(["a", "b", "c", "d", "x", ""])
_CONFIGURATIONS = st.sampled_from(
    [configuration("abc"), configuration("abcd"), configuration("b"), EMPTY_CONFIGURATION]
) | st.builds(
    lambda names: Configuration(tuple(configuration("".join(names)).servers)),
    st.lists(st.sampled_from("abcd"), max_size=4),
)
_DATA = st.binary(max_size=8) | _CONFIGURATIONS.map(encode_configuration)
_ENTRIES = st.lists(
    st.builds(Entry, _NUMBERS, _NUMBERS, st.integers(-1, 9) | _NUMBERS, _DATA), max_size=3
) | st.builds(
    lambda first, term, data: [Entry(first + n, term, 0, data) for n in range(3)],
    st.integers(1, 12),
    st.integers(1, 4),
    st.binary(max_size=3),
)
_IDS = st.integers(0, 40)
_FLAGS = st.booleans()
_METAS = st.builds(SnapshotMeta, st.just("s"), _NUMBERS, _NUMBERS, _CONFIGURATIONS, _NUMBERS)
_MESSAGES = st.one_of(
    st.builds(
        AppendEntries, _NAMES, _NAMES, _NUMBERS, _NUMBERS, _NUMBERS, _ENTRIES, _NUMBERS, _IDS
    ),
    st.builds(
        AppendEntriesResponse,
        *(_NAMES, _NAMES, _NUMBERS, _FLAGS, _NUMBERS),
        lease=_FLAGS,
        request_id=_IDS,
        stamp=_NUMBERS,
    ),
    st.builds(RequestVote, _NAMES, _NAMES, _NUMBERS, _NUMBERS, _NUMBERS, _FLAGS, _IDS),
    st.builds(RequestVoteResponse, _NAMES, _NAMES, _NUMBERS, _FLAGS, _IDS),
    st.builds(RequestPreVote, _NAMES, _NAMES, _NUMBERS, _NUMBERS, _NUMBERS, _IDS),
    st.builds(RequestPreVoteResponse, _NAMES, _NAMES, _NUMBERS, _FLAGS, _IDS),
    st.builds(TimeoutNow, _NAMES, _NAMES, _IDS),
    st.builds(InstallSnapshot, _NAMES, _NAMES, _NUMBERS, _METAS, _IDS),
    st.builds(InstallSnapshotResponse, _NAMES, _NAMES, _NUMBERS, _FLAGS, _IDS),
)
#: Events other than messages.
_TURNS = st.sampled_from(["nothing", "tick", "long", "ready", "durable", "propose"])


def test_an_answer_without_a_sender_is_ignored() -> None:
    core = in_role(Role.CANDIDATE)
    core.step(RequestVoteResponse("", "a", core.current_term, True, request_id=0))
    assert core.role is Role.CANDIDATE


def in_role(role: Role) -> RaftCore:
    """Return a core in that role with entries, some of them uncommitted."""
    harness = CoreHarness("abc")
    core = harness.elect("a")
    for _ in range(3):
        core.propose([b"x"])
        harness.settle()
    harness.dead = {"b", "c"}
    core.propose([b"y"])
    harness.settle()
    if role is not Role.LEADER:
        core.step_down("for the test")
    if role in (Role.PRE_CANDIDATE, Role.CANDIDATE):
        core.tick(harness.now + 60.0)
        ready = take_ready(core)
        core.persisted(ready.number)
        if role is Role.CANDIDATE:
            for message in ready.messages:
                core.step(
                    RequestPreVoteResponse(
                        message.to, "a", core.current_term, True, request_id=message.request_id
                    )
                )
    assert core.role is role
    return core


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(Role)),
    st.lists(st.tuples(_MESSAGES, _FLAGS, _TURNS), min_size=1, max_size=12),
)
def test_no_message_harms_a_core_of_any_role(
    role: Role, script: list[tuple[Message, bool, str]]
) -> None:
    core, now, pending = in_role(role), 100.0, list[Ready]()
    for message, aimed, turn in script:
        if aimed:
            message.to = "a"
        before = core.current_term, core.voted_for, core.commit_index, core.last_index, core.role
        committed = [core.log.term_at(index) for index in range(core.commit_index + 1)]
        try:
            core.step(message)
        except ProtocolViolation:
            assert (core.commit_index, core.last_index) == before[2:4]
        assert before[0] <= core.current_term < MAX_TERM
        if core.current_term == before[0] and before[1]:
            assert core.voted_for == before[1], "a vote is for its whole term"
        assert before[2] <= core.commit_index <= core.last_index
        if core.log.compacted_index == 0:
            assert [core.log.term_at(index) for index in range(before[2] + 1)] == committed
        terms = [core.log.term_at(i) for i in range(core.log.first_index, core.last_index + 1)]
        falls = any((a or 0) > (b or 0) for a, b in itertools.pairwise(terms))
        assert not falls, "terms never fall along a log"
        assert core.configuration.voters
        if turn in ("tick", "long"):
            now += 0.05 if turn == "tick" else 2.0
            core.tick(now)
        elif turn == "ready" and (ready := core.poll()) is not None:
            pending.append(ready)
        elif turn == "durable" and pending:
            core.persisted(pending.pop(0).number)
        elif turn == "propose" and core.role is Role.LEADER:
            core.propose([b"z"])
