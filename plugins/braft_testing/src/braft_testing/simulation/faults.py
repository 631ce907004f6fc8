"""Fault injection: what goes wrong, when, and for how long.

Each kind of fault has its own random stream and its own intervals, so that a plan without one kind
keeps the timing of the others. Faults are what an operator, a kernel or a cable could cause; they
never touch the inside of a core.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from braft_core.raft.types import EntryType, Role
from braft_testing.simulation.forged_messages import send_forged
from braft_testing.simulation.operators import administer, fill
from braft_testing.simulation.plan import stream
from braft_testing.simulation.server import Server

if TYPE_CHECKING:
    from braft_testing.simulation.world import World

__all__ = ["Faults"]

#: Labels of random streams that differ from the kind's name. Another label would change every seed.
_STREAM_LABELS = {"forgery": "impostor"}


class Faults:
    """Injects the faults of the world's plan until :meth:`stop`."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: True between :meth:`start` and :meth:`stop`.
        self._active = False
        self._eager = stream(world.seed, "fault/eager")
        self._placing = stream(world.seed, "fault/placing")
        self._struck: Counter[str] = Counter()
        #: The strikes so far: seconds, kind, number.
        self.schedule: list[tuple[float, str, int]] = []
        self.injected: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[random.Random], None]] = {
            "partition": self._partition,
            "diverge": self._diverge,
            "crash": self._crash,
            "pause": self._pause,
            "slow_disk": self._slow_disk,
            "slow_syncs": self._slow_syncs,
            "full_disk": self._full_disk,
            "read_error": self._read_error,
            "wipe": self._wipe,
            "clock": self._clock,
            "false_alarm": self._false_alarm,
            "membership": self._membership,
            "transfer": self._transfer,
            "storm": self._storm,
            "death": self._death,
            "upgrade": self._upgrade,
            "forgery": self._forgery,
        }

    def start(self) -> None:
        """Schedule the first fault of each kind in the plan."""
        self._active = True
        for kind, interval in self._world.plan.faults.items():
            rng = stream(self._world.seed, _stream_label(kind))
            self._schedule(kind, interval, rng)

    def leads(self, server: Server) -> None:
        """Let an operator act at the worst moment, when a server begins to lead."""
        rng = self._eager
        kinds = [kind for kind in ("membership", "transfer") if kind in self._world.plan.faults]
        if not self._active or not kinds or rng.random() < 0.6:
            return
        change: tuple[str, str] | None = ("transfer", rng.choice(self._world.server_ids))
        if rng.choice(kinds) == "membership":
            change = self._draw_change(server, rng)
        if change is not None:
            self.injected["eager_operator"] += 1
            server.post(administer, server, *change)

    def snapshot_placed(self, server: Server) -> bool:
        """Perhaps crash a server between storing a snapshot and compacting the log.

        Return whether it crashed.
        """
        probability = self._world.plan.snapshot_crash
        if not self._active or not probability or self._placing.random() >= probability:
            return False
        self.injected["snapshot_crash"] += 1
        self._world.crash(server)
        if self._placing.random() < 0.2:
            self._damage(server)
        self._later(0.05, self._restart, server)
        return True

    def stopped_applying(self, server: Server) -> None:
        """Let an operator request a snapshot from a server that has stopped applying."""
        live = server.live
        if live is None or live.frontend.stopped is None or not self._active:
            return
        if self._eager.random() < 0.5:
            self.injected["eager_snapshot"] += 1
            server.post(live.snapshots.take, live)

    def stop(self) -> None:
        """Inject no new faults; the world does the pending repairs."""
        self._active = False

    def _schedule(self, kind: str, interval: float, rng: random.Random) -> None:
        delay = rng.expovariate(1.0 / interval)
        self._world.scheduler.after(delay, self._strike, kind, interval, rng)

    def _strike(self, kind: str, interval: float, rng: random.Random) -> None:
        if not self._active:
            return
        self._struck[kind] += 1
        self._schedule(kind, interval, rng)
        if (kind, self._struck[kind]) not in self._world.skipped:
            self.injected[kind] += 1
            self.schedule.append((self._world.scheduler.now, kind, self._struck[kind]))
            # Each strike draws from its own stream, so that leaving one out changes no other.
            self._kinds[kind](
                stream(self._world.seed, f"{_stream_label(kind)}/{self._struck[kind]}")
            )

    def _later(self, delay: float, action: Callable[..., None], *args: object) -> None:
        def act() -> None:
            if self._active:
                action(*args)

        self._world.scheduler.after(delay, act)

    # -- the network ---------------------------------------------------------------------

    def _partition(self, rng: random.Random) -> None:
        world = self._world
        ids = list(world.server_ids)
        rng.shuffle(ids)
        style = rng.choice(("split", "isolate_leader", "one_way", "bridge", "link"))
        pairs = _cuts(style, ids, self._any_leader(rng), rng)
        holds = rng.random() < 0.3
        world.network.cut(pairs, holds=holds)
        world.trace.add(f"partition {style} {sorted(pairs)}{', which holds' if holds else ''}")
        self._later(rng.expovariate(1.0 / 1.5), self._heal)

    def _diverge(self, rng: random.Random) -> None:
        """Leave a leader only a minority until it is replaced (Raft figures 7 and 8)."""
        world, leader = self._world, self._leading(rng)
        if leader is None:
            return
        others = [s for s in world.server_ids if s != leader.id]
        rng.shuffle(others)
        kept = rng.randint(0, max(0, len(others) // 2 - 1))
        near, far = [leader.id, *others[:kept]], others[kept:]
        world.network.cut(pair for a in near for b in far for pair in ((a, b), (b, a)))
        world.trace.add(f"{leader.id} is cut off with {near[1:]}")
        self._notice(leader, far, rng)
        for _ in range(rng.choice((1, 2, 3))):
            leader.post(fill, leader, rng.choice((1, 2, 5)))
        patience = world.plan.config.election_timeout * rng.choice((1.5, 2.5, 4.0))
        self._later(patience, self._rejoin, leader, rng.random() < 0.3)

    def _notice(self, leader: Server, far: list[str], rng: random.Random) -> None:
        """Perhaps report the lost connection to the others, perhaps let their clocks jump."""
        world = self._world
        jump = 0.0
        if not world.plan.bounded_clock_drift and rng.random() < 0.3:
            jump = 2 * world.plan.config.election_timeout
        for server in (world.servers[server_id] for server_id in far):
            if rng.random() < world.plan.alarm:
                world.report_connection(server, "connection_lost", leader.id)
            if jump:
                server.clock.adjust(world.scheduler.now, rate=server.clock.rate, jump=jump)
                server.clock_changed()

    def _rejoin(self, leader: Server, dies: bool) -> None:
        if dies and leader.live is not None:
            self._world.crash(leader)
            self._later(0.05, self._restart, leader)
        self._heal()

    def _heal(self) -> None:
        self._world.network.heal()
        self._world.trace.add("network healed")

    def _false_alarm(self, rng: random.Random) -> None:
        """Report a broken connection although the peer is alive."""
        world = self._world
        for server in world.servers.values():
            peer = rng.choice(world.server_ids)
            leader = server.live.core.leader if server.live is not None else ""
            if rng.random() < 0.5 and leader:
                peer = leader
            if peer != server.id and rng.random() < 0.5:
                world.report_connection(
                    server, "connection_lost" if rng.random() < 0.7 else "unreachable", peer
                )

    def _forgery(self, rng: random.Random) -> None:
        """Send a forged or stale message to a server's port."""
        server = self._pick(rng)
        for _ in range(rng.choice((1, 1, 2, 5))):
            server.post(send_forged, server, rng)

    # -- processes and machines ----------------------------------------------------------

    def _crash(self, rng: random.Random) -> None:
        """Crash one server, sometimes most or all of them."""
        world = self._world
        alive = [s for s in world.servers.values() if s.up]
        rng.shuffle(alive)
        leader = self._any_leader(rng)
        if leader and rng.random() < 0.5:
            alive.sort(key=lambda s: s.id != leader)
        count = rng.choice((1, 1, 1, 1, 2, len(alive)))
        for server in alive[:count]:
            world.crash(server)
            down = rng.choice((0.0, 0.05, rng.expovariate(1.0)))
            self._later(down, self._restart, server)

    def _restart(self, server: Server) -> None:
        if not server.up:
            server.start()

    def _pause(self, rng: random.Random) -> None:
        server = self._pick(rng)
        if server.live is not None and not server.frozen:
            server.freeze()
            self._later(rng.choice((0.05, rng.expovariate(1.0), 3.0)), server.resume)

    def _death(self, rng: random.Random) -> None:
        """Make a server unreachable, for all or only for Raft, for about ``dead_after``."""
        rules, server = self._world.plan.autopilot, self._pick(rng)
        if rules is None or not server.up:
            return
        away = rules.dead_after * rng.uniform(0.5, 4.0)
        style = rng.choice(("crash", "freeze", "deaf"))
        self._world.trace.add(f"{server.id} is away for {away:.3f} s: {style}")
        if style == "crash":
            self._world.crash(server)
            self._later(away, self._restart, server)
        elif style == "deaf":
            server.deaf = True
            self._later(away, self._hear_again, server)
        elif server.live is not None and not server.frozen:
            server.freeze()
            self._later(away, server.resume)

    def _upgrade(self, rng: random.Random) -> None:
        """Upgrade one of the oldest servers by one version; sometimes downgrade one."""
        world, back = self._world, rng.random() < 0.25
        servers = [s for s in world.servers.values() if s.version > 1 or not back]
        if not back:
            oldest = min(s.version for s in servers)
            servers = [s for s in servers if s.version == oldest < world.newest]
        leader = self._leading(rng)
        if leader is not None and rng.random() < 0.6:  # outsiders keep theirs
            members = leader.process.core.configuration
            servers = [s for s in servers if members.get(s.id) is not None] or servers
        if not servers:
            return
        server = rng.choice(servers)
        server.version += -1 if back else 1
        world.trace.add(f"{server.id} gets version {server.version}")
        if server.up:
            world.crash(server)
            self._later(rng.choice((0.0, 0.05, 0.5)), self._restart, server)

    def _hear_again(self, server: Server) -> None:
        server.deaf = False
        self._world.trace.add(f"{server.id} receives Raft messages again")

    def _nap(self, server: Server) -> None:
        if server.live is not None and not server.frozen:
            server.freeze()
            self._later(self._world.plan.config.election_timeout / 2, server.resume)

    def _slow_disk(self, rng: random.Random) -> None:
        server = self._pick(rng)
        self._world.sync_latencies.random_extra[server.id] = rng.choice((0.05, 0.3, 1.0, 8.0))
        self._world.trace.add(f"{server.id} has a slow disk")
        self._later(rng.expovariate(1.0 / 2.0), self._heal_disk, server.id)

    def _heal_disk(self, server_id: str) -> None:
        self._world.sync_latencies.random_extra[server_id] = 0.0

    def _slow_syncs(self, rng: random.Random) -> None:
        """Let every sync of some or all servers take longer than their timeouts for a while."""
        world = self._world
        ids = list(world.server_ids)
        rng.shuffle(ids)
        slow = ids[: rng.choice((1, len(ids) // 2 + 1, len(ids), len(ids)))]
        least = world.plan.config.election_timeout * rng.choice((0.7, 1.5, 2.5, 5.0))
        for server_id in slow:
            world.sync_latencies.temporary[server_id] = least
        world.trace.add(f"syncs of {slow} take {least:.3f} s")
        self._later(rng.expovariate(1.0 / 8.0), self._heal_syncs, slow)

    def _heal_syncs(self, server_ids: list[str]) -> None:
        for server_id in server_ids:
            self._world.sync_latencies.temporary[server_id] = 0.0

    def _full_disk(self, rng: random.Random) -> None:
        server = self._pick(rng)
        server.disk.full = True
        self._world.trace.add(f"{server.id} has a full disk")
        self._later(rng.choice((0.2, rng.expovariate(1.0 / 2.0), 4.0)), self._make_space, server)

    def _make_space(self, server: Server) -> None:
        server.disk.full = False
        self._world.trace.add(f"{server.id} has space again")

    def _read_error(self, rng: random.Random) -> None:
        """Crash a server, and make its disk unreadable or damage its newest snapshot."""
        server = self._pick(rng)
        if not server.up:
            return
        self._world.crash(server)
        if rng.random() < 0.5:
            server.disk.unreadable = True
        else:
            self._damage(server)
        self._later(0.05, self._restart, server)
        self._later(rng.expovariate(1.0 / 2.0), self._make_readable, server)

    def _damage(self, server: Server) -> None:
        newest = server.disk.snapshots.list()[:1]
        server.disk.snapshots.damaged.update(meta.id for meta in newest)

    def _make_readable(self, server: Server) -> None:
        server.disk.unreadable = False
        server.disk.snapshots.damaged.clear()
        self._restart(server)

    def _wipe(self, rng: random.Random) -> None:
        """Destroy the data of a server for good, if a majority of the initial voters stays."""
        world, server = self._world, self._pick(rng)
        lost = sum(1 for other in world.servers.values() if other.lost)
        if lost >= (world.plan.initial_voters - 1) // 2 or server.lost or not self._spare(server):
            return
        if server.live is not None:
            world.crash(server)
        world.trace.add(f"{server.id} loses its data")
        server.lost = not world.reuses_ids
        if not server.lost:
            server.disk.wipe()
            self._later(0.1, self._restart, server)

    def _spare(self, server: Server) -> bool:
        """Return whether a majority would stay, even if a leader removed one more right now."""
        servers = self._world.servers.values()
        if self._world.plan.autopilot is None:
            return True
        gone = {s.id for s in servers if s.lost} | {server.id}
        latest = [s.disk.volatile.configurations[-1:] for s in servers]
        for voters in (set(configuration.voters) for [(_, configuration)] in filter(None, latest)):
            if 2 * (len(voters - gone) - 1) <= len(voters) - 1:
                return False
        return True

    def _clock(self, rng: random.Random) -> None:
        server, plan = self._pick(rng), self._world.plan
        rate = 1.0 + rng.uniform(-plan.clock_drift, plan.clock_drift)
        jump = rng.choice((0.0, 0.0, rng.uniform(0.0, 5.0)))
        if plan.bounded_clock_drift:
            jump = 0.0
        elif rng.random() < 0.2:
            rate = rng.choice((0.1, 4.0))
        server.clock.adjust(self._world.scheduler.now, rate=rate, jump=jump)
        self._world.trace.add(f"{server.id} clock x{rate:.3f} +{jump:.3f}")
        server.clock_changed()

    # -- operators -----------------------------------------------------------------------

    def _membership(self, rng: random.Random) -> None:
        """Request one to three changes in a row, without waiting in between."""
        for _ in range(rng.choice((1, 1, 2, 3))):
            leader = self._leading(rng)
            if leader is None:
                return
            change = self._draw_change(leader, rng)
            if change is not None:
                leader.post(administer, leader, *change)

    def _draw_change(self, leader: Server, rng: random.Random) -> tuple[str, str] | None:
        configuration = leader.process.core.configuration
        # An uninitialised node asks to join; added as a voter, it would look like one without data.
        outside = [
            s.id
            for s in self._world.servers.values()
            if configuration.get(s.id) is None and (s.live is not None or s.bootstrap is None)
        ]
        learners = [s for s in configuration.ids if not configuration.is_voter(s)]
        voters = list(configuration.voters)
        options: list[tuple[str, list[str]]] = [
            ("add_voter", outside + learners),
            ("add_nonvoter", outside),
            ("promote", learners),
            ("remove_server", list(configuration.ids)),
            ("demote_voter", voters),
            ("remove_server", [leader.id]),
        ]
        kind, targets = rng.choice(options)
        shrinks = kind in ("remove_server", "demote_voter") and len(voters) <= 2
        if not targets or (shrinks and rng.random() < 0.8):
            return None
        return kind, rng.choice(targets)

    def _transfer(self, rng: random.Random) -> None:
        leader = self._leading(rng)
        if leader is not None:
            target = rng.choice(("", rng.choice(self._world.server_ids)))
            leader.post(administer, leader, "transfer", target)
            if rng.random() < 0.3:
                # It freezes while its successor campaigns, and returns within its lease.
                self._later(2 * self._world.network.delay, self._nap, leader)

    def _storm(self, rng: random.Random) -> None:
        """Propose a burst of entries without clients, also barriers, to fill logs and windows."""
        leader = self._leading(rng)
        if leader is not None:
            count = rng.choice((1, 10, 50))
            leader.post(fill, leader, count, rng.choice((EntryType.BARRIER, EntryType.NOOP)))

    # -- random choices ------------------------------------------------------------------

    def _pick(self, rng: random.Random) -> Server:
        """Choose any server, the leader with a higher probability."""
        leader = self._any_leader(rng)
        if leader and rng.random() < 0.4:
            return self._world.servers[leader]
        return self._world.servers[rng.choice(self._world.server_ids)]

    def _leading(self, rng: random.Random) -> Server | None:
        leader = self._any_leader(rng)
        return self._world.servers[leader] if leader else None

    def _any_leader(self, rng: random.Random) -> str:
        """Choose any server that believes to lead, including deposed ones."""
        leaders = [
            s.id
            for s in self._world.servers.values()
            if s.live is not None and s.live.core.role is Role.LEADER
        ]
        return rng.choice(leaders) if leaders else ""


def _cuts(style: str, ids: list[str], leader: str, rng: random.Random) -> set[tuple[str, str]]:
    """Return the directed links that a partition of that style cuts."""
    if style == "link" and len(ids) > 1:
        return {(ids[0], ids[1]), (ids[1], ids[0])}
    if style in ("isolate_leader", "one_way"):
        alone = leader or ids[0]
        inward = {(other, alone) for other in ids if other != alone}
        outward = {(alone, other) for other in ids if other != alone}
        if style == "isolate_leader":
            return inward | outward
        return rng.choice((inward, outward))
    middle = rng.randint(1, max(1, len(ids) - 1))
    left, right = ids[:middle], ids[middle:]
    if style == "bridge":  # one server reaches both sides
        right = right[1:]
    return {pair for a in left for b in right for pair in ((a, b), (b, a))}


def _stream_label(kind: str) -> str:
    return f"fault/{_STREAM_LABELS.get(kind, kind)}"
