"""Users' services under simulation: correct ones pass, and each kind of fault is found.

A check that no broken service fails would be worth nothing, so there is a broken one for each.
"""

from __future__ import annotations

import os
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from braft_core.abc import CommandContext, Service
from braft_core.errors import PluginError, Rejected, UnknownCommand
from braft_core.services import StateMachineService, command, query
from braft_core.services.distribute import DistributeService
from braft_core.services.kv import KVService
from braft_core.services.sessions import SessionTable
from braft_core.services.state_machine import StateMachine
from braft_core.services.store import StoreService
from braft_testing.simulation import InvariantBroken, run_seed, simulate_service
from braft_testing.simulation.cli import main
from braft_testing.simulation.service_under_test import ServiceUnderTest

pytestmark = pytest.mark.timeout(1200)  # computing only, on a busy machine too

ROOT = Path(__file__).parents[2]
#: Seeds within which a broken service must be found.
MOST = 40

_SAME_ANSWERS = "equal commands give equal answers"
_SAME_STATES = "equal commands give equal states"
_RESTORED = "a restored service behaves like the others"
_PREFIX = "a snapshot holds the state at its index"
_EVERYWHERE = "a service behaves the same in every process"
_ONCE = "session exactly-once"


class Stock(StateMachineService):
    """What is in a store: a counter with limits for each kind of thing."""

    name = "stock"
    room = 20

    def __init__(self) -> None:
        self.things: dict[str, int] = {}

    @command
    def put(self, thing: str, count: int) -> int:
        """Add some; return how many there are."""
        there = self.things.get(thing, 0)
        if there + count > self.room:
            raise Rejected(f"no room for {count} {thing}")
        self.things[thing] = there + count
        return there + count

    @command
    def take(self, thing: str, count: int) -> int:
        """Take some; return how many are left."""
        left = self.things.get(thing, 0) - count
        if left < 0:
            raise Rejected(f"there are no {count} {thing}")
        self.things[thing] = left
        return left

    @query
    def get(self, thing: str) -> int:
        """Return how many there are."""
        return self.things.get(thing, 0)

    def dump(self) -> Any:
        """Return the whole state."""
        return self.things

    def load(self, value: Any) -> None:
        """Replace the whole state."""
        self.things = value


def stock_operations(rng: random.Random) -> tuple[str, list[Any]]:
    """Draw a put, a take or a get."""
    thing = rng.choice(("apples", "pears", "plums", "nuts", "figs"))
    name = rng.choice(("put", "take", "get"))
    return name, [thing] if name == "get" else [thing, rng.randint(1, 9)]


def within_limits(stock: Stock) -> bool:
    """Check that no counter is negative or above the limit."""
    return all(0 <= count <= stock.room for count in stock.things.values())


# -- services that pass --------------------------------------------------------------------------


class Plain(Service):
    """A service without a helper base class."""

    name = "plain"

    def __init__(self) -> None:
        self.total = 0

    def apply(self, command: str, args: Sequence[Any], context: CommandContext) -> Any:
        """Add to the total."""
        if command != "add":
            raise UnknownCommand(f"{command!r} is none of add")
        self.total += args[0]
        return [self.total, context.index]

    def query(self, query: str, args: Sequence[Any]) -> Any:
        """Return the value."""
        return self.total

    def snapshot(self) -> Iterator[bytes]:
        """Write eight bytes."""
        return iter([self.total.to_bytes(8, "big")])

    def restore(self, chunks: Iterator[bytes]) -> None:
        """Read eight bytes."""
        self.total = int.from_bytes(b"".join(chunks), "big")


class Unsorted(Stock):
    """Equal states have snapshots of different bytes; the user's ``state`` compares them."""

    def __init__(self) -> None:
        super().__init__()
        self._dumps = 0

    def dump(self) -> Any:
        """Return the things in another order each time."""
        self._dumps += 1
        return dict(sorted(self.things.items(), reverse=self._dumps % 2 == 0))


def things_of(stock: Stock) -> dict[str, int]:
    """Return the state as the user compares it."""
    return stock.things


class Chronicle(StateMachineService):
    """Its commands return nothing, so only the log shows their order."""

    name = "chronicle"

    def __init__(self) -> None:
        self.lines: list[int] = []

    @command
    def write(self, line: int) -> None:
        """Append a line."""
        self.lines.append(line)

    @query
    def read(self) -> list[int]:
        """Return all lines."""
        return self.lines

    def dump(self) -> Any:
        """Return the whole state."""
        return self.lines

    def load(self, value: Any) -> None:
        """Replace the whole state."""
        self.lines = value


def chronicle_operations(rng: random.Random) -> tuple[str, list[Any]]:
    """Write most of the time, and read seldom."""
    return ("read", []) if rng.random() < 0.03 else ("write", [rng.randrange(1000)])


def kv_operations(rng: random.Random) -> tuple[str, Sequence[Any]]:
    """Draw from all commands and queries of kv."""
    place = (f"m{rng.randrange(2)}", f"k{rng.randrange(3)}")
    return rng.choice(
        (
            ("put", (*place, rng.randrange(9))),
            ("put_if", (*place, [1, {"a": None}], rng.randrange(30))),
            ("delete", place),
            ("delete_if", (*place, rng.randrange(30))),
            ("get", place),
            ("list", place[:1]),
            ("maps", ()),
        )
    )


def distribute_operations(rng: random.Random) -> tuple[str, Sequence[Any]]:
    """Draw from all commands and queries of distribute."""
    item, nodes = f"i{rng.randrange(6)}", [f"n{number}" for number in range(rng.randrange(4))]
    return rng.choice(
        (
            ("distribute", ([f"i{number}" for number in range(rng.randrange(6))],)),
            ("add", (item, {"size": rng.randrange(3)})),
            ("remove", (item,)),
            ("set_nodes", (nodes,)),
            ("assignment", ()),
            ("items_of", ("n1",)),
        )
    )


def store_operations(rng: random.Random) -> tuple[str, Sequence[Any]]:
    """Draw from the commands and queries of store."""
    key, value, lease = b"k%d" % rng.randrange(4), b"v%d" % rng.randrange(9), rng.randrange(3)
    compares = [[rng.randrange(3), rng.randrange(4), key, b"", rng.randrange(6)]]
    then = [[1, key, value, 0, 1], [0, b"k0", b"k9"]]
    return rng.choice(
        (
            ("put", (key, value, lease, 1)),
            ("put", (key, value)),
            ("delete", (key, b"k3", 1)),
            ("txn", (compares, then, [[2, b"k1", b"", 0]])),
            ("compact", (rng.randrange(1, 20),)),
            ("grant", (lease or 1, 5)),
            ("revoke", (lease or 1,)),
            ("renew", ([1, 2],)),
            ("tick", (rng.randrange(1, 4),)),
            ("range", (b"k", b"l", 0, rng.randrange(20))),
            ("events", (rng.randrange(20),)),
            ("hash", ()),
        )
    )


def plain_operations(rng: random.Random) -> tuple[str, list[Any]]:
    """Draw an add or a query."""
    return rng.choice((("add", [rng.randrange(5)]), ("total", [])))


#: These take four seconds and more each.
SLOW_AND_GOOD: list[tuple[Any, Any, dict[str, Any]]] = [
    (KVService, kv_operations, {}),
    (StoreService, store_operations, {}),
    (DistributeService, distribute_operations, {}),
    (Plain, plain_operations, {"queries": ["total"]}),
    (Chronicle, chronicle_operations, {}),
    (Unsorted, stock_operations, {"state": things_of}),
]


@pytest.mark.parametrize(
    ("service", "operations", "more"),
    [
        pytest.param(
            Stock, stock_operations, {"invariant": within_limits, "model": Stock}, id="stock"
        ),
        *(pytest.param(*row, marks=pytest.mark.slow, id=row[0].__name__) for row in SLOW_AND_GOOD),
    ],
)
def test_a_good_service_passes(service: Any, operations: Any, more: dict[str, Any]) -> None:
    reports = simulate_service(service, operations, seeds=range(6), **more)
    assert len(reports) == 6
    assert not any(report.undecided for report in reports)
    assert sum(report.calls.total() for report in reports) > 6 * 25
    assert sum(report.snapshots for report in reports) > 6 * 5


# -- services that are broken --------------------------------------------------------------------


class Random(Stock):
    @command
    def put(self, thing: str, count: int) -> int:
        return super().put(thing, count + random.randrange(2))


class Clock(Stock):
    """A clock that shows whole hours only: the servers' clocks differ by more."""

    @command
    def put(self, thing: str, count: int) -> int:
        return super().put(thing, count) + int(time.time()) // 3600


class WallClock(Stock):
    @command
    def put(self, thing: str, count: int) -> int:
        return super().put(thing, count) + datetime.now().hour


class Address(Stock):
    @command
    def put(self, thing: str, count: int) -> int:
        super().put(thing, count)
        return id(self.things) % 1000


class HashOfText(Stock):
    """All instances of one process agree."""

    @command
    def put(self, thing: str, count: int) -> int:
        return super().put(thing, count) + hash(thing) % 2


class SetOrder(Stock):
    """All instances of one process agree, or nearly."""

    @command
    def put(self, thing: str, count: int) -> int:
        super().put(thing, count)
        return list({*self.things}).index(thing)


class FirstState(Stock):
    def __init__(self) -> None:
        super().__init__()
        self.things["apples"] = random.randrange(5)


class LeftOut(Stock):
    """The number of puts is missing in the snapshot."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0

    @command
    def put(self, thing: str, count: int) -> int:
        self.puts += 1
        return super().put(thing, count) + self.puts


class Merging(Stock):
    @command
    def take(self, thing: str, count: int) -> int:
        super().take(thing, count)
        if not self.things[thing]:
            del self.things[thing]
        return 0

    def load(self, value: Any) -> None:
        self.things.update(value)


class Late(Stock):
    """The snapshot shows the state when it is written, not when it was taken."""

    def snapshot(self) -> Iterator[bytes]:
        return (chunk for _ in range(1) for chunk in super(Late, self).snapshot())


class Shared(Stock):
    @command
    def put(self, thing: str, count: int) -> Any:
        super().put(thing, count)
        return [self.things]


class ChangingQuery(Stock):
    @query
    def get(self, thing: str) -> int:
        return self.things.setdefault(thing, 0)


class CachedQuery(Stock):
    """A query caches its result beside the state, and never updates it."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, int] = {}

    @query
    def get(self, thing: str) -> int:
        return self.known.setdefault(thing, super().get(thing))


class Swap(Stock):
    """Two commands that are correct separately: a check, and a later use of its result."""

    def __init__(self) -> None:
        super().__init__()
        self.promised: dict[str, int] = {}

    @command
    def put(self, thing: str, count: int) -> int:
        """Reserve room; the next put takes it."""
        if self.things.get(thing, 0) + count <= self.room:
            self.things[thing] = self.things.get(thing, 0) + self.promised.get(thing, 0)
            self.promised[thing] = count
        return self.things.get(thing, 0)

    def dump(self) -> Any:
        return [self.things, self.promised]

    def load(self, value: Any) -> None:
        self.things, self.promised = value


class OneTooMany(Stock):
    """Off by one, which only a model can show, not another instance of the service."""

    room = 21


class NoSnapshot(Stock):
    def dump(self) -> Any:
        return {**self.things, "who": self}


class NoRestore(Stock):
    def load(self, value: Any) -> None:
        raise RuntimeError("cannot")


BROKEN: list[tuple[type[Stock], set[str], dict[str, Any]]] = [
    (Random, {_SAME_ANSWERS, _SAME_STATES}, {}),
    (Clock, {_SAME_ANSWERS}, {}),
    # Usually the first rule; one of the others if an hour ends during the run.
    (WallClock, {_EVERYWHERE, _SAME_ANSWERS, _RESTORED, "linearizability"}, {}),
    (Address, {_SAME_ANSWERS, _RESTORED}, {}),
    (HashOfText, {_EVERYWHERE}, {}),
    (SetOrder, {_EVERYWHERE, _RESTORED}, {}),
    (FirstState, {_SAME_STATES}, {}),
    (LeftOut, {_RESTORED}, {}),
    (Merging, {_PREFIX}, {}),
    (Late, {_PREFIX}, {}),
    (Shared, {"an answer shares no objects with the state"}, {}),
    (ChangingQuery, {"a query changes nothing"}, {}),
    (CachedQuery, {"linearizability"}, {}),
    (Swap, {"the invariant of the service"}, {"invariant": within_limits}),
    (OneTooMany, {"linearizability"}, {"model": Stock}),
    (NoSnapshot, {"a snapshot can be taken and restored"}, {}),
    (NoRestore, {"a snapshot can be taken and restored"}, {}),
]


#: Those that take more than four seconds, since they need several seeds.
SLOW = {CachedQuery, Late, LeftOut, Merging, NoRestore, OneTooMany, Swap}


@pytest.mark.parametrize(
    ("service", "rules", "more"),
    [
        pytest.param(*row, marks=pytest.mark.slow if row[0] in SLOW else (), id=row[0].__name__)
        for row in BROKEN
    ],
)
def test_a_broken_service_is_found(
    service: type[Stock], rules: set[str], more: dict[str, Any]
) -> None:
    with pytest.raises(InvariantBroken) as caught:
        simulate_service(service, stock_operations, seeds=range(MOST), **more)
    assert caught.value.invariant in rules, caught.value.message


def test_a_failure_names_command_answers_and_how_to_see_it_again() -> None:
    with pytest.raises(InvariantBroken) as caught:
        simulate_service(Random, stock_operations)
    lines = caught.value.message.splitlines()
    assert lines[1] == f"seed 0 breaks: {_SAME_ANSWERS}"
    expected = r"put\('\w+', \d+\) at entry \d+: (s\d) answers (\S+), (?!\1)s\d answers (?!\2)\S+"
    assert re.fullmatch(expected, lines[2]), lines[2]
    assert lines[-1] == "0 → simulate_service(..., seed=0, trace=True)"


@pytest.mark.slow
def test_a_history_without_an_order_is_shown_from_where_it_fails() -> None:
    with pytest.raises(InvariantBroken) as caught:
        simulate_service(CachedQuery, stock_operations)
    lines = caught.value.message.splitlines()
    assert lines[2] == "no order explains"
    assert " get('" in lines[3]
    assert lines[4] == "after, among earlier ones,"


def test_a_failure_is_the_same_when_its_seed_is_replayed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    messages = []
    for trace in (False, True):
        with pytest.raises(InvariantBroken) as caught:
            simulate_service(Random, stock_operations, seed=0, trace=trace)
        messages.append(caught.value.message)
    assert messages[0] == messages[1]
    assert messages[0].splitlines()[-3] in capsys.readouterr().out


def test_long_states_are_shown_from_where_they_differ() -> None:
    with pytest.raises(InvariantBroken) as caught:
        simulate_service(LongState, stock_operations)
    line = caught.value.message.splitlines()[2]
    assert "…" in line
    assert "'end': 0" in line
    assert "'end': 1" in line
    assert len(line) < 1200


class LongState(Stock):
    """States that are equal for a thousand characters."""

    def __init__(self) -> None:
        super().__init__()
        self.end = 0

    @command
    def put(self, thing: str, count: int) -> int:
        self.end = random.randrange(2)
        return super().put(thing, count)

    def dump(self) -> Any:
        return {**{f"k{number}": number for number in range(100)}, "end": self.end}


@pytest.mark.parametrize("patched", ["_apply_once", "finish"])
def test_a_command_that_is_applied_twice_is_found(
    patched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break the state machine instead, since no service can cause this."""
    if patched == "_apply_once":
        monkeypatch.setattr(
            StateMachine, "_apply_once", lambda self, data, at: self._execute(data, at)
        )
    else:
        monkeypatch.setattr(SessionTable, "finish", lambda *_: None)
    under_test = ServiceUnderTest(Stock, stock_operations)
    broken = next(r for seed in range(MOST) if not (r := run_seed(seed, under_test=under_test)).ok)
    assert broken.invariant == _ONCE
    assert " took effect on " in broken.detail


# -- operations, arguments -----------------------------------------------------------------------


def unknown_command(rng: random.Random) -> tuple[str, list[Any]]:
    """Draw a command that the service lacks."""
    return "steal", [rng.random()]


def no_operation(rng: random.Random) -> Any:
    """Return nothing."""


def odd_arguments(rng: random.Random) -> tuple[str, list[Any]]:
    """Draw arguments that no command can hold."""
    return "put", [rng]


def always_refused(rng: random.Random) -> tuple[str, list[Any]]:
    """Draw takes only, so that nothing is ever put."""
    return "take", ["apples", rng.randint(1, 9)]


@pytest.mark.parametrize(
    ("operations", "rule"),
    [
        (unknown_command, "operations() returns only commands and queries of the service"),
        (no_operation, "operations() returns a name and arguments"),
        (odd_arguments, "operations() returns a name and arguments"),
        (always_refused, "some operation succeeds"),
    ],
)
def test_operations_that_test_nothing_are_found(operations: Any, rule: str) -> None:
    with pytest.raises(InvariantBroken) as caught:
        simulate_service(Stock, operations, seeds=range(1))
    assert caught.value.invariant == rule


def test_an_unknown_query_is_found() -> None:
    with pytest.raises(InvariantBroken, match="has no query 'steal'"):
        simulate_service(Stock, unknown_command, seeds=range(4), queries=["steal"])


def test_an_invariant_that_raises_says_why() -> None:
    def never(stock: Stock) -> None:
        assert not stock.things, "there is something"

    with pytest.raises(InvariantBroken, match="AssertionError: there is something"):
        simulate_service(Stock, stock_operations, invariant=never)


def test_a_service_that_other_processes_cannot_import_needs_an_argument() -> None:
    class Local(Stock):
        pass

    with pytest.raises(ValueError, match="other_processes=False"):
        simulate_service(Local, stock_operations, seeds=range(1))
    assert simulate_service(Local, stock_operations, seeds=range(2), other_processes=False)


@pytest.mark.slow
def test_a_service_of_a_script_is_found_by_other_processes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_services import HashOfText, simulate_service, stock_operations\n"
        "class Mine(HashOfText): pass\n"
        "if __name__ == '__main__':\n"
        "    simulate_service(Mine, stock_operations)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert f"InvariantBroken: {_EVERYWHERE}" in done.stderr


@pytest.mark.slow
def test_a_process_that_dies_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stock, "__module__", "no_such_module")
    with pytest.raises(RuntimeError, match="No module named 'no_such_module'"):
        simulate_service(Stock, stock_operations, seeds=range(2))


class OfAnotherName(Stock):
    name = "store"


class WithoutName(Plain):
    name: ClassVar[str] = ""


@pytest.mark.parametrize(
    ("service", "more", "error", "message"),
    [
        (Plain, {}, ValueError, "say which of its operations are queries"),
        (Stock, {"model": OfAnotherName}, ValueError, "the model's name is 'store'"),
        (WithoutName, {}, PluginError, "has no name"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    service: Any, more: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        simulate_service(service, stock_operations, **more)


# -- runs ----------------------------------------------------------------------------------------


def test_patched_time_and_random_are_restored() -> None:
    before, state = time.time, random.getstate()
    simulate_service(Stock, stock_operations, seeds=range(1), other_processes=False)
    assert time.time is before
    assert random.getstate() == state
    assert abs(time.time() - 1_700_000_000) > 1e6


@pytest.mark.slow
def test_a_seed_is_the_whole_run_under_any_hash_seed() -> None:
    program = (
        "import sys; sys.path.insert(0, 'tests/simulation')\n"
        "from test_services import Stock, stock_operations, run_seed, ServiceUnderTest\n"
        "under_test = ServiceUnderTest(Stock, stock_operations)\n"
        "print(*(run_seed(seed, under_test=under_test).digest for seed in range(3)))"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for hash_seed in ("0", "4711")
    ]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 3


def test_runs_with_a_service_have_other_plans() -> None:
    assert (
        run_seed(1).digest
        != run_seed(1, under_test=ServiceUnderTest(Stock, stock_operations)).digest
    )


# -- the command line ----------------------------------------------------------------------------


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name by which this module can be imported."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return Path(__file__).stem


@pytest.mark.slow
def test_the_command_line_simulates_a_service(
    named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--service", f"{named}:Stock", "--operations", f"{named}:stock_operations"]
    more = ["--invariant", f"{named}:within_limits", "--seeds", "0:3", "--jobs", "2"]
    assert main([*arguments, *more]) == 0
    out = capsys.readouterr().out
    assert "3 seeds, 0 broken" in out
    assert "\nanswers: get " in out


@pytest.mark.slow
def test_the_command_line_simulates_a_service_that_derives_from_nothing(named: str) -> None:
    arguments = ["--service", f"{named}:Plain", "--operations", f"{named}:plain_operations"]
    assert main([*arguments, "--queries", "total", "--seeds", "1"]) == 0
    with pytest.raises(SystemExit):
        main([*arguments, "--seeds", "1"])


@pytest.mark.slow
def test_the_command_line_replays_and_minimizes(
    named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--service", f"{named}:LeftOut", "--operations", f"{named}:stock_operations"]
    assert main([*arguments, "--seeds", "1", "--minimize"]) == 1
    out = capsys.readouterr().out
    assert f"seed 1 breaks: {_RESTORED}" in out
    assert f"minimized: {_RESTORED}" in out
    words = shlex.split(out[out.rindex("1 → ") :].splitlines()[0])
    capsys.readouterr()
    assert main(words[words.index("--seeds") :]) == 1
    assert f"seed 1 breaks: {_RESTORED}" in capsys.readouterr().out


def test_the_command_line_finds_what_only_other_processes_show(
    named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--service", f"{named}:HashOfText", "--operations", f"{named}:stock_operations"]
    assert main([*arguments, "--seeds", "0:40"]) == 1
    assert f"breaks: {_EVERYWHERE}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_line_says_when_nothing_was_tested(
    named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--service", f"{named}:Stock", "--operations", f"{named}:always_refused"]
    assert main([*arguments, "--seeds", "0:2"]) == 1
    assert "nothing was tested" in capsys.readouterr().out


@pytest.mark.slow
def test_the_page_of_the_simulation_has_an_example_that_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "simulation.md").read_text()
    section = page[page.index("\n## Your own service\n") :]
    program, called, test = (
        match[1] for match in re.finditer(r"^```\w+\n(.*?)^```", section, re.M | re.S)
    )
    (tmp_path / "bank.py").write_text(program)
    (tmp_path / "test_bank.py").write_text(test)
    commands = [[sys.executable, *shlex.split(called)[2:]], [sys.executable, "-m", "pytest", "-q"]]
    for arguments in commands:
        done = subprocess.run(
            arguments,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--service", "json:loads"], "needs both --service and --operations"),
        (["--service", "json:x", "--operations", "json:loads"], "is not package.module:name"),
        (["--service", "json", "--operations", "json:loads"], "is not package.module:name"),
    ],
)
def test_the_command_line_refuses_names_that_do_not_exist(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err
