"""``python -m benchmarks.silence``: what blocks a consensus loop, and for how long.

Three durable nodes hold a map of 1,000,000 keys with small lists. Then the leader lists it, over
HTTP and in its own process; takes a snapshot; commits a checkpoint, for which all members digest
their states; runs a full garbage collection; stores and returns a value with as many parts as a
command allows; refuses a request with as many as a body allows; sends its state to a follower that
fell behind, which restores it. Every node samples its own loop (:mod:`benchmarks.lag`). A leader
that is blocked for an election timeout (1 s) is deposed. Target: no new term, and no silence of
more than 0.25 s of CPU time on any node.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from benchmarks.child import Child, ChildFailed
from benchmarks.machine import data_folder
from benchmarks.nodes import BraftNodes
from benchmarks.peers.cluster import wait_until
from benchmarks.study import Study, options
from braft_core.client import Client
from braft_core.errors import BraftError

__all__ = ["Stretch", "main"]

_OUTSTANDING = 1024
_PATIENCE = 600.0
#: Keys per fill request.
_BATCH = 50_000
#: How long a silence may have effects after its cause ended, seconds.
_AFTERMATH = 2.0
_TARGET = 0.25
#: Entries behind the leader after which a follower needs a snapshot.
_SETTINGS = {"snapshot_trailing": 100}
_MAP = "many"
#: The most parts of a value in a command, and of a body in a request.
_PARTS, _TOO_MANY_PARTS = 1_400_000, 2_700_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """An interval in which one thing happened."""

    name: str
    seconds: float
    #: The longest silence of each node's loop, by the clock and by the CPU time of its process,
    #: seconds. The first node is the leader at the beginning.
    silences: list[tuple[float, float]]
    new_terms: int
    #: What failed in it; "" if nothing did.
    failure: str = ""


class _Run:
    def __init__(self, nodes: BraftNodes, keys: int, study: Study) -> None:
        self._nodes = nodes
        self._keys = keys
        self._study = study
        self.stretches: list[Stretch] = []

    def all(self) -> list[Stretch]:
        """Run all intervals in turn."""
        self._stretch("filling", self._fill)
        self._stretch("nothing", lambda leader: time.sleep(3))
        self._stretch("list, HTTP", self._list_http)
        self._stretch("list, Python", lambda leader: leader.ask("list_keys", _PATIENCE))
        self._stretch("snapshot", lambda leader: leader.ask("take_snapshot", _PATIENCE))
        self._stretch("state digests", lambda leader: leader.ask("digest_state", _PATIENCE))
        self._stretch("collection", lambda leader: leader.ask("collect_garbage", _PATIENCE))
        self._stretch("big value", self._big_value)
        self._stretch("body refused", self._big_body)
        self._stretch("restore", self._restore)
        return self.stretches

    def _stretch(self, name: str, action: Callable[[Child], object]) -> None:
        address = self._nodes.wait()
        leader = self._nodes.children[address]
        term = self._term()
        begin, failure = time.monotonic(), ""
        try:
            action(leader)
        except (ChildFailed, BraftError, httpx.HTTPError, TimeoutError) as error:
            failure = f"{type(error).__name__}: {error}"
        end = time.monotonic()
        time.sleep(_AFTERMATH)
        self._nodes.wait()
        others = [child for at, child in self._nodes.children.items() if at != address]
        silences = [
            tuple(child.ask("silence", _PATIENCE, begin=begin, end=end + _AFTERMATH))
            for child in (self._nodes.children[address], *others)
        ]
        found = Stretch(name, end - begin, silences, self._term() - term, failure)
        self.stretches.append(found)
        self._study.say(_line(found))

    def _term(self) -> int:
        children = self._nodes.children.values()
        return max(int(child.ask("progress", _PATIENCE)["term"]) for child in children)

    def _fill(self, leader: Child) -> None:
        for first in range(0, self._keys, _BATCH):
            keys = min(_BATCH, self._keys - first)
            leader.ask("fill_keys", _PATIENCE, first=first, keys=keys, outstanding=_OUTSTANDING)

    def _list_http(self, leader: Child) -> None:
        with Client([leader.ask("url")], timeout=60) as client:
            found = len(client.kv_list(_MAP))
        if found != self._keys:
            raise ChildFailed(f"the list had {found} keys")

    def _big_value(self, leader: Child) -> None:
        url = f"{leader.ask('url')}/v1/kv/big/value?timeout=60"
        body = _body(_PARTS)
        headers = {"Content-Type": "application/json"}
        with httpx.Client(trust_env=False, timeout=90) as http:
            http.put(url, content=body, headers=headers).raise_for_status()
            http.get(url).raise_for_status()

    def _big_body(self, leader: Child) -> None:
        url = f"{leader.ask('url')}/v1/kv/big/other?timeout=60"
        headers = {"Content-Type": "application/json"}
        with httpx.Client(trust_env=False, timeout=90) as http:
            answer = http.put(url, content=_body(_TOO_MANY_PARTS), headers=headers)
        if answer.status_code not in (400, 413):
            raise ChildFailed(f"answered {answer.status_code}: {answer.text[:200]}")

    def _restore(self, leader: Child) -> None:
        children = self._nodes.children
        address = next(at for at, child in children.items() if child is not leader)
        children[address].ask("take_snapshot", _PATIENCE)
        self._nodes.stop_node(address)
        leader.ask("fill_keys", _PATIENCE, first=0, keys=1000, outstanding=64)
        index = leader.ask("take_snapshot", _PATIENCE)["index"]
        receiver = self._nodes.start_node(address)

        def has_it() -> bool | None:
            return receiver.ask("progress", _PATIENCE)["appliedIndex"] >= index or None

        wait_until(has_it, _PATIENCE, "the state")


def _body(parts: int) -> bytes:
    return b"[" + b",".join([b"[]"] * parts) + b"]"


def _both(silence: tuple[float, float]) -> str:
    length, spent = silence
    return f"{1000 * length:.0f} ({1000 * spent:.0f})"


def _line(found: Stretch) -> str:
    silences = ", ".join(map(_both, found.silences))
    trouble = f"; {found.failure}" if found.failure else ""
    return (
        f"{found.name}: {found.seconds:.1f} s, longest silences {silences} ms, "
        f"{found.new_terms} new terms{trouble}"
    )


def _arguments() -> argparse.Namespace:
    parser = options("silence", "How long anything keeps the consensus loop from its work.")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument(
        "--election-timeout", type=float, default=1.0, help="seconds; more on a busy machine"
    )
    parser.add_argument(
        "--target", type=float, default=_TARGET, help="longest accepted silence, seconds"
    )
    args = parser.parse_args()
    if args.quick:
        args.keys = 20_000
    return args


def _measure(folder: Path, args: argparse.Namespace, study: Study) -> list[Stretch]:
    nodes = BraftNodes(folder, _SETTINGS | {"election_timeout": f"{args.election_timeout}s"})
    try:
        nodes.start()
        return _Run(nodes, args.keys, study).all()
    finally:
        nodes.stop()


def main() -> int:
    """Measure, print and save. Exit code 1: there was a new term, or too long a silence."""
    args = _arguments()
    study = Study("silence", args)
    with data_folder(study.output) as folder:
        stretches = _measure(folder, args, study)
    rows = [
        (
            each.name,
            f"{each.seconds:.1f}",
            *map(_both, each.silences),
            str(each.new_terms),
        )
        for each in stretches
    ]
    head = ("", "s", "leader", "follower", "follower", "new terms")
    study.table("Longest silence of the consensus loop, ms (processor time)", head, rows)
    study.save({"stretches": [asdict(each) for each in stretches]})
    longest = max(spent for each in stretches for _, spent in each.silences)
    terms = sum(each.new_terms for each in stretches)
    failures = [each.failure for each in stretches if each.failure]
    for failure in failures:
        study.say(failure)
    return study.verdict(
        terms == 0 and longest <= args.target and not failures,
        f"the longest silence is {1000 * longest:.0f} ms of processor time (target: at most "
        f"{1000 * args.target:.0f}), {terms} new terms (target: none)",
    )


if __name__ == "__main__":
    sys.exit(main())
