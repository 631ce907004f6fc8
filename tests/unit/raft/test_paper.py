"""The rules of the Raft paper and thesis, section by section."""

from __future__ import annotations

import pytest

from braft_core.errors import Busy, NotLeader, ProtocolViolation, Rejected
from braft_core.raft import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    EntryType,
    HardState,
    Message,
    RaftConfig,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Role,
)
from braft_testing.core_harness import CoreHarness, take_ready


def append(term: int, prev: tuple[int, int], *entries: Entry, commit: int = 0) -> AppendEntries:
    return AppendEntries("b", "a", term, prev[0], prev[1], entries, commit, request_id=99)


def command(index: int, term: int, data: bytes = b"x") -> Entry:
    return Entry(index, term, EntryType.COMMAND, data)


# -- §5.1, §5.2: terms, votes, elections ---------------------------------------------------------


def test_5_1_a_message_of_an_older_term_is_refused_with_the_newer_term() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    a.step(AppendEntries("b", "a", 1, 1, 1, (), 1, request_id=7))
    harness.settle()
    answer = next(m for m in harness.sent if isinstance(m, AppendEntriesResponse) and m.to == "b")
    assert (answer.success, answer.term, answer.request_id) == (False, a.current_term, 7)
    assert a.role is Role.LEADER


def test_5_1_a_newer_term_deposes_a_leader() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    a.step(append(a.current_term + 1, (1, 1)))
    assert (a.role, a.leader) == (Role.FOLLOWER, "b")


def test_5_2_term_and_vote_are_durable_before_they_are_spoken() -> None:
    harness = CoreHarness("abc")
    harness.slow_disk = {"a", "b"}
    b = harness.nodes["b"]
    b.step(RequestVote("c", "b", 5, 1, 1, request_id=1))
    ready = take_ready(b)
    assert ready.hard_state == HardState(5, "c")
    assert not ready.messages
    assert [type(m) for m in ready.messages_after_persist] == [RequestVoteResponse]


def test_5_2_one_vote_per_term() -> None:
    harness = CoreHarness("abc")
    a = harness.nodes["a"]
    for candidate in ("b", "c", "b"):
        a.step(RequestVote(candidate, "a", 5, 9, 9, request_id=1))
    answers = [
        m for m in take_ready(a).messages_after_persist if isinstance(m, RequestVoteResponse)
    ]
    assert [(m.to, m.granted) for m in answers] == [("b", True), ("c", False), ("b", True)]


def test_5_2_a_vote_survives_a_restart() -> None:
    harness = CoreHarness("abc")
    harness.nodes["a"].step(RequestVote("b", "a", 5, 9, 9, request_id=1))
    harness.settle()
    again = harness.restart("a")
    again.step(RequestVote("c", "a", 5, 9, 9, request_id=1))
    (answer,) = take_ready(again).messages
    assert isinstance(answer, RequestVoteResponse)
    assert not answer.granted


def test_5_2_requests_for_votes_wait_for_the_candidates_own_disk() -> None:
    harness = CoreHarness("abc")
    harness.slow_disk = {"a"}
    harness.dead = {"b", "c"}
    a = harness.nodes["a"]
    a.tick(a.next_deadline())
    (preready,) = [take_ready(a)]
    for request in preready.messages:
        assert isinstance(request, RequestPreVote)
        a.step(RequestPreVoteResponse(request.to, "a", 1, True, request_id=request.request_id))
    ready = take_ready(a)
    assert not any(isinstance(m, RequestVote) for m in ready.messages)
    assert {m.to for m in ready.messages_after_persist} == {"b", "c"}


def test_5_2_a_lone_voter_leads_only_once_its_vote_is_durable() -> None:
    harness = CoreHarness("a")
    a = harness.nodes["a"]
    a.tick(0.0)
    ready = take_ready(a)
    assert a.role.name == "CANDIDATE"
    a.persisted(ready.number)
    assert a.role.name == "LEADER"


def test_5_2_duplicate_and_stale_votes_do_not_count() -> None:
    harness = CoreHarness("abcde")
    harness.lose = lambda m: isinstance(m, RequestVote)
    a = harness.nodes["a"]
    for core in harness.nodes.values():
        core.tick(0.0)
    a.tick(a.next_deadline())
    harness.settle()
    assert a.role is Role.CANDIDATE
    asked = [m for m in harness.sent if isinstance(m, RequestVote) and m.to == "b"]
    vote = RequestVoteResponse("b", "a", a.current_term, True, request_id=asked[0].request_id)
    for _ in range(3):
        a.step(vote)
    stale = RequestVoteResponse("c", "a", a.current_term - 1, True, request_id=1)
    a.step(stale)
    assert a.role is Role.CANDIDATE, "two of five votes are no majority"


def test_5_2_even_clusters_need_more_than_half() -> None:
    harness = CoreHarness("abcd")
    harness.dead = {"c", "d"}
    harness.advance(10.0)
    assert harness.leaders == []
    harness.dead = {"d"}
    harness.advance(10.0)
    assert len(harness.leaders) == 1


def test_two_leaders_of_one_term_are_a_violation() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    with pytest.raises(ProtocolViolation, match="two leaders in term"):
        a.step(append(a.current_term, (1, 1)))
    assert a.role is Role.LEADER


# -- §5.3: log replication -----------------------------------------------------------------------


def test_5_3_entries_are_committed_once_a_majority_holds_them() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.dead = {"c"}
    a.propose([b"one", b"two"])
    harness.settle()
    assert harness.commands("a") == [b"one", b"two"]
    harness.dead = set()
    harness.advance(1.0)
    assert harness.commands("b") == harness.commands("c") == [b"one", b"two"]


def test_5_3_a_leader_without_a_majority_commits_nothing() -> None:
    harness = CoreHarness("abcd")
    a = harness.elect("a")
    before = a.commit_index
    harness.dead = {"c", "d"}
    a.propose([b"lost?"])
    harness.settle()
    assert a.commit_index == before, "2 of 4 is no majority"


def test_5_3_the_leaders_own_disk_counts_like_any_other() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    before = a.commit_index
    harness.slow_disk = {"a"}
    harness.dead = {"c"}
    a.propose([b"x"])
    harness.settle()
    assert a.commit_index == before, "only b holds it durably"
    harness.sync("a")
    harness.settle()
    assert a.commit_index == before + 1


def test_5_3_an_acknowledgement_waits_for_the_disk() -> None:
    harness = CoreHarness("abc")
    a = harness.nodes["a"]
    a.step(append(2, (1, 1), command(2, 2)))
    ready = take_ready(a)
    assert [e.index for e in ready.entries] == [2]
    assert not ready.messages
    a.step(append(2, (1, 1), command(2, 2)))
    second = take_ready(a)
    assert not second.messages, "the duplicate's entry is not durable either"
    assert len(second.messages_after_persist) == 1


def test_5_3_a_gap_is_refused_with_the_last_index_as_a_hint() -> None:
    a = CoreHarness("abc").nodes["a"]
    a.step(append(2, (5, 2), command(6, 2)))
    (answer,) = take_ready(a).messages_after_persist
    assert isinstance(answer, AppendEntriesResponse)
    assert (answer.success, answer.last_log) == (False, 1)


def test_5_3_a_conflict_is_replaced_and_the_hint_skips_the_whole_term() -> None:
    harness = CoreHarness("abc")
    a = harness.nodes["a"]
    a.step(append(2, (1, 1), *(command(i, 2) for i in range(2, 8))))
    harness.settle()
    a.step(append(3, (7, 3)))
    refusal = take_ready(a).messages_after_persist[-1]
    assert isinstance(refusal, AppendEntriesResponse)
    assert (refusal.success, refusal.last_log) == (False, 1)
    a.step(append(3, (1, 1), command(2, 3)))
    ready = take_ready(a)
    assert (ready.truncate_from, [e.term for e in ready.entries]) == (2, [3])


def test_5_3_a_late_duplicate_truncates_nothing() -> None:
    harness = CoreHarness("abc")
    a = harness.nodes["a"]
    old = append(2, (1, 1), command(2, 2))
    a.step(old)
    a.step(append(2, (2, 2), command(3, 2), command(4, 2)))
    a.step(old)
    assert a.last_index == 4
    assert take_ready(a).truncate_from is None


def test_5_3_replacing_a_committed_entry_is_a_violation() -> None:
    harness = CoreHarness("abc")
    a = harness.nodes["a"]
    a.step(append(2, (1, 1), command(2, 2), commit=2))
    with pytest.raises(ProtocolViolation, match="replaces committed entry 2"):
        a.step(append(3, (1, 1), command(2, 3)))
    assert (a.current_term, a.log.term_at(2)) == (2, 2)


def test_5_3_a_follower_commits_only_what_matched() -> None:
    a = CoreHarness("abc").nodes["a"]
    a.step(append(2, (1, 1), *(command(i, 2) for i in (2, 3))))
    a.step(append(3, (1, 1), commit=3))
    assert a.commit_index == 1, "entries 2 and 3 may differ from the new leader's"


def test_5_3_a_stale_acknowledgement_counts_for_nothing() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.dead = {"b", "c"}
    a.propose([b"x"])
    harness.settle()
    before = a.commit_index
    a.step(AppendEntriesResponse("b", "a", a.current_term, True, 99, request_id=12345))
    assert a.commit_index == before


def test_applied_entries_are_durable_here_too() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.slow_disk = {"a"}
    a.propose([b"x"])
    harness.settle()
    assert a.commit_index == a.last_index
    assert harness.commands("a") == []
    harness.sync("a")
    harness.settle()
    assert harness.commands("a") == [b"x"]


# -- §5.4: safety ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_term", "last_index", "granted"),
    [(1, 9, False), (2, 2, False), (2, 3, True), (2, 4, True), (3, 1, True)],
)
def test_5_4_1_only_an_up_to_date_candidate_gets_a_vote(
    last_term: int, last_index: int, granted: bool
) -> None:
    harness = CoreHarness("abc")
    a = harness.nodes["a"]
    harness.dead = {"b", "c"}
    a.step(append(2, (1, 1), command(2, 2), command(3, 2)))
    harness.settle()
    harness.now = 30.0
    a.tick(harness.now)
    harness.settle()
    a.step(RequestVote("c", "a", 9, last_index, last_term, request_id=1))
    answers = [
        m for m in take_ready(a).messages_after_persist if isinstance(m, RequestVoteResponse)
    ]
    assert [m.granted for m in answers] == [granted]


def test_5_4_2_entries_of_older_terms_are_not_committed_by_counting() -> None:
    """Figure 8: an entry of term 2 on a majority may still be replaced."""
    harness = CoreHarness("abc")
    a = harness.nodes["a"]
    a.step(append(2, (1, 1), command(2, 2)))
    harness.nodes["b"].step(AppendEntries("c", "b", 2, 1, 1, (command(2, 2),), 0, request_id=1))
    harness.settle()
    harness.dead = {"c"}
    harness.advance(0.1)

    def keep_back_the_noop(message: Message) -> bool:
        return isinstance(message, AppendEntries) and any(e.term > 2 for e in message.entries)

    harness.lose = keep_back_the_noop
    harness.advance(5.0)
    assert harness.leaders
    assert all(core.commit_index < 2 for core in harness.nodes.values())
    harness.lose = lambda message: False
    harness.advance(5.0)
    assert all(harness.nodes[n].commit_index >= 2 for n in "ab")


def test_8_a_new_leader_appends_a_noop() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    last = a.log.slice(a.last_index, a.last_index + 1)[0]
    assert (last.type, last.term) == (EntryType.NOOP, a.current_term)
    assert a.commit_index == a.last_index


# -- thesis §9.6 PreVote, §4.2.3 stickiness, §6.2 check-quorum -----------------------------------


def test_9_6_a_partitioned_server_does_not_raise_its_term() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    term = a.current_term
    harness.isolate("c")
    harness.advance(20.0)
    assert harness.nodes["c"].current_term == term
    harness.heal()
    harness.advance(2.0)
    assert (harness.leaders, a.current_term) == (["a"], term)


def test_4_2_3_votes_are_refused_while_a_leader_is_heard() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    term = a.current_term
    for name in "ab":
        harness.nodes[name].step(RequestVote("c", name, term + 5, 99, 99, request_id=1))
        harness.nodes[name].step(RequestPreVote("c", name, term + 5, 99, 99, request_id=2))
    harness.settle()
    answers = [
        m for m in harness.sent if isinstance(m, RequestVoteResponse | RequestPreVoteResponse)
    ]
    assert [m.granted for m in answers if m.to == "c"][-4:] == [False] * 4
    assert a.current_term == term


def test_6_2_a_leader_without_contact_to_a_majority_steps_down() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.isolate("a")
    harness.advance(0.9)
    assert "a" in harness.leaders
    harness.advance(0.4)
    assert "a" not in harness.leaders
    with pytest.raises(NotLeader):
        a.propose([b"x"])


def test_6_2_late_answers_prove_nothing_about_the_time_since() -> None:
    """Late arrival of old answers does not extend the leadership."""
    harness = CoreHarness("abc")
    a = harness.elect("a")
    late: list[Message] = []

    def hold(message: Message) -> bool:
        if message.to == "a":
            late.append(message)
        return message.to == "a"

    harness.lose = hold
    harness.advance(0.5)
    answers, late[:] = list(late), []
    assert len(answers) > 2
    harness.isolate("a")
    harness.advance(0.4)
    assert "a" in harness.leaders
    for answer in answers:
        a.step(answer)
    harness.advance(0.7)
    assert "a" not in harness.leaders


def test_a_broken_leader_connection_is_answered_at_once() -> None:
    harness = CoreHarness("abc")
    harness.elect("a")
    harness.advance(0.5)
    harness.dead = {"a"}
    for name in "bc":
        harness.nodes[name].connection_lost("a")
    harness.advance(0.25)
    assert len(harness.leaders) == 2, "a itself does not know yet; one of b and c leads"


def test_a_broken_connection_to_a_living_leader_changes_nothing() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    term = a.current_term
    harness.nodes["b"].connection_lost("a")
    harness.advance(1.0)
    assert (harness.leaders, a.current_term, harness.nodes["b"].leader) == (["a"], term, "a")


# -- thesis §6.4: reads ----------------------------------------------------------------------------


def reads_of(harness: CoreHarness, name: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    core = harness.nodes[name]
    while (ready := core.poll()) is not None:
        found += [(r.read_id, r.index) for r in ready.reads]
        for message in ready.messages:
            harness.deliver(message)
        core.persisted(ready.number)
        for other in harness.nodes:
            if other != name:
                harness.pump(other)
    return found


def test_6_4_a_read_waits_for_a_round_of_heartbeats() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.isolate("a")
    a.read(1)
    assert reads_of(harness, "a") == []
    harness.heal()
    harness.now += 0.15
    a.tick(harness.now)
    assert reads_of(harness, "a") == [(1, a.commit_index)]


def test_6_4_one_round_serves_all_reads_that_wait() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.advance(0.05)
    before = len(harness.sent)
    for read_id in range(50):
        a.read(read_id)
    assert [r for r, _ in reads_of(harness, "a")] == list(range(50))
    assert len(harness.sent) - before <= 6


def test_6_4_answers_to_earlier_requests_prove_nothing() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.lose = lambda m: m.to == "a"
    harness.advance(0.15)
    late = [m for m in harness.sent if isinstance(m, AppendEntriesResponse) and m.to == "a"][-2:]
    a.read(1)
    for message in late:
        a.step(message)
    assert reads_of(harness, "a") == []


def test_6_4_a_deposed_leader_answers_its_reads_with_no() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.isolate("a")
    a.read(7)
    harness.now += 5.0
    a.tick(harness.now)
    assert reads_of(harness, "a") == [(7, -1)]


def test_6_4_no_read_before_the_first_commit_of_the_term() -> None:
    harness = CoreHarness("abc")
    harness.lose = lambda m: isinstance(m, AppendEntriesResponse) and m.last_log > 1
    for core in harness.nodes.values():
        core.tick(0.0)
    harness.advance(1.0)
    (name,) = harness.leaders
    core = harness.nodes[name]
    assert core.commit_index < core.last_index
    core.read(1)
    assert reads_of(harness, name) == []


def test_a_lone_voter_reads_at_once() -> None:
    harness = CoreHarness("a")
    harness.advance(0.1)
    harness.nodes["a"].read(3)
    assert reads_of(harness, "a") == [(3, 2)]


LEASES = RaftConfig(lease_reads=True)


def test_6_4_1_a_lease_serves_reads_without_a_message() -> None:
    harness = CoreHarness("abc", config=LEASES)
    a = harness.elect("a")
    harness.advance(0.3)
    before = len(harness.sent)
    assert a.lease_read() == a.commit_index
    assert len(harness.sent) == before


def test_6_4_1_without_the_setting_there_is_no_lease() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.advance(0.3)
    assert a.lease_read() == -1


def test_6_4_1_a_lease_ends_before_anybody_else_can_lead() -> None:
    harness = CoreHarness("abc", config=LEASES)
    a = harness.elect("a")
    harness.advance(1.0)
    harness.isolate("a")
    for name in "bc":
        harness.nodes[name].connection_lost("a")
    held = True
    while harness.leaders == ["a"] or harness.leaders == []:
        harness.advance(0.02)
        now_held = a.lease_read() >= 0
        assert held or not now_held, "a lost lease came back"
        held = now_held
    assert not held, "a new leader was elected while the old one's lease was valid"


def test_6_4_1_a_lease_is_void_once_a_successor_was_called() -> None:
    harness = CoreHarness("abc", config=LEASES)
    a = harness.elect("a")
    harness.advance(0.5)
    harness.dead = {"b", "c"}
    a.transfer_leadership("b")
    take_ready(a)
    assert a.lease_read() == -1


def test_6_4_1_a_restarted_server_keeps_a_promise_it_cannot_remember() -> None:
    harness = CoreHarness("abc", config=LEASES)
    harness.elect("a")
    harness.advance(0.5)
    b = harness.restart("b")
    b.step(RequestVote("c", "b", 99, 99, 99, request_id=1))
    (answer,) = take_ready(b).messages
    assert isinstance(answer, RequestVoteResponse)
    assert not answer.granted


# -- thesis §4: membership -------------------------------------------------------------------------


def test_4_1_one_change_at_a_time() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.dead = {"b", "c"}
    index = a.change_membership("add_nonvoter", "n", "n:1")
    assert index == a.last_index
    assert a.configuration.get("n") is not None, "used as soon as it is appended"
    with pytest.raises(Busy, match="still pending"):
        a.change_membership("add_nonvoter", "m", "m:1")


def test_4_1_no_change_before_a_commit_in_the_term() -> None:
    harness = CoreHarness("abc")
    harness.lose = lambda m: isinstance(m, AppendEntriesResponse) and m.last_log > 1
    for core in harness.nodes.values():
        core.tick(0.0)
    harness.advance(1.0)
    (name,) = harness.leaders
    with pytest.raises(Busy, match=r"still pending|not yet committed"):
        harness.nodes[name].change_membership("add_nonvoter", "n", "n:1")


def test_4_2_1_a_learner_catches_up_and_does_not_count() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    a.propose([b"%d" % i for i in range(500)])
    harness.settle()
    harness.add("n", [], HardState())
    a.change_membership("add_nonvoter", "n", "n:1")
    harness.advance(1.0)
    assert harness.commands("n") == harness.commands("a")
    assert [p.match_index for p in a.peers() if p.server_id == "n"] == [a.last_index]
    harness.dead = {"b", "c"}
    before = a.commit_index
    a.propose([b"x"])
    harness.settle()
    assert a.commit_index == before
    harness.advance(5.0)
    assert harness.nodes["n"].role is Role.FOLLOWER


def test_4_2_2_a_leader_that_removes_itself_hands_over() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    a.change_membership("remove_server", "a")
    harness.settle()
    assert a.role is Role.FOLLOWER
    assert len(harness.leaders) == 1, "the successor gets TimeoutNow"
    harness.advance(10.0)
    assert "a" not in harness.leaders
    assert harness.nodes["b"].configuration.ids == ("b", "c")


def test_4_2_2_a_server_whose_removal_is_not_committed_may_still_lead() -> None:
    harness = CoreHarness("ab")
    a = harness.elect("a")
    harness.dead = {"b"}
    a.change_membership("remove_server", "a")
    harness.advance(3.0)
    harness.dead = set()
    harness.advance(10.0)
    assert harness.leaders == ["b"]
    assert harness.nodes["b"].configuration.ids == ("b",)


def test_4_2_2_nor_does_a_restart_take_that_right_away() -> None:
    harness = CoreHarness("ab")
    a = harness.elect("a")
    harness.dead = {"b"}
    a.change_membership("remove_server", "a")
    harness.advance(3.0)
    harness.restart("a")
    harness.dead = set()
    harness.advance(10.0)
    assert harness.leaders == ["b"]


def test_an_uncommitted_change_is_undone_by_truncation() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.isolate("a")
    a.change_membership("add_nonvoter", "n", "n:1")
    harness.advance(10.0)
    harness.heal()
    harness.advance(3.0)
    assert a.configuration.ids == ("a", "b", "c")


# -- thesis §3.10: leadership transfer -----------------------------------------------------------


def test_3_10_transfer_takes_a_round_trip_not_a_timeout() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    a.propose([b"x"])
    assert a.transfer_leadership("c") == "c"
    with pytest.raises(Busy, match="transferred"):
        a.propose([b"y"])
    harness.settle()
    assert harness.leaders == ["c"]


def test_3_10_transfer_to_nobody_in_particular_takes_the_one_that_is_alive() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.dead = {"b"}
    harness.advance(3.0)
    assert a.transfer_leadership() == "c"


def test_3_10_a_transfer_that_fails_gives_the_leader_back_its_work() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.dead = {"b"}
    a.propose([b"x"])
    a.transfer_leadership("b")
    harness.advance(1.5)
    assert a.propose([b"y"])
    assert harness.leaders == ["a"]


@pytest.mark.parametrize("target", ["x", "a"])
def test_3_10_only_another_voter_can_take_over(target: str) -> None:
    a = CoreHarness("abc").elect("a")
    with pytest.raises(Rejected, match="not another voter"):
        a.transfer_leadership(target)


# -- flow control --------------------------------------------------------------------------------


def test_the_window_to_a_silent_follower_is_bounded() -> None:
    harness = CoreHarness("abc", config=RaftConfig(max_append_entries=2, max_inflight_messages=4))
    a = harness.elect("a")
    harness.lose = lambda m: m.sender == "c"
    before = len(harness.sent)
    for _ in range(50):
        a.propose([b"x"] * 4)
        harness.settle()
    to_c = [
        m
        for m in harness.sent[before:]
        if m.to == "c" and isinstance(m, AppendEntries) and m.entries
    ]
    assert len(to_c) <= 4
    assert a.commit_index == a.last_index


def test_back_pressure_names_its_limit() -> None:
    harness = CoreHarness("abc", config=RaftConfig(max_uncommitted_entries=10))
    a = harness.elect("a")
    harness.dead = {"b", "c"}
    a.propose([b"x"] * 10)
    with pytest.raises(Busy, match="the limits are 10"):
        a.propose([b"y"])


def test_lost_answers_are_noticed_and_replication_goes_on() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.lose = lambda m: m.to in "bc" and isinstance(m, AppendEntries) and bool(m.entries)
    a.propose([b"x"])
    harness.settle()
    harness.lose = lambda m: False
    harness.advance(1.0)
    assert harness.commands("b") == harness.commands("c") == [b"x"]


def test_an_idle_follower_that_restarts_unseen_learns_the_commit_index() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    a.propose([b"x"])
    harness.advance(1.0)
    again = harness.restart("b")
    assert again.commit_index == 0
    harness.advance(0.3)
    assert again.commit_index == a.commit_index
    assert harness.commands("b") == [b"x"]


def test_a_follower_answers_for_the_leader_it_knows() -> None:
    harness = CoreHarness("abc")
    harness.elect("a")
    with pytest.raises(NotLeader, match="a does") as caught:
        harness.nodes["b"].propose([b"x"])
    assert caught.value.data["leader"] == "a"
