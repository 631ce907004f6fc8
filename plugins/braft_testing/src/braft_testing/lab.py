"""A laboratory: cores driven by hand, with a network that delivers at once or not at all.

For scenarios told step by step, in the manner of the paper's figures. Schedules drawn by chance are
the simulator's (:mod:`braft_testing.simulation`).
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

__all__ = ["Lab", "configuration", "founding"]


def configuration(voters: str, learners: str = "") -> Configuration:
    """``configuration("abc")``: three voters a, b, c at addresses a:1, b:1, c:1."""
    return Configuration(
        tuple(Server(v, f"{v}:1") for v in voters)
        + tuple(Server(n, f"{n}:1", Suffrage.NONVOTER) for n in learners)
    )


def founding(members: Configuration) -> Entry:
    """The first entry of a founded log."""
    return Entry(1, 1, EntryType.CONFIGURATION, encode_configuration(members))


class Lab:
    """Servers by one-letter names. Disks are instant unless a server is in ``slow_disk``."""

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
        #: Each server's constant "randomness": different, so that elections do not tie.
        self._luck = {name: (i % 10) / 10 for i, name in enumerate(ascii_lowercase)}
        first = founding(configuration(voters, learners))
        for name in voters + learners:
            self.add(name, [first], HardState(1, ""))

    def add(self, name: str, entries: list[Entry], hard_state: HardState) -> RaftCore:
        """A server with that disk, started now."""
        self.applied[name] = []
        self.held[name] = []
        self.nodes[name] = RaftCore(
            name,
            config=self.config,
            random=lambda: self._luck[name],
            now=self.now,
            hard_state=hard_state,
            entries=entries,
        )
        return self.nodes[name]

    def restart(self, name: str) -> RaftCore:
        """The same server again, from what its disk holds (everything handed out is durable)."""
        old = self.nodes[name]
        entries = old.log.slice(1, old.last_index + 1)
        return self.add(name, entries, HardState(old.current_term, old.voted_for))

    def isolate(self, name: str) -> None:
        """Cut a server off from all others."""
        self.cut |= {frozenset((name, other)) for other in self.nodes if other != name}

    def heal(self) -> None:
        """Mend the network."""
        self.cut.clear()

    def settle(self) -> None:
        """Deliver everything until nothing follows any more."""
        for _ in range(1000):
            busy = [name for name in self.nodes if self.pump(name)]
            if not busy:
                return
        raise AssertionError("the servers never come to rest")

    def pump(self, name: str) -> bool:
        """Take and carry out one Ready of that server; whether there was one."""
        core = self.nodes[name]
        if name in self.dead or not core.has_ready():
            return False
        ready = core.ready()
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
        """The slow disk of that server finishes what it was given."""
        for ready in self.held[name]:
            self.nodes[name].persisted(ready.number)
            for message in ready.messages_after_persist:
                self.deliver(message)
        self.held[name].clear()

    def deliver(self, message: Message) -> None:
        """Hand over a message, unless the network does not."""
        self.sent.append(message)
        pair = frozenset((message.sender, message.to))
        alive = message.to in self.nodes and message.to not in self.dead
        if alive and pair not in self.cut and not self.lose(message):
            self.nodes[message.to].step(message)

    def advance(self, seconds: float) -> None:
        """Let time pass, tick by tick."""
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
        """Make that server the leader of a lab without one."""
        core = self.nodes[name]
        self.now = max(self.now, core.next_deadline())
        core.tick(self.now)
        for other in self.nodes.values():
            other.tick(self.now)
        self.settle()
        if core.role is not Role.LEADER:
            raise AssertionError(f"{name} was to lead, but is {core.role.name}")
        return core

    @property
    def leaders(self) -> list[str]:
        """Names of all that believe to lead."""
        return [name for name, core in self.nodes.items() if core.role is Role.LEADER]

    def commands(self, name: str) -> list[bytes]:
        """The commands that server has applied, in order."""
        return [e.data for e in self.applied[name] if e.type == EntryType.COMMAND]
