"""``node.service(...)``: attributes, keyword arguments, options; reads that miss a deadline."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Any

import pytest

from braft_core import Node, StateMachineService, command, query
from braft_core.abc import CommandContext
from braft_core.errors import DeadlineExceeded, InvalidRequest, NotApplied, OutcomeUnknown
from braft_core.handles import ServiceHandle
from braft_core.runtime.requests import Query


class Words(StateMachineService):
    """Answers with its arguments."""

    name = "words"

    @command
    def say(self, context: CommandContext, first: Any, second: str = "b", third: str = "c") -> Any:
        return [first, second, third]

    @command(name="other-name")
    def renamed(self, *words: str) -> list[str]:
        return list(words)

    @query
    def ask(self, first: str, second: str = "b") -> list[str]:
        return [first, second]

    def dump(self) -> Any:
        return None

    def load(self, value: Any) -> None:
        pass


class Recorder:
    """A node that records its calls."""

    staleness = 0.0

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def execute(self, *args: Any, **options: Any) -> Any:
        self.calls.append((*args, options))
        return "answer"

    async def aexecute(self, *args: Any, **options: Any) -> Any:
        return self.execute(*args, **options)

    query, aquery = execute, aexecute


@pytest.fixture
def node() -> Recorder:
    return Recorder()


@pytest.fixture
def words(node: Recorder) -> Any:
    return ServiceHandle(node, "words", Words.marked_methods())


def test_keyword_arguments_are_sent_by_position(words: Any, node: Recorder) -> None:
    words.say("a")
    words.say(first="a")
    words.say("a", third="z")
    words.say(second="y", first="x")
    words.renamed("p", "q")
    words.ask(second="y", first="x")
    assert [call[1:-1] for call in node.calls] == [
        ("say", "a"),
        ("say", "a"),
        ("say", "a", "b", "z"),
        ("say", "x", "y"),
        ("other-name", "p", "q"),
        ("ask", "x", "y"),
    ]


@pytest.mark.parametrize("given", [{"wrong": 1}, {"second": "b"}, {"first": 1, "context": 2}])
def test_keyword_arguments_that_do_not_fit_are_a_type_error(
    words: Any, node: Recorder, given: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        words.say(**given)
    assert node.calls == []


def test_options_and_async_calls(words: Any, node: Recorder) -> None:
    assert words.say.with_options(timeout=3)("a") == "answer"
    assert asyncio.run(words.say.with_options(timeout=4).acall(first="a")) == "answer"
    assert asyncio.run(words.ask.with_options(consistency="stale", max_staleness=1).acall("a"))
    assert node.calls == [
        ("words", "say", "a", {"timeout": 3}),
        ("words", "say", "a", {"timeout": 4}),
        ("words", "ask", "a", {"timeout": None, "consistency": "stale", "max_staleness": 1}),
    ]


def test_a_handle_has_the_commands_and_queries_alone(words: Any) -> None:
    assert dir(words) == ["ask", "renamed", "say"]
    for name in ("dump", "sya", "_methods_"):
        with pytest.raises(AttributeError, match="service 'words'; it has ask, renamed, say"):
            getattr(words, name)
    assert repr(words.ask) == "<query words.ask(first: 'str', second: 'str' = 'b')>"


def test_only_state_machine_services_have_handles() -> None:
    node = Node(discovery="none", data_dir=":memory:")
    with pytest.raises(TypeError, match="does not derive from StateMachineService"):
        node.service(object)  # type: ignore[type-var]


def test_a_read_has_no_unknown_outcome() -> None:
    unknown = OutcomeUnknown("the outcome is unknown: the connection broke")
    late = Query("kv", "get", (), -1.0).classify(unknown)
    assert type(late) is DeadlineExceeded
    assert late.safe_to_retry
    broken = Query("kv", "get", (), 60.0).classify(unknown)
    assert type(broken) is NotApplied
    assert broken.message == "the read was interrupted: the connection broke"
    refused = InvalidRequest("no")
    assert Query("kv", "get", (), -1.0).classify(refused) is refused


def test_a_node_runs_asynchronously_until_a_signal() -> None:
    node = Node(discovery="none", data_dir=":memory:", ip="127.0.0.1", rport=0, http=False)
    states: list[str] = []

    def started() -> None:
        states.append(node.state)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()

    asyncio.run(asyncio.wait_for(node.arun(started), 60))
    assert [*states, node.state] == ["running", "stopped"]
