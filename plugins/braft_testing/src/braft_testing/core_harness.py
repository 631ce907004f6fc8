"""Drive consensus cores by hand over a network that delivers messages at once or drops them.

For scenarios written step by step, like the paper's figures. The simulator
(:mod:`braft_testing.simulation`) draws random schedules instead.
"""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_lowercase

from braft_core.raft import (
    Configuration,
    Entry,
    EntryType,
    HardState,
    Message,
    RaftConfig,
    RaftCore,
    Ready,
    Role,
    Server,
    Suffrage,
    encode_configuration,
)

__all__ = ["CoreHarness", "bootstrap_entry", "configuration", "take_ready"]


def configuration(voters: str, learners: str = "") -> Configuration:
    """Return a configuration; ``"abc"`` stands for voters a, b, c at addresses a:1, b:1, c:1."""
    return Configuration(
        tuple(Server(v, f"{v}:1") for v in voters)
        + tuple(Server(n, f"{n}:1", Suffrage.NONVOTER) for n in learners)
    )


def bootstrap_entry(members: Configuration) -> Entry:
    """Return the entry with which a bootstrapped log begins."""
    return Entry(1, 1, EntryType.CONFIGURATION, encode_configuration(members))


def take_ready(core: RaftCore) -> Ready:
    """Return the core's next batch.

    :raises AssertionError: if it has no batch.
    """
    ready = core.poll()
    if ready is None:
        raise AssertionError(f"{core.server_id} has no Ready")
    return ready


class CoreHarness:
    """Servers with one-letter names. Only servers in ``slow_disk`` wait for :meth:`sync`."""

    def __init__(self, voters: str, learners: str = "", config: RaftConfig | None = None) -> None:
        self.config = config or RaftConfig()
        self.now = 0.0
        self.cut: set[frozenset[str]] = set()
        self.dead: set[str] = set()
        self.slow_disk: set[str] = set()
        self.held: dict[str, list[Ready]] = {}
        self.applied: dict[str, list[Entry]] = {}
        self.sent: list[Message] = []
        self.lose: Callable[[Message], bool] = lambda message: False
        self.nodes: dict[str, RaftCore] = {}
        #: Each server's constant "random" number. They differ, so that votes do not split.
        self._random = {name: (i % 10) / 10 for i, name in enumerate(ascii_lowercase)}
        first = bootstrap_entry(configuration(voters, learners))
        for name in voters + learners:
            self.add(name, [first], HardState(1, ""))

    def add(self, name: str, entries: list[Entry], hard_state: HardState) -> RaftCore:
        """Start a server from the given disk contents."""
        self.applied[name] = []
        self.held[name] = []
        self.nodes[name] = RaftCore(
            name,
            config=self.config,
            random=lambda: self._random[name],
            now=self.now,
            hard_state=hard_state,
            entries=entries,
        )
        return self.nodes[name]

    def restart(self, name: str) -> RaftCore:
        """Restart a server from its disk; every batch so far is durable."""
        old = self.nodes[name]
        entries = old.log.slice(1, old.last_index + 1)
        return self.add(name, entries, HardState(old.current_term, old.voted_for))

    def isolate(self, name: str) -> None:
        """Cut a server off from all others."""
        self.cut |= {frozenset((name, other)) for other in self.nodes if other != name}

    def heal(self) -> None:
        """Reconnect all servers."""
        self.cut.clear()

    def settle(self) -> None:
        """Deliver messages until no server has anything left to do."""
        for _ in range(1000):
            busy = [name for name in self.nodes if self.pump(name)]
            if not busy:
                return
        raise AssertionError("the servers still exchange messages after 1000 rounds")

    def pump(self, name: str) -> bool:
        """Carry out one Ready of that server; return False if there was none."""
        core = self.nodes[name]
        ready = core.poll() if name not in self.dead else None
        if ready is None:
            return False
        for message in ready.messages:
            self.deliver(message)
        if name in self.slow_disk:
            self.held[name].append(ready)
        else:
            core.persisted(ready.number)
            for message in ready.messages_after_persist:
                self.deliver(message)
        self.applied[name].extend(ready.committed)
        return True

    def sync(self, name: str) -> None:
        """Make all writes of a server in ``slow_disk`` durable."""
        for ready in self.held[name]:
            self.nodes[name].persisted(ready.number)
            for message in ready.messages_after_persist:
                self.deliver(message)
        self.held[name].clear()

    def deliver(self, message: Message) -> None:
        """Deliver a message unless the network drops it."""
        self.sent.append(message)
        pair = frozenset((message.sender, message.to))
        alive = message.to in self.nodes and message.to not in self.dead
        if alive and pair not in self.cut and not self.lose(message):
            self.nodes[message.to].step(message)

    def advance(self, seconds: float) -> None:
        """Advance the clock, ticking every server at each deadline."""
        end = self.now + seconds
        while True:
            live = [core for name, core in self.nodes.items() if name not in self.dead]
            due = min(core.next_deadline() for core in live)
            if due > end:
                break
            self.now = max(self.now, due)
            for core in live:
                core.tick(self.now)
            self.settle()
        self.now = end
        for core in live:
            core.tick(self.now)
        self.settle()

    def elect(self, name: str) -> RaftCore:
        """Make that server the leader of a harness without one."""
        core = self.nodes[name]
        self.now = max(self.now, core.next_deadline())
        core.tick(self.now)
        for other in self.nodes.values():
            other.tick(self.now)
        self.settle()
        if core.role is not Role.LEADER:
            raise AssertionError(f"{name} was not elected; it is {core.role.name}")
        return core

    @property
    def leaders(self) -> list[str]:
        """Names of all servers in the leader role."""
        return [name for name, core in self.nodes.items() if core.role is Role.LEADER]

    def commands(self, name: str) -> list[bytes]:
        """Return the commands that a server has applied, in order."""
        return [e.data for e in self.applied[name] if e.type == EntryType.COMMAND]
