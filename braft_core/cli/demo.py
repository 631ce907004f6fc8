"""``braft demo``: start three real nodes, kill the leader while writing, check every write.

Every acknowledged write must be read back, linearizably, from each of the three nodes at the end. A
write whose outcome was unknown may be there or not, but only with the value that was sent.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braft_core.cli.local_cluster import LocalCluster, LocalNode
from braft_core.cli.options import AsJson
from braft_core.cli.output import Exit, echo, print_json, reports_errors
from braft_core.errors import (
    BraftError,
    ConfigError,
    NoLeader,
    NotApplied,
    OutcomeUnknown,
    Unreachable,
)
from braft_core.local_nodes import NODE_COMMAND

if TYPE_CHECKING:
    from braft_core.client import Client, Leader

__all__ = ["Account", "demo", "run_demo"]

MAP = "demo"
FORM_SECONDS = 30.0
FAILOVER_SECONDS = 10.0
LOG_LINES = 30


@dataclass(slots=True)
class Account:
    """What happened: the keys of ``braft demo --json``. Durations are in seconds."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    formed: float = 0.0
    failover: float = 0.0
    rejoined: float = 0.0
    total: float = 0.0
    killed: str = ""
    new_leader: str = ""
    lost: list[str] = field(default_factory=list)

    def compare(self, where: str, found: Mapping[str, Any]) -> None:
        """Record each acknowledged write that ``where`` lacks, and each value that nobody wrote."""
        for key, value in self.acknowledged.items():
            if found.get(key) != value:
                self.lost.append(f"{where}: {key} is {found.get(key)!r}, acknowledged {value!r}")
        for key, value in found.items():
            if key not in self.acknowledged and self.unknown.get(key) != value:
                self.lost.append(f"{where}: {key} is {value!r}, which nobody wrote")

    def as_json(self, nodes: Sequence[LocalNode]) -> dict[str, Any]:
        """Return the documented keys."""
        return {
            "ok": not self.lost,
            "nodes": [{"name": n.name, "address": n.address, "url": n.url} for n in nodes],
            "acknowledged": len(self.acknowledged),
            "unknown": len(self.unknown),
            "lost": self.lost,
            "killed": self.killed,
            "new_leader": self.new_leader,
            "formed_seconds": round(self.formed, 3),
            "failover_seconds": round(self.failover, 3),
            "rejoined_seconds": round(self.rejoined, 3),
            "total_seconds": round(self.total, 3),
        }


@reports_errors
def demo(
    writes: Annotated[int, typer.Option(min=3, help="Keys to write before, and after.")] = 150,
    keep: Annotated[bool, typer.Option("--keep", help="Keep data and logs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start three nodes here, write, kill the leader, and show that nothing was lost.

    Exit code 1 if a write was lost. JSON: ok, nodes, acknowledged, unknown, lost, killed,
    new_leader, and formed_, failover_, rejoined_ and total_seconds.
    """
    _require_static_discovery()
    say = _quiet if as_json else _speaker()
    directory = _own_folder()
    try:
        nodes, account = run_demo(directory, writes, say)
    except KeyboardInterrupt:
        _clean_up(directory, keep, say)
        raise
    _clean_up(directory, keep or bool(account.lost), say)
    if as_json:
        print_json(account.as_json(nodes))
    if account.lost:
        raise typer.Exit(Exit.REFUSED)


def _own_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="braft-demo-"))
    except OSError as error:
        raise ConfigError(
            f"cannot make a folder for the data of the demo: {error.strerror or error}; "
            "accepted: a TMPDIR that is writable"
        ) from error


def _require_static_discovery() -> None:
    """Check that static discovery is installed, before anything is started.

    :raises PluginNotFound: it is not; the message has the command that installs it.
    """
    from braft_core.config import Settings
    from braft_core.plugin.manager import Plugins
    from braft_core.plugin.registry import Registry

    plugins = Plugins.load(Settings.load().plugins_disable, tolerate=True)
    Registry(plugins).get("discovery", "static")


def _clean_up(directory: Path, keep: bool, say: Callable[[str], None]) -> None:
    if keep:
        say(f"data and logs are kept in {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)


def run_demo(
    directory: Path,
    writes: int,
    say: Callable[[str], None],
    command: Sequence[str] = NODE_COMMAND,
) -> tuple[list[LocalNode], Account]:
    """Run the demo under ``directory`` and report each step to ``say``.

    :raises BraftError: a step failed; the nodes' logs were shown.
    """
    account, began = Account(), time.monotonic()
    with _interruptible(), LocalCluster(directory, command=command) as cluster:
        try:
            _play(cluster, account, writes, say)
        except BraftError:
            _show_logs(cluster, directory)
            raise
    account.total = time.monotonic() - began
    _conclude(account, say)
    return cluster.nodes, account


def _play(cluster: LocalCluster, account: Account, writes: int, say: Callable[[str], None]) -> None:
    began = time.monotonic()
    for node in cluster.nodes:
        pid = cluster.start(node)
        say(f"started {node.name}: Raft {node.address}, HTTP {node.url}, process {pid}")
    _await_ready(cluster, cluster.nodes)
    account.formed = time.monotonic() - began
    leader = _leader(cluster, cluster.nodes)
    say(f"one cluster after {account.formed:.2f} s; {leader.name} leads")

    _write(cluster, cluster.nodes, account, "before", writes)
    say(f"wrote {len(account.acknowledged)} keys, on every node in turn")

    survivors = [node for node in cluster.nodes if node is not leader]
    killed_at = time.monotonic()
    pid = cluster.kill(leader)
    account.killed = leader.address
    say(f"killed the leader: kill -9 {pid} ({leader.name})")
    _write(cluster, survivors, account, "failover", 1)
    account.failover = time.monotonic() - killed_at
    successor = _leader(cluster, survivors)
    account.new_leader = successor.address
    say(f"the next write was committed {account.failover * 1000:.0f} ms after the kill")

    _write(cluster, survivors, account, "after", writes)
    say(f"{successor.name} leads; {len(account.acknowledged)} keys are acknowledged by now")

    began = time.monotonic()
    pid = cluster.start(leader)
    _await_ready(cluster, [leader])
    account.rejoined = time.monotonic() - began
    say(f"restarted {leader.name} as process {pid}; it was back after {account.rejoined:.2f} s")
    _verify(cluster, account, say)


def _verify(cluster: LocalCluster, account: Account, say: Callable[[str], None]) -> None:
    for node in cluster.nodes:
        with _client([node]) as client:
            found = _persist(cluster, FORM_SECONDS, partial(client.kv_list, MAP))
        before = len(account.lost)
        account.compare(node.name, found)
        wrong = len(account.lost) - before
        say(f"read all of it on {node.name}: {len(found)} keys, {wrong} wrong or missing")


def _write(
    cluster: LocalCluster, nodes: Sequence[LocalNode], account: Account, label: str, count: int
) -> None:
    """Write ``count`` new keys, each through the next node.

    Retry a write that was certainly not applied; replace one with an unknown outcome by another.
    """
    clients = [_client([node]) for node in nodes]
    try:
        done, attempt = 0, 0
        while done < count:
            key, value = f"{label}-{attempt:05d}", f"value of {label}-{attempt:05d}"
            client = clients[attempt % len(clients)]
            attempt += 1
            try:
                _persist(
                    cluster,
                    FAILOVER_SECONDS,
                    partial(client.kv_put, MAP, key, value),
                    alive=False,
                )
            except OutcomeUnknown:
                account.unknown[key] = value
                if attempt - done > 50:
                    raise
                continue
            account.acknowledged[key] = value
            done += 1
    finally:
        for client in clients:
            client.close()


def _persist(
    cluster: LocalCluster, seconds: float, call: Callable[[], Any], *, alive: bool = True
) -> Any:
    """Repeat a call that had no effect, until it succeeds or the time is over.

    :param alive: raise as soon as a node has ended.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except (NotApplied, Unreachable):
            if time.monotonic() > deadline:
                raise
        if alive:
            cluster.check_alive()
        time.sleep(0.01)


def _await_ready(cluster: LocalCluster, nodes: Sequence[LocalNode]) -> None:
    for node in nodes:
        with _client([node]) as client:
            _persist(cluster, FORM_SECONDS, partial(_demand_ready, client))


def _demand_ready(client: Client) -> None:
    ready, reason = client.ready()
    if not ready:
        raise NotApplied(reason)
    _demand_leader(client)


def _demand_leader(client: Client) -> Leader:
    leader = client.leader()
    if leader is None:
        raise NoLeader("no node of the demo knows a leader")
    return leader


def _leader(cluster: LocalCluster, nodes: Sequence[LocalNode]) -> LocalNode:
    """Return the node that these nodes name as the leader."""
    with _client(nodes) as client:
        find: Callable[[], Leader] = partial(_demand_leader, client)
        address = _persist(cluster, FAILOVER_SECONDS, find, alive=False).address
    for node in nodes:
        if node.address == address:
            return node
    raise BraftError(f"the leader is {address}, which is no running node of the demo")


def _client(nodes: Sequence[LocalNode]) -> Client:
    from braft_core.client import Client

    return Client([node.url for node in nodes], timeout=FAILOVER_SECONDS)


def _conclude(account: Account, say: Callable[[str], None]) -> None:
    for line in account.lost[:10]:
        say(f"LOST  {line}")
    verdict = "nothing was lost" if not account.lost else f"{len(account.lost)} reads were wrong"
    say(
        f"{verdict}: {len(account.acknowledged)} acknowledged writes,"
        f" {len(account.unknown)} with unknown outcome, {account.total:.1f} s in all"
    )


def _show_logs(cluster: LocalCluster, directory: Path) -> None:
    for node in cluster.nodes:
        if node.log.exists():
            lines = node.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            echo(f"--- last lines of {node.log}", err=True)
            for line in lines:
                echo(line, err=True)
    echo(f"--- data and logs are kept in {directory}", err=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Handle SIGTERM as Ctrl-C, so that the demo ends its nodes."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread, which gets no signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _quiet(line: str) -> None:
    """Print nothing: with --json only the result is printed."""


def _speaker() -> Callable[[str], None]:
    """Return a printer of lines: on a terminal with the time since the start, plain elsewhere."""
    if not sys.stdout.isatty():
        return lambda line: echo(line)
    from rich.console import Console
    from rich.text import Text

    console, began = Console(highlight=False), time.monotonic()

    def say(line: str) -> None:
        style = "bold red" if line.startswith("LOST") else ""
        style = "bold green" if line.startswith("nothing was lost") else style
        clock = f"{time.monotonic() - began:6.2f} s  "
        with suppress(BrokenPipeError):
            console.print(Text.assemble((clock, "dim"), (line, style)), soft_wrap=True)

    return say
