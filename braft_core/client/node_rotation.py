"""Decides which node a watch asks next, when, and when it gives up. Pure but for the clock."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from braft_core.errors import BraftError, Unreachable
from braft_core.runtime import clock

__all__ = ["NodeRotation"]

#: Seconds between two rounds of asking all nodes, at first and at most.
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class NodeRotation:
    """The nodes of one watch, in turn."""

    def __init__(self, urls: Sequence[str], patience: float) -> None:
        """Begin.

        :param patience: seconds for which nodes are asked again after a watch was served; until
            then each is asked once.
        """
        self._urls = urls
        self._patience = patience
        #: Whether no node has served the watch yet.
        self.is_new = True
        self._next = 0
        #: Seconds to wait before the next node is asked.
        self._pause = 0.0
        self._pauses = 0
        #: When to give up; ``None`` while a node serves.
        self._deadline: float | None = None
        self._failed = 0
        self._silent: list[str] = []
        self._refusal: BraftError | None = None
        #: Answers in a row that ended at once.
        self._fruitless = 0

    def step(self) -> str | float:
        """Return the URL to ask, or seconds to wait before; see :meth:`waited`."""
        if self._deadline is None:
            self._deadline = clock.monotonic() + (0.0 if self.is_new else self._patience)
        return self._pause or self._urls[self._next % len(self._urls)]

    def waited(self) -> None:
        """Note that the pause is over."""
        self._pause = 0.0

    def silent(self, reason: str) -> None:
        """Note that the node gave no answer. :raises BraftError: no node is asked any more."""
        self._silent.append(f"{self._urls[self._next % len(self._urls)]} ({reason})")
        self._fail()

    def refused(self, error: BraftError) -> None:
        """Note that the node cannot serve now. :raises BraftError: no node is asked any more."""
        self._refusal = error
        self._fail()

    def _fail(self) -> None:
        self._next += 1
        self._failed += 1
        if self._failed < len(self._urls):
            return
        refusal, silent = self._refusal, self._silent
        self._failed, self._silent = 0, []
        if clock.monotonic() < (self._deadline or 0.0):
            self._wait()
            return
        self._deadline = self._refusal = None
        if refusal is not None:
            raise refusal
        raise Unreachable(f"nobody answered: {', '.join(silent)}", sent=True)

    def served(self) -> None:
        """Note that the node serves the watch."""
        self.is_new = False
        self._failed, self._silent = 0, []
        self._deadline = self._refusal = None

    def ended(self, *, fruitless: bool) -> None:
        """Note that the answer has ended; the next node is asked.

        :param fruitless: whether it brought nothing, so that asking on at once could be without
            end.
        """
        self._next += 1
        if not fruitless:
            self._fruitless = self._pauses = 0
            return
        self._fruitless += 1
        if self._fruitless % len(self._urls) == 0:
            self._wait()

    def _wait(self) -> None:
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._pauses, 10))
        self._pauses += 1
        # Watches that lost the same node do not come back at the same time.
        self._pause = pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
