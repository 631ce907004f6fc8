"""What another node says of itself, made fit for ``GET /raft``: right types, bounded, printable.

Pure. A peer may be of another version or broken; its answer must spoil neither the page nor a
terminal that shows it. What has a wrong type is left out and named in the entry's ``error``; keys
that this version does not know are passed on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from braft_core import strict_json
from braft_core.compat.go_braft.details import silent_node
from braft_core.raft import Server

__all__ = ["MAX_BYTES", "read_details"]

#: Larger answers are not shown. A node of a cluster of 1,000 needs a fifth of it.
MAX_BYTES: Final = 256 << 10
_MAX_TEXT: Final = 2_000
_MAX_DEPTH: Final = strict_json.MAX_DEPTH
_MAX_INT: Final = 2**63 - 1

Check = Callable[[Any], bool]


def read_details(server: Server, data: bytes) -> dict[str, Any]:
    """Return the entry of a member that answered ``data``. Never raises."""
    if len(data) > MAX_BYTES:
        sentence = f"its answer has {len(data)} bytes, accepted are at most {MAX_BYTES}"
        return silent_node(server, sentence)
    try:
        found = strict_json.loads_lenient(data)
    except ValueError as error:
        return silent_node(server, f"its answer is not JSON: {error}")
    if not isinstance(found, dict) or not _no_deeper(found, _MAX_DEPTH):
        return silent_node(server, "its answer is no JSON object of a node's details")
    return _entry(server, found)


def _entry(server: Server, found: dict[str, Any]) -> dict[str, Any]:
    wrong = [key for key, value in found.items() if not _KNOWN.get(key, _anything)(value)]
    usable = {key: value for key, value in found.items() if key not in wrong}
    shape = silent_node(server, "")
    own = str(usable.get("error", ""))
    remarks = [own] if own else []
    if (given := usable.get("serverID", server.id)) != server.id:
        remarks.append(f"it answers as another server, {given!r:.100}")
    if wrong:
        remarks.append(
            f"its answer has a wrong type in {', '.join(map(repr, sorted(wrong)))[:200]}"
        )
    entry = {_printable(key): _cleaned(key, value) for key, value in (shape | usable).items()}
    # By the configuration: who says to be another one must not be shown in its place.
    entry["serverID"] = server.id
    del entry["error"]
    return entry | {"error": _printable("; ".join(remarks))} if remarks else entry


def _cleaned(key: str, value: Any) -> Any:
    # What an application publishes about itself is its own, and no table shows it.
    return value if key == "bizData" else _clean(value)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _printable(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_printable(key): _clean(item) for key, item in value.items()}
    return value


def _printable(text: str) -> str:
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _no_deeper(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_no_deeper(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_no_deeper(item, depth - 1) for item in value)
    return True


# ------------------------------------------------------------------------------------------------
# Types of the keys that somebody counts with


def _anything(_: Any) -> bool:
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_INT


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= _MAX_INT
    return type(value) is float and math.isfinite(value)


def _is_age(value: Any) -> bool:
    return value is None or _is_number(value)


def _are(item: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(item, value))


def _maps_to(item: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(item, value.values()))


def _may_have(fields: Mapping[str, Check]) -> Check:
    """Return a check for an object that has these types where it has these keys."""

    def check(value: Any) -> bool:
        return isinstance(value, dict) and all(
            is_right(value[key]) for key, is_right in fields.items() if key in value
        )

    return check


def _has(fields: Mapping[str, Check]) -> Check:
    """Return a check for an object that has all these keys, with these types."""
    types_fit = _may_have(fields)
    return lambda value: types_fit(value) and fields.keys() <= value.keys()


_TEXTS = "serverID buildTime duration address raftState leader appVersion startTime error"
_TEXTS += " pythonVersion gitCommit clusterID braftVersion"
_COUNTS = "raftLogSum pid rss raftPort discoveryPort httpPort term commitIndex appliedIndex"
_COUNTS += " lastIndex"

_KNOWN: Final[Mapping[str, Check]] = MappingProxyType(
    dict.fromkeys(_TEXTS.split(), _is_text)
    | dict.fromkeys(_COUNTS.split(), _is_count)
    | dict.fromkeys(("pcpu", "lastWriteSeconds", "wallClock", "clockSkew"), _is_number)
    | dict.fromkeys(("discoveryNodes", "addr", "nodeIds"), _are(_is_text))
    | {
        "raftID": _has(dict.fromkeys(("id", "hostname", "ip", "sqid"), _is_text)),
        "notes": _maps_to(_is_text),
        "refused": _maps_to(_is_count),
        "stateDigests": _are(_has({"index": _is_count, "services": _maps_to(_is_text)})),
        "foreign": _are(_has({"address": _is_text, "clusterID": _is_text, "voters": _is_count})),
        "autopilot": _may_have(
            dict.fromkeys(("mode", "verdict", "reason"), _is_text)
            | {
                "silent": _maps_to(_is_age),
                "removed": _are(_has(dict.fromkeys(("id", "address", "reason"), _is_text))),
            }
        ),
    }
)
