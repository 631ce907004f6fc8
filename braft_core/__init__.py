"""braft: an embedded, plugin-based framework that makes an application a replicated cluster.

:class:`Node` is the way in. Names are loaded when they are first used, so that a program that
needs only a part, such as :mod:`braft_core.raft`, does not pay for the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from braft_core.errors import (
        BraftError,
        Busy,
        CommandFailed,
        ConfigError,
        Conflict,
        NoLeader,
        NotApplied,
        NotReady,
        OutcomeUnknown,
        Rejected,
        Stopped,
        TooLarge,
    )
    from braft_core.node import Node
    from braft_core.serializers.command_types import command_type
    from braft_core.services.service import StateMachineService, command, query

__all__ = [
    "BraftError",
    "Busy",
    "CommandFailed",
    "ConfigError",
    "Conflict",
    "NoLeader",
    "Node",
    "NotApplied",
    "NotReady",
    "OutcomeUnknown",
    "Rejected",
    "StateMachineService",
    "Stopped",
    "TooLarge",
    "command",
    "command_type",
    "query",
]

_HOMES = {
    "Node": "braft_core.node",
    "StateMachineService": "braft_core.services.service",
    "command": "braft_core.services.service",
    "command_type": "braft_core.serializers.command_types",
    "query": "braft_core.services.service",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "braft_core.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
