"""The parts of the fault kit: random draws, packet rules, clients, reports, packets, disks."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from braft_core.errors import BraftError, ConfigError, Conflict, NoLeader, OutcomeUnknown
from braft_testing.faults import (
    KINDS,
    Ability,
    DelayLine,
    Entry,
    FaultKitError,
    Firewall,
    LoopDisk,
    MemoryDisk,
    Namespace,
    Network,
    Options,
    Report,
    Rule,
    run,
    survey,
)
from braft_testing.faults.checking import Violation
from braft_testing.faults.cli import main
from braft_testing.faults.firewall import Action, iptables_text, nftables_text
from braft_testing.faults.machine import tool
from braft_testing.faults.plan import Fault, draw_faults
from braft_testing.faults.recording import Action as Does
from braft_testing.faults.recording import Recorder
from braft_testing.faults.stalling import SlowSyncs
from braft_testing.faults.workload import KeyRing, read_register
from braft_testing.processes import ProcessCluster
from braft_testing.simulation.history import Outcome

# --------------------------------------------------------------------------------------------
# Random draws


def faults(seed: int, count: int, kinds: list[str] | None = None) -> list[Fault]:
    return list(islice(draw_faults(seed, kinds or list(KINDS), 3, (1.0, 4.0)), count))


def test_a_seed_draws_the_same_faults_again() -> None:
    assert faults(7, 60) == faults(7, 60)
    assert faults(7, 60) != faults(8, 60)


def test_every_kind_comes_before_any_comes_again() -> None:
    drawn = [fault.kind for fault in faults(3, 3 * len(KINDS))]
    for start in range(0, len(drawn), len(KINDS)):
        assert sorted(drawn[start : start + len(KINDS)]) == sorted(KINDS)


def test_a_fault_names_all_nodes_once_and_keeps_its_bounds() -> None:
    for fault in faults(1, 50):
        assert sorted(fault.nodes) == [0, 1, 2]
        assert 1.0 <= fault.hold <= 4.0
        assert 0.0 <= fault.strength <= 1.0


def test_no_kinds_are_an_error() -> None:
    with pytest.raises(ConfigError, match="no kind of fault"):
        next(draw_faults(1, [], 3, (1.0, 2.0)))


def test_unknown_kinds_are_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'flood'; accepted: kill, kill leader"):
        run(Options(1, tmp_path, kinds=["flood"], loopback=True))


def test_kinds_that_cannot_be_made_here_are_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such fault can be made here.*--loopback"):
        run(Options(1, tmp_path, kinds=["partition"], loopback=True))


def test_the_command_line_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--kinds", "kill,flood"])
    assert stopped.value.code == 2
    assert "'flood' is not a kind of fault; accepted: kill" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------
# Packet rules

RULES = [
    Rule(Action.DROP, True, "10.77.0.12"),
    Rule(Action.DROP, False, "10.77.0.13"),
    Rule(Action.DROP, True, share=0.25),
    Rule(Action.REJECT, False, "10.77.0.12"),
    Rule(Action.QUEUE, True),
]


def test_rules_as_nftables() -> None:
    assert nftables_text(RULES) == (
        "flush ruleset\n"
        "table ip faults {\n"
        "  chain input {\n"
        "    type filter hook input priority 0; policy accept;\n"
        '    iifname != "lo" ip saddr 10.77.0.12 drop\n'
        '    iifname != "lo" numgen random mod 1000 < 250 drop\n'
        '    iifname != "lo" queue num 0 bypass\n'
        "  }\n"
        "  chain output {\n"
        "    type filter hook output priority 0; policy accept;\n"
        '    oifname != "lo" ip daddr 10.77.0.13 drop\n'
        '    oifname != "lo" ip daddr 10.77.0.12 meta l4proto tcp reject with tcp reset\n'
        "  }\n"
        "}\n"
    )


def test_rules_as_iptables() -> None:
    assert iptables_text(RULES) == (
        "*filter\n"
        ":INPUT ACCEPT [0:0]\n"
        ":FORWARD ACCEPT [0:0]\n"
        ":OUTPUT ACCEPT [0:0]\n"
        "-A INPUT ! -i lo -s 10.77.0.12 -j DROP\n"
        "-A OUTPUT ! -o lo -d 10.77.0.13 -j DROP\n"
        "-A INPUT ! -i lo -m statistic --mode random --probability 0.250 -j DROP\n"
        "-A OUTPUT ! -o lo -d 10.77.0.12 -p tcp -j REJECT --reject-with tcp-reset\n"
        "-A INPUT ! -i lo -j NFQUEUE --queue-num 0 --queue-bypass\n"
        "COMMIT\n"
    )


# --------------------------------------------------------------------------------------------
# Clients


def test_keys_are_retired_when_their_history_is_long() -> None:
    ring = KeyRing(registers=1, calls_per_key=3)
    assert [ring.pick(0.0) for _ in range(5)] == ["register-1"] * 3 + ["register-3"] * 2
    assert [ring.pick(0.999) for _ in range(4)] == ["counter-2"] * 3 + ["counter-4"]


class Answers:
    """Replaces the remote client: returns or raises what the test says."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def kv_entry(self, map_name: str, key: str) -> object:
        if isinstance(self._answer, BraftError):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (None, Outcome.OK),
        (NoLeader("none"), Outcome.FAILED),
        (OutcomeUnknown("?"), Outcome.UNKNOWN),
        (BraftError("what a proxy says"), Outcome.UNKNOWN),
    ],
)
def test_an_error_is_recorded_as_what_it_means(answer: object, outcome: Outcome) -> None:
    recorder = Recorder()
    call = read_register(recorder, "client-0", Answers(answer), "k")  # type: ignore[arg-type]
    assert call.outcome is outcome


def test_a_conflict_is_an_answer() -> None:
    recorder = Recorder()
    error = Conflict("no", revision=12)
    call = read_register(recorder, "client-0", Answers(error), "k")  # type: ignore[arg-type]
    assert (call.outcome, call.conflict, call.revision) == (Outcome.OK, True, 12)


# --------------------------------------------------------------------------------------------
# The report


def a_report() -> Report:
    report = Report(7, 3, "in namespaces", {"delay": "no queue"})
    fault = Fault("kill", (0, 1, 2), 2.0, 0.5, True)
    for number, gap in enumerate((0.1, 0.3, 0.2), start=1):
        entry = Entry(number, fault, 10.0, "nodes [0]", healed=12.0, answering=13.0)
        entry.served, entry.gap = 13.5, gap
        report.entries.append(entry)
    report.outcomes.update({"ok": 5, "failed": 1})
    return report


def test_the_report_has_the_median_and_the_worst_of_each_kind() -> None:
    plain = json.loads(json.dumps(a_report().as_dict()))
    assert plain["passed"] is True
    assert plain["kinds"]["kill"] == {
        "count": 3,
        "no_write_seconds": {"p50": 0.2, "max": 0.3},
        "starting_seconds": {"p50": 1.0, "max": 1.0},
        "served_after_seconds": {"p50": 0.5, "max": 0.5},
    }
    assert plain["outcomes"] == {"ok": 5, "failed": 1}


def test_an_undecided_key_is_no_pass() -> None:
    report = a_report()
    report.undecided.append("register-1")
    assert not report.passed


def test_the_evidence_of_a_failure_is_the_history_of_its_key(tmp_path: Path) -> None:
    report, recorder = a_report(), Recorder()
    for key in ("register-1", "register-2"):
        recorder.answered(recorder.invoke("client-0", Does.GET, key), seen=4, revision=3)
    report.violations.append(Violation("stale", "registers/register-2", "older than told"))
    report.write_evidence(tmp_path, recorder.calls)
    history = (tmp_path / "history-register-2.txt").read_text()
    assert "#2 client-0 register-2: get: ok 4@3" in history
    assert "register-1" not in history
    assert "#3 kill for 2.0 s: nodes [0]; healed 12.00" in (tmp_path / "timeline.txt").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["passed"] is False


# --------------------------------------------------------------------------------------------
# The machine. Tests of what it cannot do are skipped, with the reason.


@pytest.fixture(scope="module")
def missing() -> dict[Ability, str]:
    return dict(survey())


@pytest.fixture
def needs(missing: dict[Ability, str]) -> Callable[[Ability], None]:
    def check(ability: Ability) -> None:
        if ability in missing:
            pytest.skip(f"{ability.value}: {missing[ability]}")

    return check


@pytest.fixture
def network(needs: Callable[[Ability], None]) -> Iterator[Network]:
    needs(Ability.NETWORK)
    with Network() as network:
        yield network


def test_a_tool_that_is_not_there_is_named() -> None:
    with pytest.raises(FaultKitError, match="no-such-tool-here is not installed"):
        tool("no-such-tool-here", "--help")


def test_a_tool_that_fails_is_named_with_its_reason() -> None:
    with pytest.raises(FaultKitError, match=r"cat /no/such/file: .*No such file"):
        tool("cat", "/no/such/file")


def datagram_socket(namespace: Namespace) -> socket.socket:
    with namespace.inside():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((namespace.address, 9000))
    return made


def received(receiver: socket.socket, count: int = 0) -> list[int]:
    """Receive at least ``count`` numbers, then go on until none arrives for 0.3 s."""
    numbers: list[int] = []
    try:
        while True:
            receiver.settimeout(40.0 if len(numbers) < count else 0.3)
            numbers.append(int(receiver.recv(16)))
    except TimeoutError:
        return numbers


def send(sender: socket.socket, to: Namespace, count: int) -> None:
    for number in range(count):
        sender.sendto(b"%d" % number, (to.address, 9000))


@pytest.mark.faults
@pytest.mark.optional
@pytest.mark.smoke
@pytest.mark.parametrize("program", ["iptables-restore", "nft"])
def test_rules_cut_one_way_and_only_until_they_are_cleared(network: Network, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    here, there = network.add("here"), network.add("there")
    firewall = Firewall(here, program)
    with datagram_socket(here) as ours, datagram_socket(there) as theirs:
        firewall.add(Rule(Action.DROP, True, there.address))
        send(theirs, here, 3)
        send(ours, there, 3)
        assert (received(theirs, 3), received(ours)) == ([0, 1, 2], [])
        firewall.clear()
        firewall.add(Rule(Action.REJECT, False, share=0.5), Rule(Action.DROP, True, share=0.001))
        firewall.clear()
        send(theirs, here, 3)
        assert received(ours, 3) == [0, 1, 2]


@pytest.mark.faults
@pytest.mark.optional
def test_a_share_of_the_packets_is_lost(network: Network, needs: Callable[[Ability], None]) -> None:
    needs(Ability.LOSS)
    here, there = network.add("here"), network.add("there")
    Firewall(here).add(Rule(Action.DROP, True, share=0.5))
    with datagram_socket(here) as ours, datagram_socket(there) as theirs:
        send(theirs, here, 200)
        assert 50 < len(received(ours)) < 150


@pytest.mark.faults
@pytest.mark.optional
def test_a_pulled_cable_carries_nothing(network: Network) -> None:
    here, there = network.add("here"), network.add("there")
    with datagram_socket(here) as ours, datagram_socket(there) as theirs:
        network.set_link(here, False)
        send(theirs, here, 1)
        assert received(ours) == []
        network.set_link(here, True)
        # The first packets may be lost until the neighbours have found each other again.
        for _ in range(20):
            send(theirs, here, 1)
            if received(ours):
                return
        pytest.fail("nothing arrives although the cable is back")


@pytest.mark.faults
@pytest.mark.optional
def test_delayed_packets_arrive_all_and_out_of_order(
    network: Network, needs: Callable[[Ability], None]
) -> None:
    needs(Ability.DELAY)
    here, there = network.add("here"), network.add("there")
    Firewall(here).add(Rule(Action.QUEUE, True))
    with datagram_socket(here) as ours, datagram_socket(there) as theirs:
        with DelayLine(here, 0.0, 0.2, seed=random.randrange(1000)) as line:
            send(theirs, here, 30)
            numbers = received(ours, 30)
        assert sorted(numbers) == list(range(30))
        assert numbers != list(range(30))
        assert line.overtaken > 0
        # Nothing reads the queue any more, so the rule lets packets pass.
        send(theirs, here, 3)
        assert received(ours, 3) == [0, 1, 2]


@pytest.mark.faults
@pytest.mark.optional
def test_a_queue_that_ends_lets_go_what_it_holds(
    network: Network, needs: Callable[[Ability], None]
) -> None:
    needs(Ability.DELAY)
    here, there = network.add("here"), network.add("there")
    Firewall(here).add(Rule(Action.QUEUE, True))
    with datagram_socket(here) as ours, datagram_socket(there) as theirs:
        with DelayLine(here, 60.0, 60.0, seed=1):
            send(theirs, here, 3)
            assert received(ours) == []
        assert sorted(received(ours, 3)) == [0, 1, 2]


@pytest.mark.faults
@pytest.mark.optional
def test_namespaces_are_gone_at_the_end_whatever_happens(
    needs: Callable[[Ability], None],
) -> None:
    needs(Ability.NETWORK)

    def ours() -> list[Path]:
        return list(Path("/run/netns").glob(f"braft-{os.getpid()}-*-*"))

    def interrupted() -> None:
        with Network() as network, network.add("here").inside():
            assert len(ours()) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ours() == []


@pytest.mark.faults
@pytest.mark.optional
def test_a_thread_comes_back_from_a_namespace(network: Network) -> None:
    def where() -> str:
        return os.readlink("/proc/thread-self/ns/net")

    home = where()
    with network.add("here").inside():
        assert where() != home
    assert where() == home


@pytest.mark.faults
@pytest.mark.optional
@pytest.mark.parametrize("kind", [MemoryDisk, LoopDisk])
def test_a_full_disk_takes_nothing_until_it_is_freed(
    kind: type[MemoryDisk | LoopDisk],
    needs: Callable[[Ability], None],
    tmp_path: Path,
) -> None:
    needs(Ability.POWER if kind is LoopDisk else Ability.DISK)
    with kind(tmp_path / "disk", size=16 << 20) as disk:
        assert disk.fill() > 8 << 20
        with pytest.raises(OSError, match="No space left"):
            (disk.path / "file").write_bytes(bytes(8192))
        disk.free()
        (disk.path / "file").write_bytes(bytes(8192))
    assert list((tmp_path / "disk").iterdir()) == []


@pytest.mark.faults
@pytest.mark.optional
@pytest.mark.smoke
def test_a_disk_that_loses_power_loses_unsynced_data(
    needs: Callable[[Ability], None], tmp_path: Path
) -> None:
    needs(Ability.POWER)
    with LoopDisk(tmp_path / "disk", size=16 << 20) as disk:
        with (disk.path / "synced").open("wb") as file:
            file.write(b"kept")
            file.flush()
            os.fsync(file.fileno())
        (disk.path / "unsynced").write_bytes(b"lost")
        disk.cut_power()
        with pytest.raises(OSError, match="Input/output"):
            (disk.path / "later").write_bytes(b"x")
        disk.unmount()
        disk.mount()
        assert (disk.path / "synced").read_bytes() == b"kept"
        assert not (disk.path / "unsynced").exists()


@pytest.mark.faults
@pytest.mark.optional
def test_a_disk_comes_back_though_another_process_holds_its_mount(
    needs: Callable[[Ability], None], tmp_path: Path
) -> None:
    needs(Ability.POWER)
    with LoopDisk(tmp_path / "disk", size=16 << 20) as disk:
        (disk.path / "file").write_bytes(b"kept")
        os.sync()
        # With a separate mount namespace, like every process of ``ip netns exec``.
        held = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; read line"]
        with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            disk.cut_power()
            disk.unmount()
            disk.mount()
            assert (disk.path / "file").read_bytes() == b"kept"
            (disk.path / "file").write_bytes(b"new")
            disk.cut_power()
            disk.unmount()
            disk.mount()
            assert (disk.path / "file").exists()
            holder.communicate()


# --------------------------------------------------------------------------------------------
# Syncs and clocks


@pytest.mark.faults
@pytest.mark.optional
def test_a_disk_that_stalls_makes_its_leader_step_down(
    tmp_path: Path, needs: Callable[[Ability], None]
) -> None:
    needs(Ability.SLOW)
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        before = cluster.leader()
        client = cluster.client()
        client.kv_put("m", "k", 0)
        with SlowSyncs(cluster.pid(before), 4.0):
            written = 0

            def deposed() -> bool:
                nonlocal written
                written += 1
                client.kv_put("m", "k", written)
                return cluster.leader() != before

            cluster.wait_for(deposed, what="another node leads")
            # The two other nodes are a majority and go on meanwhile.
            cluster.wait_for(lambda: client.kv_put("m", "other", 1), what="writes go on")
        cluster.wait_ready()
        assert cluster.client(before).kv_get("m", "other") == 1
