"""Freeze the garbage collector, if the settings allow it.

A full collection visits every container of the process in one go; no thread runs meanwhile, and
the consensus loop sends no heartbeat. Most of the containers are modules, classes and functions
that live as long as the process. The collector belongs to the whole process, so an embedded node
leaves it alone unless the setting ``gc_freeze`` says otherwise.
"""

from __future__ import annotations

import gc

__all__ = ["freeze_garbage_collector"]


def freeze_garbage_collector() -> None:
    """Have later collections pass over everything that is in memory now.

    What becomes unreachable is freed as ever when its last reference goes. Only what is in memory
    now, refers to itself and is dropped later stays, until somebody calls ``gc.unfreeze()``.
    """
    gc.collect()  # garbage that is there would stay for good
    gc.freeze()
