"""Apply the commands of a run in other processes, to find dependence on process state.

Two child processes, with other hash seeds and time zones, apply the commands of a run and compare
answers and states. That finds what instances in one process cannot show, such as the order of a set
of strings. Owns the children and the messages to them: frames of msgpack with a length of four
bytes, over standard input and output.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import ModuleType, TracebackType
from typing import IO, Any, NamedTuple

import msgpack

from braft_core.raft.types import Entry, EntryType
from braft_testing.simulation.replicas import describe_command
from braft_testing.simulation.service_under_test import (
    ServiceUnderTest,
    contrast,
    encoded,
    shown,
    shown_state,
)
from braft_testing.simulation.state_machine import SimulatedMachine
from braft_testing.simulation.world import Report

__all__ = ["Place", "SubprocessCheck", "place_of", "serve", "thing_at"]

_HASH_SEEDS = ("1", "2")
#: The children's time zone, east or west of Greenwich: far from ours, and not by whole days.
_FAR = "22:30"
_SIZE = 4
_CHILD = "from braft_testing.simulation.subprocess_check import serve; serve()"


class Place(NamedTuple):
    """The definition of a class or function."""

    module: str
    qualname: str
    file: str


def place_of(thing: object) -> Place:
    """Return where another process finds the object.

    :raises ValueError: if it is not at the top level of a module.
    """
    module, qualname = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", "<>")
    if not module or "<" in qualname:
        raise ValueError(
            f"{thing!r} cannot be found by another process: define it at the top level of a module,"
            " or do without the comparison with other processes (other_processes=False)"
        )
    return Place(module, qualname, getattr(sys.modules.get(module), "__file__", None) or "")


def thing_at(place: Place) -> Any:
    """Import the object by the module's name, or else from its file.

    :raises ImportError, AttributeError: if it is not there.
    """
    try:
        if place.module == "__main__":
            raise ImportError("the main module of this process is another one")
        return _within(importlib.import_module(place.module), place.qualname)
    except (ImportError, AttributeError):
        if not place.file:
            raise
        return _within(_from_file(place.file), place.qualname)


def _within(thing: Any, qualname: str) -> Any:
    for part in qualname.split("."):
        thing = getattr(thing, part)
    return thing


def _from_file(file: str) -> ModuleType:
    # Not as "__main__": the main part of a script must not run here.
    name = "simulated"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} is no module")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


class SubprocessCheck:
    """The child processes, ended with the ``with`` block."""

    def __init__(self, under_test: ServiceUnderTest) -> None:
        """Find the service.

        :raises ValueError: if another process cannot import it.
        """
        places = [place_of(under_test.service)]
        if under_test.state is not None:
            places.append(place_of(under_test.state))
        self._places = [[*place] for place in places]
        self._children: list[_Child] = []

    def __enter__(self) -> SubprocessCheck:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.stop()

    def check(self, report: Report) -> Report:
        """Apply the commands of a run there; record differences in its report.

        :raises RuntimeError: if a child died, with its output.
        """
        if report.ok and report.commands:
            rows = [
                [entry.index, entry.term, entry.data, entry.appended_at, *record[:2]]
                for entry, record in report.commands
            ]
            # Start the children when they are needed: many faults show in the first run without
            # them.
            self._children = self._children or [_Child(s, self._places) for s in _HASH_SEEDS]
            for child in self._children:
                difference = child.apply(rows)
                if difference is not None:
                    _note(report, child.environment, *difference)
                    break
        return report


def _note(report: Report, where: str, position: int, answer: bytes, state: bytes) -> None:
    entry, record = report.commands[position]
    report.invariant = "a service behaves the same in every process"
    if answer != record.answer:
        texts = contrast(shown(record.answer), shown(answer))
        verb = "answers"
    else:
        texts = contrast(shown_state(record.state), shown_state(state))
        verb = "leaves the state"
    command = describe_command(entry)
    report.detail = f"{command} {verb} {texts[0]} here, and {texts[1]} in a process with {where}"


class _Child:
    """One process that applies commands."""

    def __init__(self, hash_seed: str, places: list[list[str]]) -> None:
        zone = f"<far>{'' if time.localtime().tm_gmtoff > 0 else '-'}{_FAR}"
        self.environment = f"PYTHONHASHSEED={hash_seed} and TZ={zone!r}"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own text
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={
                **os.environ,
                "PYTHONHASHSEED": hash_seed,
                "TZ": zone,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
        )
        self._write([sys.path, places])

    def apply(self, rows: list[list[Any]]) -> list[Any] | None:
        """Return where and which answer or state differs there, or None."""
        self._write(rows)
        stream = self._process.stdout
        frame = None if stream is None else _read(stream)
        if frame is None:
            self._errors.seek(0)
            errors = self._errors.read().decode(errors="replace")
            raise RuntimeError(f"the process with {self.environment} died:\n{errors}")
        difference: list[Any] | None = frame[0]
        return difference

    def _write(self, value: Any) -> None:
        if self._process.stdin is not None:
            try:
                _write(self._process.stdin, value)
            except BrokenPipeError:
                return  # the missing answer is reported by the reader

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def _write(stream: IO[bytes], value: Any) -> None:
    data = msgpack.packb(value)
    stream.write(len(data).to_bytes(_SIZE, "big") + data)
    stream.flush()


def _read(stream: IO[bytes]) -> Any:
    head = stream.read(_SIZE)
    if len(head) < _SIZE:
        return None
    return msgpack.unpackb(stream.read(int.from_bytes(head, "big")))


# --------------------------------------------------------------------------------------------
# In the child


def serve() -> None:
    """Apply the commands from standard input, until it ends."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the service may print
    sys.path[:], places = _read(sys.stdin.buffer)
    service, *state = [thing_at(Place(*place)) for place in places]
    under_test = ServiceUnderTest(service, _nothing, state=state[0] if state else None, queries=())
    while (rows := _read(sys.stdin.buffer)) is not None:
        _write(replies, [_first_difference(under_test, rows)])


def _nothing(_: object) -> tuple[str, Sequence[Any]]:
    return "", ()


def _first_difference(under_test: ServiceUnderTest, rows: list[list[Any]]) -> list[Any] | None:
    service = under_test.service()
    machine = SimulatedMachine([service])
    for position, (index, term, data, appended_at, answer, state) in enumerate(rows):
        entry = Entry(index, term, EntryType.COMMAND, data, b"", appended_at)
        mine = encoded(machine.apply(entry))
        present = under_test.fingerprint(service)
        if (mine, present) != (answer, state):
            return [position, mine, present]
    return None
