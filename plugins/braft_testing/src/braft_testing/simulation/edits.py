"""Edits of a drawn plan, by which a failing run is reduced and replayed.

A plain value with a JSON form. The search for a smaller run is in ``minimizer``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from braft_core.errors import DecodeError
from braft_core.raft.config import RaftConfig
from braft_testing.simulation.plan import FAULTS, Plan

__all__ = ["NO_EDITS", "Edits", "decode_edits", "encode_edits"]


@dataclass(frozen=True, slots=True)
class Edits:
    """What is left out of a plan, or set to another value."""

    #: Kinds of faults to leave out, and single strikes: kind and number, from 1 on.
    without: frozenset[str] = frozenset()
    skip: frozenset[tuple[str, int]] = frozenset()
    #: Values of fields of the plan, and of its Raft configuration.
    plan: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def applied_to(self, plan: Plan) -> Plan:
        """Return the plan with these edits."""
        kept = {kind: often for kind, often in plan.faults.items() if kind not in self.without}
        config = replace(plan.config, **self.config)
        return replace(plan, **{"faults": kept, "config": config, **self.plan})


NO_EDITS = Edits()


def encode_edits(edits: Edits) -> str:
    """Encode as one line of JSON."""
    value = {
        "without": sorted(edits.without),
        "skip": sorted(map(list, edits.skip)),
        "plan": dict(edits.plan),
        "config": dict(edits.config),
    }
    return json.dumps({key: part for key, part in value.items() if part}, sort_keys=True)


def decode_edits(text: str) -> Edits:
    """Decode what :func:`encode_edits` returned.

    :raises DecodeError: if it is something else.
    """
    try:
        raw = json.loads(text)
        edits = Edits(
            frozenset(raw.pop("without", ())),
            frozenset((str(kind), int(number)) for kind, number in raw.pop("skip", ())),
            _known(raw.pop("plan", {}), Plan),
            _known(raw.pop("config", {}), RaftConfig),
        )
        if raw or not edits.without <= set(FAULTS):
            raise ValueError(f"unknown: {', '.join([*raw, *edits.without - set(FAULTS)])}")
    except (ValueError, TypeError, AttributeError) as error:
        raise DecodeError(f"not edits of a plan: {error}") from error
    return edits


def _known(values: dict[str, Any], of: type[Plan] | type[RaftConfig]) -> dict[str, Any]:
    names = {f.name for f in fields(of)}
    if unknown := sorted(set(values) - names):
        raise ValueError(f"no field {', '.join(unknown)}; accepted: {', '.join(sorted(names))}")
    return dict(values)
