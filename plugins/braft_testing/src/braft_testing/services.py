"""Conformance suite for services: deterministic commands and complete snapshots.

Derive a test class from :class:`ServiceConformance` and name commands and queries to try::

    class TestCounter(ServiceConformance):
        def make(self):
            return Counter()

        commands = (("add", [1]), ("add", [41]))
        queries = (("get", []),)

List commands that bring the service into a varied state, including commands that fail. They run
through a real :class:`~braft_core.services.state_machine.StateMachine`, as on a node.
"""

# Method names state the rules, and the suite consists of asserts.
# ruff: noqa: D102, S101

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from braft_core.abc import Service
from braft_core.errors import BraftError, UnknownCommand
from braft_core.raft.types import Entry, EntryType
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.typed_values import from_plain, to_plain
from braft_core.serializers.unsupported import UnsupportedEncoding
from braft_core.services.envelope import encode_command, encode_outcome
from braft_core.services.state_machine import StateMachine

__all__ = ["Call", "ServiceConformance", "digest"]

#: Name and arguments of a command or query.
Call = tuple[str, list[Any]]

_SERIALIZER = MsgpackSerializer()
_DIGEST = """
import sys
from braft_testing.services import digest
print(digest(sys.argv[1], sys.argv[2], bytes.fromhex(sys.stdin.read())))
"""


def digest(module: str, qualname: str, commands: bytes) -> str:
    """Apply commands to a fresh service; return a digest of all answers and the snapshot."""
    service: Any = importlib.import_module(module)
    for part in qualname.split("."):
        service = getattr(service, part)
    run = _Run(service())
    calls = from_plain(_SERIALIZER.loads(commands))
    answers = [run.apply(name, args) for name, args in calls]
    return hashlib.sha256(b"".join([*answers, run.snapshot()])).hexdigest()


class _Run:
    """A service in its own state machine, and a log."""

    def __init__(self, service: Service) -> None:
        self.service, self.name = service, service.name
        self.machine = StateMachine([service], {_SERIALIZER.tag: _SERIALIZER})
        self.index = 0

    def apply(self, name: str, args: Sequence[Any]) -> bytes:
        self.index += 1
        data = encode_command(_SERIALIZER, self.name, name, args)
        appended_at = 1_700_000_000_000_000_000 + self.index
        entry = Entry(self.index, 1, EntryType.COMMAND, data, b"", appended_at)
        return encode_outcome(self.machine.apply(entry))

    def query(self, name: str, args: Sequence[Any]) -> bytes:
        try:
            return encode_outcome(self.machine.query(self.name, name, args))
        except BraftError as error:
            return encode_outcome(error)

    def snapshot(self) -> bytes:
        return b"".join(self.machine.snapshot())

    def digested(self) -> list[bytes]:
        """Return the bytes whose digests the members of a cluster compare, by service."""
        return [b"".join(chunks) for _, _, chunks in self.machine.capture_digests()]


class ServiceConformance:
    """Rules for every service. Each ``test_*`` method is one rule."""

    #: Commands to apply, in this order.
    commands: ClassVar[Sequence[Call]] = ()
    #: Queries that show the state the commands make.
    queries: ClassVar[Sequence[Call]] = ()

    def make(self) -> Service:
        """Return a new service in its initial state."""
        raise NotImplementedError("derive from ServiceConformance and define make()")

    def fresh(self) -> _Run:
        """Return a new service without any command applied."""
        return _Run(self.make())

    def filled(self) -> _Run:
        """Return a new service with all commands applied."""
        run = self.fresh()
        for name, args in self.commands:
            run.apply(name, args)
        return run

    def answers(self, run: _Run) -> list[bytes]:
        """Return the answers to all queries."""
        return [run.query(name, args) for name, args in self.queries]

    def test_there_is_something_to_test(self) -> None:
        assert self.commands
        assert self.queries
        assert self.answers(self.fresh()) != self.answers(self.filled())

    def test_equal_commands_give_equal_answers(self) -> None:
        one, two = self.fresh(), self.fresh()
        for name, args in self.commands:
            assert one.apply(name, args) == two.apply(name, args), f"answers to {name} differ"

    def test_equal_commands_give_equal_states(self) -> None:
        one, two = self.filled(), self.filled()
        assert self.answers(one) == self.answers(two)
        assert one.snapshot() == two.snapshot()

    def test_the_hash_seed_changes_nothing(self) -> None:
        kind = type(self.make())
        if not _importable(kind):
            pytest.skip(f"{kind.__qualname__} cannot be imported by name in another process")
        assert _digest_under("1", kind, self.commands) == _digest_under("2", kind, self.commands)

    def test_a_snapshot_restores_the_whole_state(self) -> None:
        source, target = self.filled(), self.fresh()
        captured = source.snapshot()
        target.machine.restore([captured])
        assert self.answers(target) == self.answers(source)
        assert target.snapshot() == captured

    def test_a_restored_state_has_the_same_digest(self) -> None:
        source, target = self.filled(), self.fresh()
        target.machine.restore([source.snapshot()])
        assert target.digested() == source.digested()

    def test_a_restored_service_goes_on_as_the_others(self) -> None:
        source, target = self.filled(), self.fresh()
        target.machine.restore([source.snapshot()])
        target.index = source.index
        for name, args in self.commands:
            assert target.apply(name, args) == source.apply(name, args)
        assert target.snapshot() == source.snapshot()

    def test_restoring_replaces_what_was_there(self) -> None:
        empty, filled = self.fresh(), self.filled()
        # Bypass the state machine: its snapshots leave out services that were never used.
        filled.service.restore(iter([*empty.service.snapshot()]))
        assert self.answers(filled) == self.answers(empty)

    def test_a_snapshot_shows_the_moment_it_was_taken(self) -> None:
        run, (first, *others) = self.fresh(), self.commands
        run.apply(*first)
        before = run.snapshot()
        captured = run.machine.snapshot()
        for name, args in (*others, *self.commands):
            run.apply(name, args)
        assert b"".join(captured) == before

    def test_queries_change_nothing(self) -> None:
        run = self.filled()
        before = run.snapshot()
        first = self.answers(run)
        assert self.answers(run) == first
        assert run.snapshot() == before

    def test_callers_may_change_what_they_were_answered(self) -> None:
        run = self.filled()
        before, first = run.snapshot(), self.answers(run)
        for name, args in self.queries:
            try:
                _spoil(run.machine.query(run.name, name, args))
            except BraftError:
                continue
        assert self.answers(run) == first
        assert run.snapshot() == before

    def test_an_unknown_command_is_refused_and_changes_nothing(self) -> None:
        run = self.filled()
        before = run.snapshot()
        data = encode_command(_SERIALIZER, run.name, "no such command", [])
        entry = Entry(run.index + 1, 1, EntryType.COMMAND, data)
        if run.machine.capabilities.services[run.name] is None:
            assert isinstance(run.machine.apply(entry), UnknownCommand)
        else:
            # A later version may know it; this one must neither answer nor skip it.
            with pytest.raises(UnknownCommand):
                run.machine.check_call(run.name, "no such command", 0)
            with pytest.raises(UnsupportedEncoding):
                run.machine.apply(entry)
        assert run.snapshot() == before


def _spoil(answer: Any) -> None:
    """Change every mutable part of an answer."""
    if isinstance(answer, dict):
        for item in answer.values():
            _spoil(item)
        answer.clear()
    elif isinstance(answer, list):
        for item in answer:
            _spoil(item)
        answer.append("spoilt")


def _importable(kind: type[Service]) -> bool:
    return "<locals>" not in kind.__qualname__ and kind.__module__ in sys.modules


def _digest_under(seed: str, kind: type[Service], commands: Sequence[Call]) -> str:
    done = subprocess.run(  # noqa: S603 - this interpreter, our own text
        [sys.executable, "-c", _DIGEST, kind.__module__, kind.__qualname__],
        input=_SERIALIZER.dumps(to_plain(list(commands), keep_tuples=False)).hex(),
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"{kind.__qualname__} cannot be imported by name in another process")
    assert done.returncode == 0, done.stderr
    return done.stdout
