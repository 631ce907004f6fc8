"""The settings of the service ``store``, a part of :class:`braft_core.config.Settings`."""

from __future__ import annotations

from typing import Annotated

from braft_core.config import fields as f
from braft_core.config.fields import Variable
from braft_core.config.security import SecuritySettings

__all__ = ["StoreSettings"]


class StoreSettings(SecuritySettings):
    """How much the store keeps. The leader's values hold for the cluster: set them alike."""

    store_history: Annotated[
        f.History,
        Variable(
            "how long old revisions of the store can be read, and how many at most; a 0 sets no "
            "such bound, and with both nothing is compacted but by command",
            "BRAFT_STORE_HISTORY",
        ),
    ] = (600.0, 100_000)
    store_max_bytes: Annotated[
        f.PositiveInt,
        Variable(
            "bytes of all records of the store, old revisions included, above which it accepts no "
            "put",
            "BRAFT_STORE_MAX_BYTES",
        ),
    ] = 2 << 30
