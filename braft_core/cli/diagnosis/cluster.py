"""What is wrong with a cluster, from the JSON of ``GET /raft``. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from braft_core.cli.diagnosis.finding import Finding, fail, ok, warn
from braft_core.raft.types import Suffrage

__all__ = ["examine"]

#: Entries behind the leader from which on a member is late.
LATE = 10_000
#: Seconds.
SLOW_WRITE = 0.25
SKEWED = 1.0

#: What to do about a message of a node.
SENTENCES = 'read "Why is there no leader" in: braft docs operations'

#: Where a subject of notes has a section of its own.
SECTIONS = {"state": 'read "The members\' states differ" in: braft docs operations'}

View = Mapping[str, Any]


def examine(view: View) -> list[Finding]:
    """Return all findings, the most important first."""
    nodes: Sequence[View] = view["nodes"]
    return [
        _readiness(view),
        *_quorum(view, nodes),
        _removal(view),
        *_notes(nodes),
        _versions(nodes),
        _clocks(nodes),
        *_lags(view, nodes),
        *_disks(nodes),
    ]


def _readiness(view: View) -> Finding:
    waiting = str(view.get("waiting", ""))
    if waiting:
        return fail("service", waiting, SENTENCES)
    return ok("service", f"requests are served; {view['leaderAddr']} leads")


def _quorum(view: View, nodes: Sequence[View]) -> list[Finding]:
    voters = [s for s in view["raftServers"] if s["suffrage"] == int(Suffrage.VOTER)]
    if not voters:
        return []
    silent = {node["serverID"]: str(node.get("error", "")) for node in nodes if not node["pid"]}
    missing = [server for server in voters if server["id"] in silent]
    here, quorum = len(voters) - len(missing), len(voters) // 2 + 1
    named = "; ".join(f"{s['address']}: {silent[s['id']]}" for s in missing)
    state = f"{here} of {len(voters)} voters answer"
    if missing:
        state += f" (not: {named})"
    if here < quorum:
        return [fail("majority", f"{state}, and {quorum} are needed", "start the missing ones")]
    if len(voters) == 1:
        return [warn("majority", "one voter alone: nothing may fail", "add two nodes")]
    spare = here - quorum
    if not spare:
        what = "start the missing ones" if missing else "add a node: an odd number tolerates more"
        return [warn("majority", f"{state}; no further failure is tolerated", what)]
    found = [ok("majority", f"{state}; {spare} more may fail")]
    if len(voters) % 2 == 0:
        text = f"{len(voters)} voters tolerate no more failures than {len(voters) - 1}"
        found.append(warn("majority", text, "add a node, or remove one"))
    if missing:
        found.append(warn("members", f"not answering: {named}", "start them, or remove them"))
    return found


def _removal(view: View) -> Finding:
    autopilot = view.get("autopilot") or {}
    reason = str(autopilot.get("reason", "not reported"))
    if autopilot.get("verdict") in (None, "healthy", "follows", "off"):
        return ok("autopilot", reason)
    return warn("autopilot", reason)


def _notes(nodes: Sequence[View]) -> list[Finding]:
    """Report the notes of the nodes: rival clusters, copied directories, tokens."""
    return [
        fail(subject, f"{node['address']} says: {sentence}", SECTIONS.get(subject, SENTENCES))
        for node in nodes
        for subject, sentence in (node.get("notes") or {}).items()
    ]


def _versions(nodes: Sequence[View]) -> Finding:
    versions = sorted({str(node.get("braftVersion", "")) for node in nodes} - {""})
    if len(versions) > 1:
        text = f"several versions run: {', '.join(versions)}"
        return warn("versions", text, "finish the upgrade")
    return ok("versions", f"all that answer run {versions[0] if versions else 'nothing'}")


def _clocks(nodes: Sequence[View]) -> Finding:
    """Compare wall clocks. Only the age of sessions depends on them, and people who read logs."""
    skewed = [
        f"{node['address']} by {node['clockSkew']:+.1f} s"
        for node in nodes
        if abs(node.get("clockSkew", 0.0)) > SKEWED
    ]
    if skewed:
        return warn("clocks", f"wall clocks differ: {', '.join(skewed)}", "set up NTP")
    return ok("clocks", f"wall clocks agree within {SKEWED:g} s")


def _behind(leading: View, node: View) -> int:
    """Return how many entries a node lacks; 0 if its version does not report it."""
    return int(leading.get("commitIndex", 0)) - int(node.get("appliedIndex", 0))


def _lags(view: View, nodes: Sequence[View]) -> list[Finding]:
    leading = next((n for n in nodes if n["serverID"] == view["leaderID"] and n["pid"]), None)
    if leading is None:
        return []
    late = [
        f"{node['address']} is {behind:,} entries behind"
        for node in nodes
        if node["pid"] and (behind := _behind(leading, node)) > LATE
    ]
    if late:
        return [warn("replication", "; ".join(late), "wait; if it grows, look at that machine")]
    return [ok("replication", "all members that answer are close to the leader")]


def _disks(nodes: Sequence[View]) -> list[Finding]:
    slow = [
        f"{node['address']} took {node['lastWriteSeconds'] * 1000:.0f} ms"
        for node in nodes
        if node.get("lastWriteSeconds", 0.0) > SLOW_WRITE
    ]
    if slow:
        text = f"the last durable write was slow: {', '.join(slow)}"
        return [warn("disks", text, "look at the disks: every write waits for a majority of them")]
    return [ok("disks", f"no durable write took more than {SLOW_WRITE * 1000:.0f} ms lately")]
