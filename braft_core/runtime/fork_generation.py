"""Detect that this process is a fork of the one in which an object was made.

Reading a counter is cheap; a node would otherwise ask for its process id at each request, which is
a system call.
"""

from __future__ import annotations

import os

__all__ = ["generation"]

_generation = 0


def generation() -> int:
    """Return the number of forks between the first process and this one."""
    return _generation


def _count() -> None:
    global _generation
    _generation += 1


os.register_at_fork(after_in_child=_count)
