"""Run the commands of the transcripts in the pages and compare their output.

Pages: README.md, docs/getting-started.md, docs/operations.md and docs/store.md. Ids, process ids,
numbers and durations may differ, and so may the addresses in tables, since any node may lead.
``...`` and ``…`` in a transcript stand for anything.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from braft_core.local_nodes import node_environment
from braft_testing.processes import free_base_port

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("curl") is None, reason="the transcripts use curl"),
]

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
_FENCE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
#: A program, and the text after it that shows its output.
_PROGRAM = re.compile(r"^```python\n((?:(?!^```).)*?)^```\n\nIt prints (.*?)\n\n", re.M | re.S)
#: A command that runs a node, with its settings before it.
_NODE = re.compile(r"(?:\w+=\S+ )*BRAFT_RPORT=(\d+) (?:\w+=\S+ )*braft(?: &)?")
_READY = ['{"status": "ready"}']
_BASES = (15000, 16000, 17000, 18000)
#: Each is replaced in the transcript and in the actual output.
_VARIABLE = (
    (re.compile(r"\b\d{20}-\d{20}-[0-9a-f]{8}\b"), "SNAPSHOT"),
    (re.compile(r"\b3[0-9A-Za-z]{26}\b"), "ID"),
    (re.compile(r"\b[0-9A-Za-z_-]{8}…"), "ID"),
    (re.compile(r"\bhKJJ[0-9A-Za-z_=-]{12,}"), "ID"),
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
    (re.compile(r"\b(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?s\b"), "DURATION"),
    (re.compile(r"\b\d+(?:[.,]\d+)*"), "N"),
    (re.compile(r"\bleader\b(?= ID)|(?<=Voter )(?=ID)"), ""),
    (re.compile(r"\s+"), " "),
)


class Step(NamedTuple):
    """One command of a transcript, and the output that the transcript shows."""

    command: str
    shown: list[str]


def sections(page: Path) -> dict[str, list[Step]]:
    """Return the steps of a page's console blocks by the heading above them."""
    text = page.read_text(encoding="utf-8")
    found: dict[str, list[Step]] = {}
    for fence in _FENCE.finditer(text):
        heading = _HEADING.findall(text[: fence.start()])[-1]
        found.setdefault(heading, []).extend(_steps(fence[1]))
    return found


def _steps(block: str) -> Iterator[Step]:
    lines = block.splitlines()
    prompts = any(line.startswith("$ ") for line in lines)
    step: Step | None = None
    for line in lines:
        if line.startswith("$ ") or not prompts:
            if step is not None:
                yield step
            step = Step(re.sub(r"\s+#.*", "", line.removeprefix("$ ")), [])
        elif step is not None:
            step.shown.append(line)
    if step is not None:
        yield step


def plain(line: str) -> str:
    for pattern, word in _VARIABLE:
        line = pattern.sub(word, line)
    return line.strip()


def matches(shown: list[str], printed: list[str]) -> bool:
    """Return whether the output matches the transcript; lines are sorted, as addresses differ."""
    if shown and shown[-1] == "...":
        shown = shown[:-1]
        printed = printed[: len(shown)]
    expected, found = sorted(map(plain, shown)), sorted(map(plain, printed))
    return len(expected) == len(found) and all(
        re.fullmatch(re.escape(want).replace(r"\.\.\.", ".*").replace("…", ".*"), have)
        for want, have in zip(expected, found, strict=True)
    )


class Reader:
    """Runs the commands of a page in a separate folder, with free ports."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {base: free_base_port() for base in _BASES}
        self._code = 0
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}
        self._commands: dict[int, str] = {}
        self.environment = node_environment({})
        self.environment.pop("COLUMNS", None)
        path = f"{Path(sys.executable).parent}{os.pathsep}{self.environment['PATH']}"
        self.environment["PATH"] = path
        self.environment["BRAFT_URL"] = f"http://127.0.0.1:{self._ports[15000] + 2}"

    def follow(self, steps: list[Step]) -> None:
        for step in steps:
            self.type(step)

    def type(self, step: Step) -> None:
        command = self._here(step.command)
        if found := _NODE.fullmatch(step.command):
            self.start(int(found[1]), command)
            printed = self._log(int(found[1])).read_text().splitlines()
            assert printed[0] == self._here(step.shown[0] if step.shown else printed[0])
        elif step.command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self.environment[name] = value
        elif step.command.startswith("kill -9 "):
            self.kill_leader()
        else:
            self._compare(step, command)

    def _compare(self, step: Step, command: str) -> None:
        deadline = time.monotonic() + PATIENCE
        once = any(f" {verb} " in command for verb in ("remove", "save", "restore"))
        while True:
            printed = self._run(command)
            if not step.shown or matches(step.shown, printed):
                return
            if once or time.monotonic() > deadline:
                pytest.fail(f"$ {command}\n" + "\n".join([*printed, "is not", *step.shown]))
            time.sleep(0.3)

    def _run(self, command: str) -> list[str]:
        command = re.sub(r"^curl ", "curl -s ", command).replace("$?", str(self._code))
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        self._code = done.returncode
        return self._there(done.stdout).splitlines()

    def start(self, base: int, command: str = "") -> None:
        """Start the node of this port by ``command`` or its last one; wait until it listens."""
        self._commands[base] = command or self._commands[base]
        with self._log(base).open("wb") as log:
            self.nodes[base] = subprocess.Popen(
                ["bash", "-c", f"exec env {self._commands[base].removesuffix(' &')}"],
                cwd=self._folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.DEVNULL,
            )
        wait(lambda: b"\n" in self._log(base).read_bytes(), f"the node of {base} listens")

    def start_cluster(self, *bases: int) -> None:
        """Start the nodes of a static list; wait until each is ready."""
        addresses = ",".join(f"127.0.0.1:{self._ports[base]}" for base in bases)
        self.environment["BRAFT_DISCOVERY"] = f"static:{addresses}"
        for base in bases:
            self.start(base, f"BRAFT_RPORT={self._ports[base]} braft")
        for base in bases:
            self.type(Step(f"curl -s localhost:{base + 2}/readyz", _READY))

    def data_of(self, base: int) -> Path:
        """Return the default data directory of a node."""
        return self._folder / "braft-data" / str(self._ports[base])

    def start_as(self, base: int, other: int) -> None:
        """Start a node by the command of another one, with its own port."""
        ports = (str(self._ports[other]), str(self._ports[base]))
        self.start(base, self._commands[other].replace(f"RPORT={ports[0]}", f"RPORT={ports[1]}"))

    def kill_leader(self) -> None:
        address = self._run("braft leader show")[0].split()[0]
        self.end(int(address.rpartition(":")[2]), signal.SIGKILL)

    def end(self, base: int, number: signal.Signals = signal.SIGTERM) -> None:
        node = self.nodes.pop(base)
        node.send_signal(number)
        node.wait(PATIENCE)

    def close(self) -> None:
        for node in self.nodes.values():
            node.kill()
            node.wait()

    def _log(self, base: int) -> Path:
        return self._folder / f"{base}.log"

    def _here(self, text: str) -> str:
        return self._replace(text, {b: self._ports[b] for b in _BASES})

    def _there(self, text: str) -> str:
        return self._replace(text, {self._ports[b]: b for b in _BASES})

    def _replace(self, text: str, bases: dict[int, int]) -> str:
        ports = {str(old + n): str(new + n) for old, new in bases.items() for n in range(3)}
        return re.sub("|".join(ports), lambda match: ports[match[0]], text)


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    made.close()


def test_getting_started(reader: Reader) -> None:
    page = sections(ROOT / "docs" / "getting-started.md")
    [plugins] = [step for step in page.pop("Install") if step.command == "braft plugins"]
    reader.type(plugins)
    first, *others = page.pop("Three nodes"), page.pop("Write and read")
    alone = next(n for n, step in enumerate(first) if step.shown == ['{"status": "ready"}'])
    reader.follow(first[:alone])
    for base in (16000, 17000):
        reader.start_as(base, 15000)
    reader.follow([*first[alone:], *others[0], *page.pop("Lists come in pages")])
    *kill, refused, code = page.pop("Kill one")
    reader.follow(kill)
    stopped = next(iter(reader.nodes))
    reader.end(stopped)
    reader.follow([refused, code])
    for base in {15000, 16000, 17000} - set(reader.nodes):
        reader.start(base)
    reader.follow(page.pop("Add one"))
    assert not page


def test_readme(reader: Reader) -> None:
    steps = sections(ROOT / "README.md")["Three terminals"]
    assert len(steps) == 7
    reader.follow(steps)


def test_operations(reader: Reader, tmp_path: Path) -> None:
    page = sections(ROOT / "docs" / "operations.md")
    # It needs a service that differs between the nodes.
    del page["The members' states differ"]
    reader.start_cluster(15000, 16000, 17000)
    reader.type(Step("braft kv put colors sky blue", ["stored at revision 5"]))

    reader.end(17000, signal.SIGKILL)
    reader.follow(page.pop("Members that die"))
    reader.start(17000)

    reader.follow(page.pop("Backup"))

    reader.end(17000)
    shutil.rmtree(reader.data_of(17000))
    reader.start(17000)
    reader.follow(page.pop("A member lost its data"))
    reader.type(Step("curl -s localhost:17002/readyz", _READY))

    reader.follow(page.pop("No majority, for good"))
    assert (tmp_path / "new").is_dir()
    assert not page


def test_store(reader: Reader) -> None:
    page = sections(ROOT / "docs" / "store.md")
    reader.start_cluster(15000)
    reader.follow(page.pop("From outside"))
    assert not page


def programs() -> Iterator[tuple[str, list[str], bool]]:
    """Yield each program of the pages, its outputs, and whether their numbers are the same."""
    for page in ("README.md", "docs/getting-started.md"):
        for code, prose in _PROGRAM.findall((ROOT / page).read_text(encoding="utf-8")):
            sentence = re.split(r"\.\s", prose + "\n", maxsplit=1)[0]
            yield code, re.findall(r"`([^`]+)`", sentence), "such as" not in sentence


@pytest.mark.smoke
def test_programs_print_what_the_pages_say(tmp_path: Path) -> None:
    found = list(programs())
    assert len(found) == 3
    for number, (code, outputs, exact) in enumerate(found):
        folder = tmp_path / str(number)
        folder.mkdir()
        base = free_base_port()
        settings = {"rport": base, "dport": base + 1, "hport": base + 2}
        for output in outputs:
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=folder,
                env=node_environment(settings),
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert done.returncode == 0, done.stderr
            printed = done.stdout.splitlines()
            assert printed == [output] or (not exact and matches([output], printed))


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["stored at revision 5"], ["stored at revision 7"], True),
        (["stored at revision 5"], ["stored at 7"], False),
        (["a", "..."], ["a", "b", "c"], True),
        (["a", "..."], ["b", "a"], False),
        (['{"x": 1, ...}'], ['{"x": 1, "y": 2}'], True),
        (["127.0.0.1:1  Voter  leader  3MpE4Sqi99V6kuCFlXrCum8zmCn"], ["nothing"], False),
        (["leader 127.0.0.1:1   nodes 3"], ["leader 127.0.0.1:2   nodes 3"], True),
        (["a"], ["a", "b"], False),
        (["voter is hKJJRLsz… at …/1"], ["voter is 3MoJHw2C… at /x/2"], True),
        (["… joining cluster …"], ['{"detail": "joining cluster x"}'], False),
        (["… joining cluster …"], ['{"detail": "no: joining cluster x"}'], True),
        (
            ["00000000000000000009-00000000000000000002-d94c5663  index 9"],
            ["00000000000000000012-00000000000000000003-0a4c566f  index 12"],
            True,
        ),
    ],
)
def test_a_difference_is_seen(shown: list[str], printed: list[str], same: bool) -> None:
    assert matches(shown, printed) is same
