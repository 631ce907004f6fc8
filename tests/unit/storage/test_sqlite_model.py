"""The SQLite store compared with a list, with reopening at any time and a full disk."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from braft_core.abc import StorageOptions, StoredState, WriteBatch
from braft_core.errors import StorageFull
from braft_core.raft.types import Entry, HardState
from braft_core.storage.sqlite import SQLiteStorage

#: Number and size of entries: rows of all sizes, some beyond their bounds.
amounts = st.sampled_from([(0, 0), (1, 0), (1, 9), (3, 9), (20, 9), (2, 5000), (4200, 0)])
places = st.floats(0, 1)


class Model:
    """The expected contents of the store, and the allowed changes."""

    def __init__(self) -> None:
        self.begin = (0, 0)
        self.entries: list[Entry] = []
        self.hard_state = HardState()
        self.serial = 0

    def copy(self) -> Model:
        copied = Model()
        copied.__dict__.update(self.__dict__, entries=list(self.entries))
        return copied

    @property
    def last(self) -> int:
        return self.begin[0] + len(self.entries)

    def place(self, part: float) -> int:
        """Return an index of the log, or the one before it."""
        return self.begin[0] + int(part * len(self.entries))

    def cut(self, part: float) -> int:
        first = self.place(part) + 1
        del self.entries[first - 1 - self.begin[0] :]
        return first

    def reset(self, index: int) -> tuple[int, int]:
        self.serial += 1
        self.begin, self.entries = (index, self.serial), []
        return self.begin

    def add(self, number: int, size: int) -> list[Entry]:
        self.serial += 1
        data = bytes(size)
        added = [Entry(self.last + n, self.serial, 0, data) for n in range(1, number + 1)]
        self.entries += added
        return added

    def vote(self) -> HardState:
        self.serial += 1
        self.hard_state = HardState(self.serial, "n")
        return self.hard_state

    def compact(self, part: float) -> tuple[int, int]:
        index = self.place(part)
        if index > self.begin[0]:
            term = self.entries[index - 1 - self.begin[0]].term
            del self.entries[: index - self.begin[0]]
            self.begin = index, term
        return self.begin

    def state(self) -> StoredState:
        return StoredState(self.hard_state, self.entries, *self.begin)


@st.composite
def batches(draw: st.DrawFn, model: Model) -> tuple[list[WriteBatch], Model]:
    """Draw batches that this log accepts, and return them with the log after them."""
    after, found = model.copy(), []
    for _ in range(draw(st.integers(1, 3))):
        batch = WriteBatch()
        if draw(st.integers(0, 3)) == 0:
            batch.hard_state = after.vote()
        if draw(st.integers(0, 2)) == 0:
            batch.truncate_from = after.cut(draw(places))
        if draw(st.integers(0, 5)) == 0:
            # To any index: within the log, before it, after it.
            batch.reset = after.reset(draw(st.integers(0, after.last + 9)))
        batch.entries = after.add(*draw(amounts))
        found.append(batch)
    return found, after


class StoreIsAList(RuleBasedStateMachine):
    """After any step, ``reopen`` finds the contents of the list."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="braft-model-"))
        self.model = Model()

    @initialize()
    def open(self) -> None:
        self.store = SQLiteStorage(StorageOptions(self.folder))
        assert self.store.open() == self.model.state()
        # Syncs are slow, and this test is not about them.
        self.db.execute("PRAGMA synchronous = OFF")

    @property
    def db(self) -> sqlite3.Connection:
        assert self.store._db is not None
        return self.store._db

    @rule(number=st.integers(1, 40))
    def append_each_by_itself(self, number: int) -> None:
        for _ in range(number):
            self.store.write([WriteBatch(entries=self.model.add(1, 9))])

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        found, after = data.draw(batches(self.model))
        self.store.write(found)
        self.model = after

    @rule(data=st.data(), pages=st.integers(0, 3))
    def write_to_a_disk_that_is_nearly_full(self, data: st.DataObject, pages: int) -> None:
        found, after = data.draw(batches(self.model))
        held = self.db.execute("PRAGMA page_count").fetchone()[0]
        self.db.execute(f"PRAGMA max_page_count = {held + pages}")
        with suppress(StorageFull):
            self.store.write(found)
            self.model = after
        self.db.execute(f"PRAGMA max_page_count = {1 << 30}")

    @precondition(lambda self: self.model.entries)
    @rule(part=places)
    def compact(self, part: float) -> None:
        after = self.model.copy()
        self.store.compact(*after.compact(part))
        self.model = after

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open()

    @rule()
    def crash(self) -> None:
        """Copy the files and go on with the copy."""
        image = Path(tempfile.mkdtemp(prefix="braft-model-"))
        for path in self.folder.glob("raft.db*"):
            if path.suffix != ".db-shm":
                shutil.copy(path, image)
        self.teardown()
        self.folder = image
        self.open()

    @invariant()
    def rows_are_disjoint_and_the_last_ends_the_log(self) -> None:
        begin, end = self.model.begin[0], 0
        rows = self.db.execute("SELECT first, last FROM log ORDER BY first").fetchall()
        for first, last in rows:
            assert end < first <= last
            end = last
        assert end == self.model.last if self.model.entries else end <= begin
        if not self.store._garbage:
            assert not rows or rows[0][1] > begin

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
        shutil.rmtree(self.folder)


TestStoreIsAList = StoreIsAList.TestCase
TestStoreIsAList.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
