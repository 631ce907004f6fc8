"""Pause the garbage collector while C code makes many objects.

Such a call makes no garbage. But each collection within it visits the objects made so far, while
the call holds the interpreter's lock: decoding a million lists then takes five times as long. The
collector belongs to the whole process, so a pause lasts milliseconds.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["gc_paused"]


@contextmanager
def gc_paused() -> Iterator[None]:
    """Collect no garbage inside; leave the collector as it was.

    Any thread. Of overlapping pauses, the end of the first one ends all.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
