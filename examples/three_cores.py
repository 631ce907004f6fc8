"""Three consensus cores in one process, driven by hand: no network, no disk, no clock.

The driver of a core owns time, storage and messages. Here they are a number and two lists.
"""

import random

from braft_core.raft import (
    Configuration,
    Entry,
    EntryType,
    HardState,
    RaftConfig,
    RaftCore,
    Role,
    Server,
    encode_configuration,
)

NAMES = "abc"
MEMBERS = encode_configuration(Configuration(tuple(Server(name, f"{name}:1") for name in NAMES)))
BOOTSTRAP = Entry(1, 1, EntryType.CONFIGURATION, MEMBERS)
CHANCE = random.Random(1).random  # noqa: S311 - seeded, so that every run is the same
STATE = HardState(term=1)
cores = {
    name: RaftCore(
        name, config=RaftConfig(), random=CHANCE, now=0.0, hard_state=STATE, entries=[BOOTSTRAP]
    )
    for name in NAMES
}
disks: dict[str, list[Entry]] = {name: [BOOTSTRAP] for name in NAMES}
applied: dict[str, list[bytes]] = {name: [] for name in NAMES}


def run_until_idle() -> None:
    """Process outputs until no core has any."""
    while batches := [(name, ready) for name in NAMES if (ready := cores[name].poll())]:
        for name, ready in batches:
            disks[name] += ready.entries  # a real driver writes these and waits for the sync
            cores[name].persisted(ready.number)  # before it reports this
            for message in ready.messages + ready.messages_after_persist:
                cores[message.to].step(message)
            for entry in ready.committed:
                applied[name] += [entry.data] if entry.type == EntryType.COMMAND else []
                cores[name].applied(entry.index)


def tick(now: float) -> None:
    """Advance the time of every core to ``now``, seconds since any start."""
    for each in cores.values():
        each.tick(now)
    run_until_idle()


while not (leaders := [each for each in cores.values() if each.role is Role.LEADER]):
    tick(min(each.next_deadline() for each in cores.values()))
leaders[0].propose([b"hello", b"world"])
run_until_idle()
tick(leaders[0].next_deadline())  # a heartbeat carries the commit index
print(f"{leaders[0].server_id} leads term {leaders[0].current_term}; applied: {applied}")
