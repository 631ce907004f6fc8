"""Faults of raftos 0.2.6, one scenario each: ``python raftos_faults.py NAME DIRECTORY``.

Needs a copy of raftos on the path that is patched to start. The scenarios call its own message
handlers; only its sockets are replaced, by a list. Prints a JSON object.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import raftos
from raftos.state import Candidate, Follower, Leader, State
from raftos.storage import Log

Message = dict[str, Any]


class Server:
    """Replaces the server that owns a socket: keeps outgoing messages in a list."""

    def __init__(self, port: int, ports: list[int]) -> None:
        self.host, self.port = "127.0.0.1", port
        self.loop = asyncio.get_running_loop()
        self.cluster = {(self.host, other) for other in ports if other != port}
        self.cluster_count = len(self.cluster)
        self.sent: list[Message] = []

    def broadcast(self, data: Message) -> None:
        self.sent.append(data)

    async def send(self, data: Message, destination: object) -> None:
        self.sent.append(data)


def node(port: int, count: int) -> Any:
    state = State(Server(port, list(range(1, count + 1))))
    state.start()
    return state


def deliver(to: Any, sender: int, **message: Any) -> None:
    to.request_handler({**message, "sender": ("127.0.0.1", sender)})


async def ask(voter: Any, candidate: Any) -> bool:
    """Deliver the candidate's vote request to the voter, and the answer to the candidate."""
    request = next(m for m in candidate.server.sent if m["type"] == "request_vote")
    voter.server.sent.clear()
    deliver(voter, candidate.server.port, **request)
    await asyncio.sleep(0)
    answers = [m for m in voter.server.sent if m["type"] == "request_vote_response"]
    for answer in answers:
        deliver(candidate, voter.server.port, **answer)
    return bool(answers) and answers[0]["vote_granted"]


async def two_leaders_in_one_term() -> Message:
    one, two, voter = node(1, 3), node(2, 3), node(3, 3)
    one.to_candidate()
    two.to_candidate()
    first = await ask(voter, one)
    voter.stop()
    restarted = node(3, 3)  # from the same files
    second = await ask(restarted, two)
    leaders = [each.id for each in (one, two) if isinstance(each.state, Leader)]
    terms = {each.storage.term for each in (one, two)}
    return {"granted": [first, second], "leaders": leaders, "terms": sorted(terms)}


async def half_is_a_majority() -> Message:
    four, pair = node(1, 4), node(1, 2)
    four.to_candidate()
    deliver(four, 2, type="request_vote_response", term=four.storage.term, vote_granted=True)
    return {"two_of_four_lead": isinstance(four.state, Leader), "one_of_two": pair.is_majority(1)}


async def one_of_two_commits() -> Message:
    leader = node(1, 2)
    leader.to_candidate()
    leader.to_leader()
    waiting = asyncio.ensure_future(leader.state.execute_command({"money": 1}))
    await asyncio.sleep(0)
    answer = {"type": "append_entries_response", "term": leader.storage.term, "success": True}
    # The follower reports an empty log. Two such responses make the leader commit and apply.
    for _ in range(2):
        deliver(leader, 2, **answer, last_log_index=0, request_id=0)
    await asyncio.wait_for(waiting, 5)
    return {"acknowledged": waiting.done(), "on_the_other": leader.log.match_index}


async def votes_that_are_counted() -> Message:
    twice, late = node(1, 5), node(2, 5)
    for candidate in (twice, late):
        candidate.storage.update({"term": 6})
        candidate.to_candidate()
    for _ in range(2):
        deliver(twice, 3, type="request_vote_response", term=7, vote_granted=True)
    for sender in (3, 4):
        deliver(late, sender, type="request_vote_response", term=2, vote_granted=True)
    leads = isinstance(twice.state, Leader), isinstance(late.state, Leader)
    return {"one_voter_twice": leads[0], "votes_of_term_2_in_term_7": leads[1]}


async def reopening() -> Message:
    log = Log("127.0.0.1:9")
    log.write(1, {"a": 1})
    try:
        Log("127.0.0.1:9")
    except Exception as error:  # noqa: BLE001 - which one it is, is the answer
        return {"reopened": False, "error": type(error).__name__}
    return {"reopened": True}


async def syncing() -> Message:
    calls: list[str] = []
    for name in ("fsync", "fdatasync", "sync"):
        setattr(os, name, lambda *_, name=name: calls.append(name))
    follower = node(1, 3)
    follower.log.write(1, {"a": 1})
    deliver(follower, 2, type="request_vote", term=1, candidate_id="x", **_LAST_LOG)
    return {"voted_for": follower.storage.voted_for, "syncs": len(calls)}


_LAST_LOG = {"last_log_index": 9, "last_log_term": 9}


async def missing() -> Message:
    handlers = {
        name
        for cls in (Leader, Candidate, Follower)
        for name, _ in inspect.getmembers(cls, inspect.isfunction)
        if name.startswith("on_receive_")
    }
    return {"messages": sorted(handlers), "public": sorted(raftos.__all__)}


SCENARIOS: dict[str, Callable[[], Any]] = {
    each.__name__: each
    for each in (
        two_leaders_in_one_term,
        half_is_a_majority,
        one_of_two_commits,
        votes_that_are_counted,
        reopening,
        syncing,
        missing,
    )
}


async def main(name: str, directory: str) -> None:
    raftos.configure({"log_path": directory + "/"})
    print(json.dumps(await SCENARIOS[name]()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
