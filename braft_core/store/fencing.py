"""What makes a write conditional: a lock, a leadership, anything that another may take over."""

from __future__ import annotations

from typing import Protocol

from braft_core.errors import BraftError
from braft_core.store.conditions import Condition

__all__ = ["Held"]


class Held(Protocol):
    """Something that this process holds until another process takes it over."""

    def fence(self) -> Condition:
        """Return the condition that holds in the store while nobody else holds it.

        :raises InvalidRequest: it is not held yet.
        """

    def refused(self) -> BraftError:
        """Take note that the condition did not hold; return the error that reports the loss."""
