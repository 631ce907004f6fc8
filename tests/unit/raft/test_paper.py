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
from braft_testing.lab import Lab


def append(term: int, prev: tuple[int, int], *entries: Entry, commit: int = 0) -> AppendEntries:
    return AppendEntries("b", "a", term, prev[0], prev[1], entries, commit, request_id=99)


def command(index: int, term: int, data: bytes = b"x") -> Entry:
    return Entry(index, term, EntryType.COMMAND, data)


# -- §5.1, §5.2: terms, votes, elections ---------------------------------------------------------


def test_5_1_a_message_of_an_older_term_is_refused_with_the_newer_term() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    a.step(AppendEntries("b", "a", 1, 1, 1, (), 1, request_id=7))
    lb.settle()
    answer = next(m for m in lb.sent if isinstance(m, AppendEntriesResponse) and m.to == "b")
    assert (answer.success, answer.term, answer.request_id) == (False, a.current_term, 7)
    assert a.role is Role.LEADER


def test_5_1_a_newer_term_deposes_a_leader() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    a.step(append(a.current_term + 1, (1, 1)))
    assert (a.role, a.leader) == (Role.FOLLOWER, "b")


def test_5_2_term_and_vote_are_durable_before_they_are_spoken() -> None:
    lb = Lab("abc")
    lb.slow_disk = {"a", "b"}
    b = lb.nodes["b"]
    b.step(RequestVote("c", "b", 5, 1, 1, request_id=1))
    ready = b.ready()
    assert ready.hard_state == HardState(5, "c")
    assert not ready.messages
    assert [type(m) for m in ready.messages_after_persist] == [RequestVoteResponse]


def test_5_2_one_vote_per_term() -> None:
    lb = Lab("abc")
    a = lb.nodes["a"]
    for candidate in ("b", "c", "b"):
        a.step(RequestVote(candidate, "a", 5, 9, 9, request_id=1))
    answers = [m for m in a.ready().messages_after_persist if isinstance(m, RequestVoteResponse)]
    assert [(m.to, m.granted) for m in answers] == [("b", True), ("c", False), ("b", True)]


def test_5_2_a_vote_survives_a_restart() -> None:
    lb = Lab("abc")
    lb.nodes["a"].step(RequestVote("b", "a", 5, 9, 9, request_id=1))
    lb.settle()
    again = lb.restart("a")
    again.step(RequestVote("c", "a", 5, 9, 9, request_id=1))
    (answer,) = again.ready().messages
    assert isinstance(answer, RequestVoteResponse)
    assert not answer.granted


def test_5_2_requests_for_votes_wait_for_the_candidates_own_disk() -> None:
    lb = Lab("abc")
    lb.slow_disk = {"a"}
    lb.dead = {"b", "c"}
    a = lb.nodes["a"]
    a.tick(a.next_deadline())
    (preready,) = [a.ready()]
    for request in preready.messages:
        assert isinstance(request, RequestPreVote)
        a.step(RequestPreVoteResponse(request.to, "a", 1, True, request_id=request.request_id))
    ready = a.ready()
    assert not any(isinstance(m, RequestVote) for m in ready.messages)
    assert {m.to for m in ready.messages_after_persist} == {"b", "c"}


def test_5_2_a_lone_voter_leads_only_once_its_vote_is_durable() -> None:
    lb = Lab("a")
    a = lb.nodes["a"]
    a.tick(0.0)
    ready = a.ready()
    assert a.role.name == "CANDIDATE"
    a.persisted(ready.number)
    assert a.role.name == "LEADER"


def test_5_2_duplicate_and_stale_votes_do_not_count() -> None:
    lb = Lab("abcde")
    lb.lose = lambda m: isinstance(m, RequestVote)
    a = lb.nodes["a"]
    for core in lb.nodes.values():
        core.tick(0.0)
    a.tick(a.next_deadline())
    lb.settle()
    assert a.role is Role.CANDIDATE
    asked = [m for m in lb.sent if isinstance(m, RequestVote) and m.to == "b"]
    vote = RequestVoteResponse("b", "a", a.current_term, True, request_id=asked[0].request_id)
    for _ in range(3):
        a.step(vote)
    stale = RequestVoteResponse("c", "a", a.current_term - 1, True, request_id=1)
    a.step(stale)
    assert a.role is Role.CANDIDATE, "two of five votes are no majority"


def test_5_2_even_clusters_need_more_than_half() -> None:
    lb = Lab("abcd")
    lb.dead = {"c", "d"}
    lb.advance(10.0)
    assert lb.leaders == []
    lb.dead = {"d"}
    lb.advance(10.0)
    assert len(lb.leaders) == 1


def test_two_leaders_of_one_term_are_a_violation() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    with pytest.raises(ProtocolViolation, match="two leaders in term"):
        a.step(append(a.current_term, (1, 1)))
    assert a.role is Role.LEADER


# -- §5.3: log replication -----------------------------------------------------------------------


def test_5_3_entries_are_committed_once_a_majority_holds_them() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.dead = {"c"}
    a.propose([b"one", b"two"])
    lb.settle()
    assert lb.commands("a") == [b"one", b"two"]
    lb.dead = set()
    lb.advance(1.0)
    assert lb.commands("b") == lb.commands("c") == [b"one", b"two"]


def test_5_3_a_leader_without_a_majority_commits_nothing() -> None:
    lb = Lab("abcd")
    a = lb.elect("a")
    before = a.commit_index
    lb.dead = {"c", "d"}
    a.propose([b"lost?"])
    lb.settle()
    assert a.commit_index == before, "2 of 4 is no majority"


def test_5_3_the_leaders_own_disk_counts_like_any_other() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    before = a.commit_index
    lb.slow_disk = {"a"}
    lb.dead = {"c"}
    a.propose([b"x"])
    lb.settle()
    assert a.commit_index == before, "only b holds it durably"
    lb.sync("a")
    lb.settle()
    assert a.commit_index == before + 1


def test_5_3_an_acknowledgement_waits_for_the_disk() -> None:
    lb = Lab("abc")
    a = lb.nodes["a"]
    a.step(append(2, (1, 1), command(2, 2)))
    ready = a.ready()
    assert [e.index for e in ready.entries] == [2]
    assert not ready.messages
    a.step(append(2, (1, 1), command(2, 2)))
    second = a.ready()
    assert not second.messages, "the duplicate's entry is not durable either"
    assert len(second.messages_after_persist) == 1


def test_5_3_a_gap_is_refused_with_the_last_index_as_a_hint() -> None:
    a = Lab("abc").nodes["a"]
    a.step(append(2, (5, 2), command(6, 2)))
    (answer,) = a.ready().messages_after_persist
    assert isinstance(answer, AppendEntriesResponse)
    assert (answer.success, answer.last_log) == (False, 1)


def test_5_3_a_conflict_is_replaced_and_the_hint_skips_the_whole_term() -> None:
    lb = Lab("abc")
    a = lb.nodes["a"]
    a.step(append(2, (1, 1), *(command(i, 2) for i in range(2, 8))))
    lb.settle()
    a.step(append(3, (7, 3)))
    refusal = a.ready().messages_after_persist[-1]
    assert isinstance(refusal, AppendEntriesResponse)
    assert (refusal.success, refusal.last_log) == (False, 1)
    a.step(append(3, (1, 1), command(2, 3)))
    ready = a.ready()
    assert (ready.truncate_from, [e.term for e in ready.entries]) == (2, [3])


def test_5_3_a_late_duplicate_truncates_nothing() -> None:
    lb = Lab("abc")
    a = lb.nodes["a"]
    old = append(2, (1, 1), command(2, 2))
    a.step(old)
    a.step(append(2, (2, 2), command(3, 2), command(4, 2)))
    a.step(old)
    assert a.last_index == 4
    assert a.ready().truncate_from is None


def test_5_3_replacing_a_committed_entry_is_a_violation() -> None:
    lb = Lab("abc")
    a = lb.nodes["a"]
    a.step(append(2, (1, 1), command(2, 2), commit=2))
    with pytest.raises(ProtocolViolation, match="replaces committed entry 2"):
        a.step(append(3, (1, 1), command(2, 3)))
    assert (a.current_term, a.log.term_at(2)) == (2, 2)


def test_5_3_a_follower_commits_only_what_matched() -> None:
    a = Lab("abc").nodes["a"]
    a.step(append(2, (1, 1), *(command(i, 2) for i in (2, 3))))
    a.step(append(3, (1, 1), commit=3))
    assert a.commit_index == 1, "entries 2 and 3 may differ from the new leader's"


def test_5_3_a_stale_acknowledgement_counts_for_nothing() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.dead = {"b", "c"}
    a.propose([b"x"])
    lb.settle()
    before = a.commit_index
    a.step(AppendEntriesResponse("b", "a", a.current_term, True, 99, request_id=12345))
    assert a.commit_index == before


def test_applied_entries_are_durable_here_too() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.slow_disk = {"a"}
    a.propose([b"x"])
    lb.settle()
    assert a.commit_index == a.last_index
    assert lb.commands("a") == []
    lb.sync("a")
    lb.settle()
    assert lb.commands("a") == [b"x"]


# -- §5.4: safety ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_term", "last_index", "granted"),
    [(1, 9, False), (2, 2, False), (2, 3, True), (2, 4, True), (3, 1, True)],
)
def test_5_4_1_only_an_up_to_date_candidate_gets_a_vote(
    last_term: int, last_index: int, granted: bool
) -> None:
    lb = Lab("abc")
    a = lb.nodes["a"]
    lb.dead = {"b", "c"}
    a.step(append(2, (1, 1), command(2, 2), command(3, 2)))
    lb.settle()
    lb.now = 30.0
    a.tick(lb.now)
    lb.settle()
    a.step(RequestVote("c", "a", 9, last_index, last_term, request_id=1))
    answers = [m for m in a.ready().messages_after_persist if isinstance(m, RequestVoteResponse)]
    assert [m.granted for m in answers] == [granted]


def test_5_4_2_entries_of_older_terms_are_not_committed_by_counting() -> None:
    """Figure 8: an entry of term 2 on a majority may still be replaced."""
    lb = Lab("abc")
    a = lb.nodes["a"]
    a.step(append(2, (1, 1), command(2, 2)))
    lb.nodes["b"].step(AppendEntries("c", "b", 2, 1, 1, (command(2, 2),), 0, request_id=1))
    lb.settle()
    lb.dead = {"c"}
    lb.advance(0.1)

    def keep_back_the_noop(message: Message) -> bool:
        return isinstance(message, AppendEntries) and any(e.term > 2 for e in message.entries)

    lb.lose = keep_back_the_noop
    lb.advance(5.0)
    assert lb.leaders
    assert all(core.commit_index < 2 for core in lb.nodes.values())
    lb.lose = lambda message: False
    lb.advance(5.0)
    assert all(lb.nodes[n].commit_index >= 2 for n in "ab")


def test_8_a_new_leader_appends_a_noop() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    last = a.log.slice(a.last_index, a.last_index + 1)[0]
    assert (last.type, last.term) == (EntryType.NOOP, a.current_term)
    assert a.commit_index == a.last_index


# -- thesis §9.6 PreVote, §4.2.3 stickiness, §6.2 check-quorum -----------------------------------


def test_9_6_a_partitioned_server_does_not_raise_its_term() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    term = a.current_term
    lb.isolate("c")
    lb.advance(20.0)
    assert lb.nodes["c"].current_term == term
    lb.heal()
    lb.advance(2.0)
    assert (lb.leaders, a.current_term) == (["a"], term)


def test_4_2_3_votes_are_refused_while_a_leader_is_heard() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    term = a.current_term
    for name in "ab":
        lb.nodes[name].step(RequestVote("c", name, term + 5, 99, 99, request_id=1))
        lb.nodes[name].step(RequestPreVote("c", name, term + 5, 99, 99, request_id=2))
    lb.settle()
    answers = [m for m in lb.sent if isinstance(m, RequestVoteResponse | RequestPreVoteResponse)]
    assert [m.granted for m in answers if m.to == "c"][-4:] == [False] * 4
    assert a.current_term == term


def test_6_2_a_leader_without_contact_to_a_majority_steps_down() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.isolate("a")
    lb.advance(0.9)
    assert "a" in lb.leaders
    lb.advance(0.4)
    assert "a" not in lb.leaders
    with pytest.raises(NotLeader):
        a.propose([b"x"])


def test_6_2_late_answers_prove_nothing_about_the_time_since() -> None:
    """The followers answered long ago; that their answers arrive only now keeps nobody leading."""
    lb = Lab("abc")
    a = lb.elect("a")
    late: list[Message] = []

    def hold(message: Message) -> bool:
        if message.to == "a":
            late.append(message)
        return message.to == "a"

    lb.lose = hold
    lb.advance(0.5)
    answers, late[:] = list(late), []
    assert len(answers) > 2
    lb.isolate("a")
    lb.advance(0.4)
    assert "a" in lb.leaders
    for answer in answers:
        a.step(answer)
    lb.advance(0.7)
    assert "a" not in lb.leaders


def test_a_broken_leader_connection_is_answered_at_once() -> None:
    lb = Lab("abc")
    lb.elect("a")
    lb.advance(0.5)
    lb.dead = {"a"}
    for name in "bc":
        lb.nodes[name].connection_lost("a")
    lb.advance(0.25)
    assert len(lb.leaders) == 2, "a itself does not know yet; one of b and c leads"


def test_a_broken_connection_to_a_living_leader_changes_nothing() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    term = a.current_term
    lb.nodes["b"].connection_lost("a")
    lb.advance(1.0)
    assert (lb.leaders, a.current_term, lb.nodes["b"].leader) == (["a"], term, "a")


# -- thesis §6.4: reads ----------------------------------------------------------------------------


def reads_of(lb: Lab, name: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    core = lb.nodes[name]
    while core.has_ready():
        ready = core.ready()
        found += [(r.read_id, r.index) for r in ready.reads]
        for message in ready.messages:
            lb.deliver(message)
        core.persisted(ready.number)
        for other in lb.nodes:
            if other != name:
                lb.pump(other)
    return found


def test_6_4_a_read_waits_for_a_round_of_heartbeats() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.isolate("a")
    a.read(1)
    assert reads_of(lb, "a") == []
    lb.heal()
    lb.now += 0.15
    a.tick(lb.now)
    assert reads_of(lb, "a") == [(1, a.commit_index)]


def test_6_4_one_round_serves_all_reads_that_wait() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.advance(0.05)
    before = len(lb.sent)
    for read_id in range(50):
        a.read(read_id)
    assert [r for r, _ in reads_of(lb, "a")] == list(range(50))
    assert len(lb.sent) - before <= 6


def test_6_4_answers_to_earlier_requests_prove_nothing() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.lose = lambda m: m.to == "a"
    lb.advance(0.15)
    late = [m for m in lb.sent if isinstance(m, AppendEntriesResponse) and m.to == "a"][-2:]
    a.read(1)
    for message in late:
        a.step(message)
    assert reads_of(lb, "a") == []


def test_6_4_a_deposed_leader_answers_its_reads_with_no() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.isolate("a")
    a.read(7)
    lb.now += 5.0
    a.tick(lb.now)
    assert reads_of(lb, "a") == [(7, -1)]


def test_6_4_no_read_before_the_first_commit_of_the_term() -> None:
    lb = Lab("abc")
    lb.lose = lambda m: isinstance(m, AppendEntriesResponse) and m.last_log > 1
    for core in lb.nodes.values():
        core.tick(0.0)
    lb.advance(1.0)
    (name,) = lb.leaders
    core = lb.nodes[name]
    assert core.commit_index < core.last_index
    core.read(1)
    assert reads_of(lb, name) == []


def test_a_lone_voter_reads_at_once() -> None:
    lb = Lab("a")
    lb.advance(0.1)
    lb.nodes["a"].read(3)
    assert reads_of(lb, "a") == [(3, 2)]


LEASES = RaftConfig(lease_reads=True)


def test_6_4_1_a_lease_serves_reads_without_a_message() -> None:
    lb = Lab("abc", config=LEASES)
    a = lb.elect("a")
    lb.advance(0.3)
    before = len(lb.sent)
    assert a.lease_read() == a.commit_index
    assert len(lb.sent) == before


def test_6_4_1_without_the_setting_there_is_no_lease() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.advance(0.3)
    assert a.lease_read() == -1


def test_6_4_1_a_lease_ends_before_anybody_else_can_lead() -> None:
    lb = Lab("abc", config=LEASES)
    a = lb.elect("a")
    lb.advance(1.0)
    lb.isolate("a")
    for name in "bc":
        lb.nodes[name].connection_lost("a")
    held = True
    while lb.leaders == ["a"] or lb.leaders == []:
        lb.advance(0.02)
        now_held = a.lease_read() >= 0
        assert held or not now_held, "a lost lease came back"
        held = now_held
    assert not held, "a new leader was elected while the old one's lease was valid"


def test_6_4_1_a_lease_is_void_once_a_successor_was_called() -> None:
    lb = Lab("abc", config=LEASES)
    a = lb.elect("a")
    lb.advance(0.5)
    lb.dead = {"b", "c"}
    a.transfer_leadership("b")
    a.ready()
    assert a.lease_read() == -1


def test_6_4_1_a_restarted_server_keeps_a_promise_it_cannot_remember() -> None:
    lb = Lab("abc", config=LEASES)
    lb.elect("a")
    lb.advance(0.5)
    b = lb.restart("b")
    b.step(RequestVote("c", "b", 99, 99, 99, request_id=1))
    (answer,) = b.ready().messages
    assert isinstance(answer, RequestVoteResponse)
    assert not answer.granted


# -- thesis §4: membership -------------------------------------------------------------------------


def test_4_1_one_change_at_a_time() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.dead = {"b", "c"}
    index = a.change_membership("add_nonvoter", "n", "n:1")
    assert index == a.last_index
    assert a.configuration.get("n") is not None, "used as soon as it is appended"
    with pytest.raises(Busy, match="still pending"):
        a.change_membership("add_nonvoter", "m", "m:1")


def test_4_1_no_change_before_a_commit_in_the_term() -> None:
    lb = Lab("abc")
    lb.lose = lambda m: isinstance(m, AppendEntriesResponse) and m.last_log > 1
    for core in lb.nodes.values():
        core.tick(0.0)
    lb.advance(1.0)
    (name,) = lb.leaders
    with pytest.raises(Busy, match=r"still pending|not yet committed"):
        lb.nodes[name].change_membership("add_nonvoter", "n", "n:1")


def test_4_2_1_a_learner_catches_up_and_does_not_count() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    a.propose([b"%d" % i for i in range(500)])
    lb.settle()
    lb.add("n", [], HardState())
    a.change_membership("add_nonvoter", "n", "n:1")
    lb.advance(1.0)
    assert lb.commands("n") == lb.commands("a")
    assert a.caught_up("n")
    lb.dead = {"b", "c"}
    before = a.commit_index
    a.propose([b"x"])
    lb.settle()
    assert a.commit_index == before
    lb.advance(5.0)
    assert lb.nodes["n"].role is Role.FOLLOWER


def test_4_2_2_a_leader_that_removes_itself_hands_over() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    a.change_membership("remove_server", "a")
    lb.settle()
    assert a.role is Role.FOLLOWER
    assert len(lb.leaders) == 1, "the successor was told to campaign at once"
    lb.advance(10.0)
    assert "a" not in lb.leaders
    assert lb.nodes["b"].configuration.ids == ("b", "c")


def test_4_2_2_a_server_whose_removal_is_not_committed_may_still_lead() -> None:
    lb = Lab("ab")
    a = lb.elect("a")
    lb.dead = {"b"}
    a.change_membership("remove_server", "a")
    lb.advance(3.0)
    lb.dead = set()
    lb.advance(10.0)
    assert lb.leaders == ["b"]
    assert lb.nodes["b"].configuration.ids == ("b",)


def test_4_2_2_nor_does_a_restart_take_that_right_away() -> None:
    lb = Lab("ab")
    a = lb.elect("a")
    lb.dead = {"b"}
    a.change_membership("remove_server", "a")
    lb.advance(3.0)
    lb.restart("a")
    lb.dead = set()
    lb.advance(10.0)
    assert lb.leaders == ["b"]


def test_an_uncommitted_change_is_undone_by_truncation() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.isolate("a")
    a.change_membership("add_nonvoter", "n", "n:1")
    lb.advance(10.0)
    lb.heal()
    lb.advance(3.0)
    assert a.configuration.ids == ("a", "b", "c")


# -- thesis §3.10: leadership transfer -----------------------------------------------------------


def test_3_10_transfer_takes_a_round_trip_not_a_timeout() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    a.propose([b"x"])
    assert a.transfer_leadership("c") == "c"
    with pytest.raises(Busy, match="transferred"):
        a.propose([b"y"])
    lb.settle()
    assert lb.leaders == ["c"]


def test_3_10_transfer_to_nobody_in_particular_takes_the_one_that_is_alive() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.dead = {"b"}
    lb.advance(3.0)
    assert a.transfer_leadership() == "c"


def test_3_10_a_transfer_that_fails_gives_the_leader_back_its_work() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.dead = {"b"}
    a.propose([b"x"])
    a.transfer_leadership("b")
    lb.advance(1.5)
    assert a.propose([b"y"])
    assert lb.leaders == ["a"]


@pytest.mark.parametrize("target", ["x", "a"])
def test_3_10_only_another_voter_can_take_over(target: str) -> None:
    a = Lab("abc").elect("a")
    with pytest.raises(Rejected, match="not another voter"):
        a.transfer_leadership(target)


# -- flow control --------------------------------------------------------------------------------


def test_the_window_to_a_silent_follower_is_bounded() -> None:
    lb = Lab("abc", config=RaftConfig(max_append_entries=2, max_inflight_messages=4))
    a = lb.elect("a")
    lb.lose = lambda m: m.sender == "c"
    before = len(lb.sent)
    for _ in range(50):
        a.propose([b"x"] * 4)
        lb.settle()
    to_c = [
        m for m in lb.sent[before:] if m.to == "c" and isinstance(m, AppendEntries) and m.entries
    ]
    assert len(to_c) <= 4
    assert a.commit_index == a.last_index


def test_back_pressure_names_its_limit() -> None:
    lb = Lab("abc", config=RaftConfig(max_uncommitted_entries=10))
    a = lb.elect("a")
    lb.dead = {"b", "c"}
    a.propose([b"x"] * 10)
    with pytest.raises(Busy, match="the limits are 10"):
        a.propose([b"y"])


def test_lost_answers_are_noticed_and_replication_goes_on() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    lb.lose = lambda m: m.to in "bc" and isinstance(m, AppendEntries) and bool(m.entries)
    a.propose([b"x"])
    lb.settle()
    lb.lose = lambda m: False
    lb.advance(1.0)
    assert lb.commands("b") == lb.commands("c") == [b"x"]


def test_an_idle_follower_that_restarts_unseen_learns_the_commit_index() -> None:
    lb = Lab("abc")
    a = lb.elect("a")
    a.propose([b"x"])
    lb.advance(1.0)
    again = lb.restart("b")
    assert again.commit_index == 0
    lb.advance(0.3)
    assert again.commit_index == a.commit_index
    assert lb.commands("b") == [b"x"]


def test_a_follower_answers_for_the_leader_it_knows() -> None:
    lb = Lab("abc")
    lb.elect("a")
    with pytest.raises(NotLeader, match="a does") as caught:
        lb.nodes["b"].propose([b"x"])
    assert caught.value.data["leader"] == "a"
