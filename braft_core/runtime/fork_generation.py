"""Whether this process is a fork of the one in which something was made.

Counting forks costs a look at a number; asking the system for the process id, which a node would
do for every request, costs a system call.
"""

from __future__ import annotations

import os

__all__ = ["generation"]

_generation = 0


def generation() -> int:
    """How many forks lie between the first process and this one."""
    return _generation


def _count() -> None:
    global _generation
    _generation += 1


os.register_at_fork(after_in_child=_count)
