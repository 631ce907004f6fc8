"""The scan for commands in the log: only a cluster without any may be abandoned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from braft_core.raft import Entry, EntryType
from braft_core.raft.log import RaftLog
from braft_core.runtime.membership_adapter import CommandScan


@dataclass(eq=False)
class Core:
    """The part of a core that the scan uses."""

    log: RaftLog
    commit_index: int


def noops(first: int, last: int, term: int = 1) -> list[Entry]:
    return [Entry(index, term, EntryType.NOOP, b"") for index in range(first, last + 1)]


def put(index: int, term: int = 1) -> Entry:
    return Entry(index, term, EntryType.COMMAND, b"put")


def ever(written: CommandScan, core: Core) -> bool:
    return written.has_command(cast(Any, core))


def test_a_command_is_seen_when_it_comes_and_remembered() -> None:
    core, written = Core(RaftLog(noops(1, 2)), 2), CommandScan()
    assert not ever(written, core)
    core.log.append([put(3)])
    assert ever(written, core)
    core.log.truncate(3, 1)
    assert ever(written, core)


def test_what_was_compacted_was_written() -> None:
    assert ever(CommandScan(), Core(RaftLog([], 9, 1), 9))


def test_a_command_in_the_place_of_an_entry_that_was_never_committed_is_seen() -> None:
    core, written = Core(RaftLog(noops(1, 4)), 1), CommandScan()
    assert not ever(written, core)
    core.log.truncate(2, 1)
    core.log.append([put(2, term=2)])
    core.commit_index = 2
    assert ever(written, core)


def test_the_log_of_the_next_cluster_is_looked_at_from_its_beginning() -> None:
    """The node abandoned an empty cluster and joined one with data."""
    written = CommandScan()
    assert not ever(written, Core(RaftLog(noops(1, 9)), 9))
    assert ever(written, Core(RaftLog([*noops(1, 2), put(3), *noops(4, 5)]), 5))


def test_what_comes_while_another_thread_looks_is_seen_by_the_next_look() -> None:
    class Overtaken(RaftLog):
        """Gets its first command just after the scan."""

        def slice(self, low: int, high: int, max_bytes: int | None = None) -> list[Entry]:
            found = super().slice(low, high, max_bytes)
            if self.last_index == 2:
                self.append([put(3)])
            return found

    core, written = Core(Overtaken(noops(1, 2)), 2), CommandScan()
    assert not ever(written, core)
    core.commit_index = 3
    assert ever(written, core)
