"""Answers between nodes: large ones are encoded and decoded outside the loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from braft_core.errors import Conflict
from braft_core.runtime import answer_codec
from braft_core.runtime.answer_codec import decoded, encoded
from braft_core.services.envelope import encode_answer

LARGE: list[Any] = [
    {f"item-{number}": [number] for number in range(5_000)},
    [list(range(10_000))],
    "x" * 1_000_000,
]
SMALL: list[Any] = [None, 7, "x", [1, 2], {"a": b"x" * 100}, Conflict("no", revision=3)]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the ids of the threads that encode and decode answers."""
    used: list[int] = []

    def watched(work: Any) -> Any:
        def run(value: Any) -> Any:
            used.append(threading.get_ident())
            return work(value)

        return run

    for name in ("encode_answer", "decode_outcome"):
        monkeypatch.setattr(answer_codec, name, watched(getattr(answer_codec, name)))
    return used


@pytest.mark.parametrize("answer", LARGE, ids=["dict", "list", "text"])
def test_a_large_answer_leaves_the_loop_alone(answer: Any, threads: list[int]) -> None:
    # On the loop, an answer of a million values delayed a leader's heartbeats by a second.
    assert asyncio.run(decoded(asyncio.run(encoded(answer)))) == answer
    assert len(threads) == 2
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("answer", SMALL)
def test_a_small_answer_is_not_handed_to_a_thread(answer: Any, threads: list[int]) -> None:
    outcome = asyncio.run(encoded(answer))
    assert outcome == encode_answer(answer)
    found = asyncio.run(decoded(outcome))
    assert found == answer or (type(found), found.data) == (Conflict, {"revision": 3})
    assert set(threads) == {threading.get_ident()}
