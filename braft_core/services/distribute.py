"""``distribute``: items spread over the live nodes, evenly, and moved as little as possible.

The items and the live nodes are replicated; every node computes the same assignment from them with
:func:`spread`. Who is live is not this module's business: the leader proposes ``set_nodes`` when
that changes.

A node follows its own share with :meth:`DistributeService.on_change`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from braft_core.errors import DecodeError, InvalidArgument
from braft_core.serializers.plain import check_plain
from braft_core.serializers.typed_values import detached_copy
from braft_core.services.ordered import in_order
from braft_core.services.service import StateMachineService, command, query

__all__ = ["DistributeService", "spread"]

logger = logging.getLogger(__name__)

#: Called with a node's share, item ids and their payloads.
Callback = Callable[[dict[str, Any]], object]
#: Runs a callback with its argument, elsewhere and later; ``Executor.submit`` is one.
Dispatch = Callable[[Callback, dict[str, Any]], object]


def spread(
    items: Iterable[str], nodes: Iterable[str], previous: Mapping[str, str]
) -> dict[str, str]:
    """Assign every item to a node. Pure; the order of the inputs does not matter.

    Shares differ by at most one. Given that, as few items as possible leave the node that
    ``previous`` (item to node) gave them. Without nodes nothing is assigned.

    This is minimal: a node that holds more than its share must give up the difference in any case,
    so the fewest items move if the nodes that hold most get the larger shares.
    """
    names, targets = in_order(set(items)), sorted(set(nodes))
    if not targets:
        return {}
    held: dict[str, list[str]] = {node: [] for node in targets}
    homeless: list[str] = []
    for item in names:
        held.get(previous.get(item, ""), homeless).append(item)
    share, larger = divmod(len(names), len(targets))
    by_load = sorted(targets, key=lambda node: -len(held[node]))  # stable: ties by name
    room: list[str] = []
    for rank, node in enumerate(by_load):
        keep = share + (rank < larger)
        homeless += held[node][keep:]
        room += [node] * (keep - len(held[node]))
        del held[node][keep:]
    assignment = {item: node for node, kept in held.items() for item in kept}
    assignment.update(zip(in_order(homeless), room, strict=True))
    return {item: assignment[item] for item in names}


class _Listener(NamedTuple):
    node_id: str
    callback: Callback
    dispatch: Dispatch


class DistributeService(StateMachineService):
    """The distribution service. Item and node ids are text that is not empty."""

    name = "distribute"

    def __init__(self) -> None:
        self._items: dict[str, Any] = {}
        self._nodes: list[str] = []
        self._assignment: dict[str, str] = {}
        # Replaced, never changed: other threads call on_change. The lock is for them.
        self._listeners: tuple[_Listener, ...] = ()
        self._listening = threading.Lock()

    @command
    def distribute(self, items: Any) -> dict[str, str]:
        """Replace all items by a list of ids, or a dict of ids and payloads.

        Return the assignment, item to node. A remaining item keeps its node if possible.
        """
        if isinstance(items, list):
            items = dict.fromkeys(_ids("items", items))
        if not isinstance(items, dict):
            raise InvalidArgument(
                f"items are a list of ids or a dict of payloads, not {items!r:.80}"
            )
        _ids("items", list(items))
        _check("items", items)
        self._update(items, self._nodes)
        return dict(self._assignment)

    @command
    def add(self, item: str, payload: Any = None) -> str | None:
        """Add an item, or replace its payload; return the node that has it."""
        _ids("item", [item])
        _check("item", {item: payload})
        self._update({**self._items, item: payload}, self._nodes)
        return self._assignment.get(item)

    @command
    def remove(self, item: str) -> bool:
        """Remove an item; return whether it existed."""
        _ids("item", [item])
        if item not in self._items:
            return False
        self._update({key: self._items[key] for key in self._items if key != item}, self._nodes)
        return True

    @command
    def set_nodes(self, node_ids: Any) -> int:
        """Set the live nodes; return how many items have another node now."""
        if not isinstance(node_ids, list):
            raise InvalidArgument(f"node ids are a list of ids, not {node_ids!r:.80}")
        _check("node_ids", node_ids)
        nodes = sorted(set(_ids("node_ids", node_ids)))
        before = self._assignment
        self._update(self._items, nodes)
        return sum(before.get(item) != node for item, node in self._assignment.items())

    @query
    def assignment(self) -> dict[str, str]:
        """Return the node of each item; empty while there are no nodes."""
        return self._assignment

    @query
    def items_of(self, node_id: str) -> dict[str, Any]:
        """Return the items of one node and their payloads; empty for an unknown node."""
        return self._share(self._assignment, self._items, node_id)

    def on_change(self, node_id: str, callback: Callback, dispatch: Dispatch) -> Callable[[], None]:
        """Call ``callback(share)`` after each command that changes ``node_id``'s share.

        May be called from any thread. The share maps item ids to payloads. The applier thread calls
        ``dispatch(callback, share)``, which must not block: it hands the call to another thread
        (``ThreadPoolExecutor(1).submit`` keeps the order). Listeners are not part of the replicated
        state and cannot change an answer.

        :returns: a function that removes the listener.
        """
        listener = _Listener(node_id, callback, dispatch)
        with self._listening:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._listening:
                self._listeners = tuple(each for each in self._listeners if each is not listener)

        return end

    @property
    def nodes(self) -> list[str]:
        """The live nodes, sorted. Any thread: the list is replaced, never changed."""
        return self._nodes

    @property
    def in_use(self) -> bool:
        """Whether there are items. Any thread."""
        return bool(self._items)

    def dump(self) -> Any:
        """See :meth:`StateMachineService.dump`."""
        return {"items": self._items, "nodes": self._nodes, "assignment": self._assignment}

    def check_snapshot(self, chunks: Iterator[bytes]) -> None:
        """See :meth:`Service.check_snapshot`. :raises DecodeError: it is not one of distribute."""
        DistributeService().restore(chunks)

    def load(self, value: Any) -> None:
        """See :meth:`StateMachineService.load`. :raises DecodeError: it is something else."""
        match value:
            case {"items": dict(items), "nodes": list(nodes), "assignment": dict(assignment)}:
                self._replace(items, nodes, assignment)
            case _:
                raise DecodeError("not a snapshot of distribute")

    def _update(self, items: dict[str, Any], nodes: list[str]) -> None:
        self._replace(items, nodes, spread(items, nodes, self._assignment))

    def _replace(self, items: dict[str, Any], nodes: list[str], assignment: dict[str, str]) -> None:
        old_items, old_assignment = self._items, self._assignment
        self._items, self._nodes, self._assignment = items, nodes, assignment
        for listener in self._listeners:
            share = self._share(assignment, items, listener.node_id)
            if share != self._share(old_assignment, old_items, listener.node_id):
                _notify(listener, share)

    @staticmethod
    def _share(assignment: dict[str, str], items: dict[str, Any], node_id: str) -> dict[str, Any]:
        return {item: items[item] for item, node in assignment.items() if node == node_id}


def _notify(listener: _Listener, share: dict[str, Any]) -> None:
    try:
        listener.dispatch(listener.callback, detached_copy(share))
    except Exception:  # listeners are local: a command must not fail because of one
        logger.exception("could not dispatch the items of node %s to a listener", listener.node_id)


def _ids(what: str, ids: list[Any]) -> list[str]:
    for each in ids:
        if not isinstance(each, str) or not each:
            raise InvalidArgument(f"{what}: an id is text that is not empty, not {each!r:.80}")
    return ids


def _check(what: str, value: Any) -> None:
    try:
        check_plain(value)
    except TypeError as error:
        raise InvalidArgument(f"{what}: {error}") from error
