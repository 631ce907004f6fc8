"""Ordered sets of strings, for services that answer in pages.

The keys are in blocks of about a hundred. So adding and removing costs the same for any number of
keys, a page is found by bisection, and a capture copies one reference per block. Blocks are tuples
of strings, which the garbage collector stops tracking after its first visit, so its pauses do not
grow with the state.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

__all__ = ["OrderedKeys", "in_order", "keys_after"]

#: The most keys of one block.
_FULL = 128
#: Strings sorted at a time, which takes some milliseconds.
_RUN = 16_384


class OrderedKeys:
    """A set of strings in code point order, which is that of UTF-8 too. Not thread-safe."""

    __slots__ = ("_blocks", "_firsts")

    def __init__(self) -> None:
        self._blocks: list[tuple[str, ...]] = []
        #: The first key of each block.
        self._firsts: list[str] = []

    def add(self, key: str) -> None:
        """Add a key that is not in the set."""
        if not self._blocks:
            self._blocks, self._firsts = [(key,)], [key]
            return
        at = self._block_of(key)
        block = self._blocks[at]
        place = bisect_left(block, key)
        if len(block) < _FULL:
            self._blocks[at] = (*block, key) if place == len(block) else _with(block, place, key)
            if not place:
                self._firsts[at] = key
        elif place == len(block) and at == len(self._blocks) - 1:
            # Keys that come in order, as in a restore, leave full blocks.
            self._replace(at + 1, at + 1, (key,))
        else:
            grown = _with(block, place, key)
            half = len(grown) // 2
            self._replace(at, at + 1, grown[:half], grown[half:])

    def remove(self, key: str) -> None:
        """Remove a key that is in the set."""
        at = self._block_of(key)
        block = self._blocks[at]
        place = bisect_left(block, key)
        rest = (*block[:place], *block[place + 1 :])
        begin, end = at, at + 1
        if end < len(self._blocks) and self._fit(rest, self._blocks[end]):
            rest += self._blocks[end]
            end += 1
        elif begin and self._fit(rest, self._blocks[begin - 1]):
            begin -= 1
            rest = self._blocks[begin] + rest
        self._replace(begin, end, *([rest] if rest else []))

    def blocks(self) -> Sequence[tuple[str, ...]]:
        """Return all blocks; later changes do not affect them."""
        return self._blocks.copy()

    def after(self, key: str) -> Iterator[str]:
        """Iterate over the keys after ``key``, which need not exist. The set must not change."""
        at = self._block_of(key) if self._blocks else 0
        return keys_after(self._blocks, key, at)

    @staticmethod
    def _fit(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
        return len(one) + len(other) <= _FULL // 2

    def _block_of(self, key: str) -> int:
        return max(0, bisect_right(self._firsts, key) - 1)

    def _replace(self, begin: int, end: int, *blocks: tuple[str, ...]) -> None:
        self._blocks[begin:end] = blocks
        self._firsts[begin:end] = [block[0] for block in blocks]


def _with(block: tuple[str, ...], place: int, key: str) -> tuple[str, ...]:
    return block[:place] + (key,) + block[place:]  # noqa: RUF005 - three times as fast


def keys_after(blocks: Sequence[tuple[str, ...]], key: str, at: int = 0) -> Iterator[str]:
    """Iterate over the keys after ``key``; blocks before ``at`` have none."""
    for number in range(at, len(blocks)):
        block = blocks[number]
        yield from block if block[0] > key else block[bisect_right(block, key) :]


def in_order(texts: Collection[str]) -> list[str]:
    """Sort, releasing the interpreter's lock now and then: a million keys take 0.2 s at once."""
    if len(texts) <= _RUN:
        return sorted(texts)
    rest = iter(texts)
    runs = []
    while run := sorted(islice(rest, _RUN)):
        runs.append(run)
    return list(heapq.merge(*runs))
