"""Commands and queries as methods."""

from __future__ import annotations

import msgpack
import pytest

import braft_core.abc
from braft_core.abc import CommandContext
from braft_core.errors import CommandFailed, DecodeError, PluginError, UnknownCommand
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services import StateMachineService, command, query

CONTEXT = CommandContext(index=7, term=2, appended_at=99)


class Echo(StateMachineService):
    name = "echo"

    def __init__(self) -> None:
        self.state: object = None

    @command
    def plain(self, one: object, two: object = "default") -> list[object]:
        return [one, two]

    @command
    def with_context(self, context: CommandContext, one: object) -> list[object]:
        return [context.index, context.term, context.appended_at, one]

    @command
    def qualified(self, context: braft_core.abc.CommandContext) -> int:
        return context.index

    @command(name="other-name")
    def renamed(self, *args: object) -> int:
        return len(args)

    @query
    def ask(self, one: object) -> object:
        return one

    @query(name="plain")
    def same_name_as_a_command(self) -> str:
        return "query"

    def dump(self) -> object:
        return self.state

    def load(self, value: object) -> None:
        self.state = value


class Louder(Echo):
    name = "louder"

    def plain(  # type: ignore[override]  # overriding without the mark works, untyped
        self, one: object, two: object = "!"
    ) -> list[object]:
        return ["loud", one, two]

    @command
    def more(self) -> str:
        return "more"


def test_arguments_and_defaults_are_positional() -> None:
    assert Echo().apply("plain", [1], CONTEXT) == [1, "default"]
    assert Echo().apply("plain", [1, 2], CONTEXT) == [1, 2]
    assert Echo().apply("other-name", [1, 2, 3], CONTEXT) == 3


def test_the_context_is_passed_to_who_asks_for_it() -> None:
    assert Echo().apply("with_context", ["a"], CONTEXT) == [7, 2, 99, "a"]
    assert Echo().apply("qualified", [], CONTEXT) == 7


def test_commands_and_queries_have_names_of_their_own() -> None:
    assert Echo().query("plain", []) == "query"
    assert Echo().query("ask", ["x"]) == "x"
    with pytest.raises(UnknownCommand, match="no command 'ask'"):
        Echo().apply("ask", ["x"], CONTEXT)
    with pytest.raises(UnknownCommand, match="no command 'renamed'"):
        Echo().apply("renamed", [], CONTEXT)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownCommand) as caught:
        Echo().query("who", [])
    assert caught.value.message == "service 'echo' has no query 'who'; it has ask, plain"
    assert caught.value.data == {"service": "echo", "command": "who", "known": ["ask", "plain"]}


@pytest.mark.parametrize("args", [[], [1, 2, 3]])
def test_a_wrong_number_of_arguments_shows_the_signature(args: list[object]) -> None:
    with pytest.raises(CommandFailed) as caught:
        Echo().apply("plain", args, CONTEXT)
    assert caught.value.message == (
        f"echo.plain(one, two='default') was given {len(args)} argument(s)"
    )
    assert caught.value.data["type"] == "TypeError"


def test_the_context_does_not_count_as_an_argument() -> None:
    with pytest.raises(CommandFailed, match=r"echo\.with_context\(one\) was given 2"):
        Echo().apply("with_context", [1, 2], CONTEXT)
    with pytest.raises(CommandFailed, match=r"echo\.ask\(one\) was given 0"):
        Echo().query("ask", [])


def test_a_derived_service_inherits_and_overrides() -> None:
    assert Louder().apply("plain", [1], CONTEXT) == ["loud", 1, "!"]
    assert Louder().apply("more", [], CONTEXT) == "more"
    assert Louder().query("ask", [1]) == 1
    with pytest.raises(UnknownCommand):
        Echo().apply("more", [], CONTEXT)


def test_a_big_state_is_cut_into_chunks_and_restored() -> None:
    source, target = Echo(), Echo()
    source.state = {"big": b"x" * 1_000_000, "list": [1, None, 2.5]}
    chunks = list(source.snapshot())
    assert len(chunks) == 4
    target.restore(iter(chunks))
    assert target.state == source.state


def test_damaged_snapshots_are_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        Echo().restore(iter([b"\xc1"]))


async def _coroutine(self: object) -> None: ...


async def _stream(self: object):  # type: ignore[no-untyped-def]
    yield 1


def _generator(self: object):  # type: ignore[no-untyped-def]
    yield 1


def _keyword(self: object, *, must: int) -> None: ...


def _keywords(self: object, **rest: int) -> None: ...


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (_coroutine, "must not be async"),
        (_stream, "must not be async"),
        (_generator, "not yield it"),
        (_keyword, "'must' has none"),
        (_keywords, "'rest' has none"),
    ],
)
@pytest.mark.parametrize("mark", [command, query])
def test_methods_that_cannot_work_are_refused(mark: object, method: object, reason: str) -> None:
    assert callable(mark)
    marked = mark(name="x")(method)
    with pytest.raises(PluginError, match=rf"Broken\.x: .*{reason}"):
        type("Broken", (StateMachineService,), {"x": marked})


def test_a_name_is_given_once() -> None:
    with pytest.raises(PluginError, match=r"Twice\.two: one is already the command 'one'"):

        class Twice(StateMachineService):
            @command
            def one(self) -> None: ...

            @command(name="one")
            def two(self) -> None: ...


@pytest.mark.parametrize("name", [3, "", b"x"])
def test_a_name_is_text(name: object) -> None:
    with pytest.raises(PluginError, match="must be a non-empty str"):
        command(name=name)  # type: ignore[call-overload]


def test_only_functions_are_marked() -> None:
    with pytest.raises(PluginError, match="marks a method, not 7"):
        command(7)  # type: ignore[call-overload]


def test_a_query_has_no_context() -> None:
    with pytest.raises(PluginError, match="a query has no CommandContext"):

        class Asks(StateMachineService):
            @query
            def ask(self, context: CommandContext) -> None: ...


@pytest.mark.parametrize(
    ("given", "missing"), [("dump", r"load\(\) nor restore"), ("load", r"dump\(\) nor snapshot")]
)
def test_a_service_has_a_snapshot(given: str, missing: str) -> None:
    with pytest.raises(PluginError, match=missing):
        type("Half", (StateMachineService,), {"name": "half", given: getattr(Echo, given)})


def test_a_large_state_is_encoded_and_decoded_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    # In one call it blocked every thread of the process, including the consensus loop's.
    packed: list[int] = []

    class Watched(msgpack.Packer):  # type: ignore[misc]  # it has no type information
        def pack(self, value: object) -> bytes:
            data: bytes = super().pack(value)
            packed.append(len(data))
            return data

    source, target = Echo(), Echo()
    source.state = {f"item-{number}": [number, {"a": number}] for number in range(20_000)}
    whole = MsgpackSerializer().dumps(source.state)
    monkeypatch.setattr(msgpack, "Packer", Watched)
    captured = source.snapshot()
    assert max(packed) < 100
    source.state = None
    chunks = list(captured)
    assert b"".join(chunks) == whole
    target.restore(iter(chunks))
    assert MsgpackSerializer().dumps(target.state) == whole
