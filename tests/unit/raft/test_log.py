"""The log compared with a naive model: a list of terms, and a disk that writes in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.errors import InvariantViolation
from braft_core.raft import Configuration, Entry, EntryType, Server, encode_configuration
from braft_core.raft.log import RaftLog


def entries(first: int, *terms: int) -> list[Entry]:
    return [Entry(first + i, term, EntryType.COMMAND, b"x") for i, term in enumerate(terms)]


def configuration_entry(index: int, *ids: str) -> Entry:
    members = Configuration(tuple(Server(i, f"{i}:1") for i in ids))
    return Entry(index, 1, EntryType.CONFIGURATION, encode_configuration(members))


def test_terms_and_bounds() -> None:
    log = RaftLog(entries(1, 1, 1, 2))
    assert (log.first_index, log.last_index, log.last_term) == (1, 3, 2)
    assert [log.term_at(i) for i in range(5)] == [0, 1, 1, 2, None]


def test_a_compacted_log_knows_the_term_before_its_first_entry() -> None:
    log = RaftLog(entries(11, 3), compacted_index=10, compacted_term=2)
    assert [log.term_at(i) for i in (9, 10, 11, 12)] == [None, 2, 3, None]
    with pytest.raises(InvariantViolation, match="the log begins at 11"):
        log.slice(10, 12)


def test_slice_is_cut_by_bytes_but_never_empty() -> None:
    log = RaftLog([Entry(i, 1, 0, b"x" * 10) for i in range(1, 6)])
    assert [e.index for e in log.slice(2, 6, 25)] == [2, 3]
    assert [e.index for e in log.slice(2, 6, 1)] == [2]


def test_appending_out_of_order_is_a_violation() -> None:
    with pytest.raises(InvariantViolation, match="entry 3 does not follow 1"):
        RaftLog(entries(1, 1)).append(entries(3, 1))


def test_first_index_of_a_term() -> None:
    log = RaftLog(entries(1, 1, 2, 2, 2, 3))
    assert log.first_index_of_term_at(4) == 2
    assert log.first_index_of_term_at(1) == 1


def test_the_latest_configuration_counts_and_truncation_brings_the_former_back() -> None:
    log = RaftLog([configuration_entry(1, "a"), configuration_entry(2, "a", "b")])
    assert list(log.configuration.ids) == ["a", "b"]
    assert log.configuration_at(1).ids == ("a",)
    assert log.truncate(2, next_batch=1)
    assert list(log.configuration.ids) == ["a"]
    assert log.configuration_index == 1


def test_confirmations_from_before_a_truncation_prove_nothing() -> None:
    # While entries 1-3 of term 1 are being written, 2-3 are replaced, then restored.
    log = RaftLog([])
    log.append(entries(1, 1, 1, 1))
    log.take_unstable()
    log.truncate(2, next_batch=2)
    log.append(entries(2, 2))
    log.take_unstable()
    log.truncate(2, next_batch=3)
    log.append(entries(2, 1, 1))
    log.take_unstable()
    log.stable_to(1, last_index=3, last_term=1)
    assert log.durable_index == 0, "batch 2 will still delete entries 2 and 3 from the disk"
    log.stable_to(3, last_index=3, last_term=1)
    assert log.durable_index == 3


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.tuples(st.just("truncate"), st.integers(0, 9)),
        st.tuples(st.just("take_unstable"), st.just(0)),
        st.tuples(st.just("write"), st.just(0)),
    ),
    max_size=40,
)


@given(OPERATIONS)
def test_what_the_log_calls_durable_is_on_the_disk(operations: list[tuple[str, int]]) -> None:
    log = RaftLog([])
    model: list[Entry] = []
    disk: list[Entry] = []
    queue: list[tuple[int, int | None, list[Entry], int, int]] = []
    batch, term = 1, 1
    for name, value in operations:
        if name == "append":
            fresh = entries(len(model) + 1, *[term] * value)
            log.append(fresh)
            model += fresh
        elif name == "truncate" and model:
            index = max(log.durable_index + 1 - value, 1)
            if index <= len(model):
                log.truncate(index, batch)
                del model[index - 1 :]
                term += 1
        elif name == "take_unstable":
            truncate_from, new = log.take_unstable()
            queue.append((batch, truncate_from, new, log.last_index, log.last_term))
            batch += 1
        elif name == "write" and queue:
            number, truncate_from, new, last_index, last_term = queue.pop(0)
            if truncate_from is not None:
                del disk[truncate_from - 1 :]
            assert not new or new[0].index == len(disk) + 1
            disk += new
            log.stable_to(number, last_index, last_term)
        assert log.slice(1, log.last_index + 1) == model
        assert disk[: log.durable_index] == model[: log.durable_index]
