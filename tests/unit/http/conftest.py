"""A fake node: NodeAPI over dictionaries and a real store, with switches for failures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar, TypeVar

import falcon.testing
import pytest
from pydantic import BaseModel, SecretStr

from braft_core.abc import CommandContext, Leader, Member, SnapshotBackup, SnapshotInfo
from braft_core.compat.go_braft.routes import legacy_routes
from braft_core.errors import (
    Conflict,
    NotReady,
    Rejected,
    Stopped,
    StorageError,
    TooStale,
    UnknownCommand,
)
from braft_core.http import HTTPServer, make_app
from braft_core.raft.types import Configuration, Server, SnapshotMeta
from braft_core.runtime.requests import Query, settle
from braft_core.runtime.watch_hub import WatchHub
from braft_core.services.store import StoreService
from braft_core.storage.snapshot_file import encode_file

Options = TypeVar("Options", bound=BaseModel)

CONFIGURATION = Configuration((Server("server-1", "127.0.0.1:15000"),))


class FakeApplier:
    """Lets the watches of a fake node read its store."""

    fault = ""

    def __init__(self, store: StoreService) -> None:
        self.store = store
        # The hub reads in its thread.
        self.lock = threading.Lock()
        self.report: Callable[[], None] = lambda: None

    def call_when_applied(self, callback: Callable[[], None]) -> None:
        self.report = callback

    def read(self, index: int, queries: list[Query]) -> None:
        for query in queries:
            try:
                with self.lock:
                    answer: Any = self.store.query(query.name, query.args)
            except Rejected as error:
                answer = error
            settle([(query, answer)])

    def apply(self, command: str, args: Any) -> Any:
        with self.lock:
            answer = self.store.apply(command, args, CommandContext(1, 1, 1))
            self.report()
        return answer


class FakeNode:
    """Applies commands at once. ``fails`` is raised by every request to the cluster."""

    def __init__(self, token: str | None = None) -> None:
        self.settings = SimpleNamespace(
            token=SecretStr(token) if token else None,
            host="",
            http_hosts=(),
            http_server="uvicorn",
        )
        self.server_id = "server-1"
        self.is_leader = True
        self.leader: Leader | None = Leader("server-1", "127.0.0.1:15000")
        self.readiness = (True, "")
        self.trouble: dict[str, str] = {}
        self.fails: BaseException | None = None
        self.maps: dict[str, dict[str, tuple[Any, int]]] = {}
        self.revision = 0
        self.store_service = StoreService()
        self.applier = FakeApplier(self.store_service)
        #: Its thread starts with the first watch; :meth:`close` ends it.
        self.hub = WatchHub(self.applier, [self.store_service], "fake-node-changes")
        self.store = SimpleNamespace(watchers=self.hub)
        self.items: dict[str, Any] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.before_answer: Callable[[], None] = lambda: None
        #: Requests wait until it is set, as they do for a commit without a quorum.
        self.held: threading.Event | None = None
        self.waiting = 0
        self.snapshot_files: dict[str, tuple[SnapshotMeta, Iterable[bytes]]] = {}
        self.rows: list[dict[str, Any]] = [
            {"id": "server-1", "address": "127.0.0.1:15000", "suffrage": "Voter", "leader": True},
            {"id": "server-2", "address": "127.0.0.1:16000", "suffrage": "Voter", "leader": False},
        ]

    def close(self) -> None:
        """End its watches and their thread."""
        self.hub.stop(Stopped("the node was stopped"))
        self.hub.close_thread(60)

    def plugin_options(self, model: type[Options]) -> Options:
        return model()

    def ready(self) -> tuple[bool, str]:
        return self.readiness

    def notes(self) -> dict[str, str]:
        return self.trouble

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        self._asked("execute", service, command, *args, timeout)
        if service == "store":
            return self.applier.apply(command, args)
        return getattr(self, f"_{service}_{command}", self._unknown)(*args)

    #: Staleness of reads, seconds.
    staleness = 1.5
    #: The leader's decision about dead members.
    autopilot: ClassVar[dict[str, Any]] = {}

    def query(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: str = "linearizable",
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        self._asked("query", service, query, *args, consistency, timeout)
        if max_staleness is not None and max_staleness < self.staleness:
            raise TooStale("the state of this node is too old", staleness=self.staleness)
        if service == "store":
            return self.store_service.query(query, args)
        return getattr(self, f"_{service}_{query}", self._unknown)(*args)

    async def before_await(self) -> None:
        if self.held is None:
            return
        self.waiting += 1
        await asyncio.to_thread(self.held.wait, 60)
        self.waiting -= 1

    async def aexecute(self, *args: Any, **kwargs: Any) -> Any:
        await self.before_await()
        return self.execute(*args, **kwargs)

    async def aquery(self, *args: Any, **kwargs: Any) -> Any:
        await self.before_await()
        return self.query(*args, **kwargs)

    async def acluster_view(self, timeout: float | None = None) -> dict[str, Any]:
        return self.cluster_view(timeout)

    async def aadd_member(self, *args: Any, **kwargs: Any) -> None:
        self.add_member(*args, **kwargs)

    async def aremove_member(self, *args: Any, **kwargs: Any) -> None:
        self.remove_member(*args, **kwargs)

    async def apromote_member(self, *args: Any, **kwargs: Any) -> None:
        self.promote_member(*args, **kwargs)

    async def atransfer_leadership(self, *args: Any, **kwargs: Any) -> str:
        return self.transfer_leadership(*args, **kwargs)

    async def atake_snapshot(self, timeout: float | None = None) -> SnapshotInfo:
        return self.take_snapshot(timeout)

    async def asnapshots(self) -> list[SnapshotInfo]:
        return self.snapshots()

    async def aopen_snapshot(self, snapshot_id: str) -> SnapshotBackup:
        return self.open_snapshot(snapshot_id)

    async def aready(self) -> tuple[bool, str]:
        return await asyncio.to_thread(self.ready)

    def _asked(self, *call: Any) -> None:
        self.calls.append(call)
        self.before_answer()
        if self.fails is not None:
            raise self.fails

    def _unknown(self, *args: Any) -> Any:
        raise UnknownCommand("no such command")

    def _kv_put(self, name: str, key: str, value: Any) -> int:
        self.revision += 1
        self.maps.setdefault(name, {})[key] = (value, self.revision)
        return self.revision

    def _kv_put_if(self, name: str, key: str, value: Any, expected: int) -> int:
        self._expect(name, key, expected)
        return self._kv_put(name, key, value)

    def _kv_delete(self, name: str, key: str) -> bool:
        found = self.maps.get(name, {}).pop(key, None) is not None
        if not self.maps.get(name):
            self.maps.pop(name, None)
        return found

    def _kv_delete_if(self, name: str, key: str, expected: int) -> bool:
        self._expect(name, key, expected)
        return self._kv_delete(name, key)

    def _expect(self, name: str, key: str, expected: int) -> None:
        present = self.maps.get(name, {}).get(key, (None, 0))[1]
        if present != expected:
            raise Conflict(f"expected revision {expected}, is {present}", revision=present)

    def _kv_get(self, name: str, key: str) -> list[Any] | None:
        found = self.maps.get(name, {}).get(key)
        return list(found) if found else None

    def _kv_page(self, name: str, after: str, limit: int) -> dict[str, Any]:
        if name not in self.maps and not after:
            raise Rejected(f"there is no map {name!r}", map=name)
        slots = self.maps.get(name, {})
        keys = sorted(key for key in slots if key > after)
        items = {key: slots[key][0] for key in keys[:limit]}
        return {"items": items, "next": keys[limit - 1] if len(keys) > limit else None}

    def _kv_maps_page(self, after: str, limit: int) -> dict[str, Any]:
        names = sorted(name for name in self.maps if name > after)
        return {"maps": names[:limit], "next": names[limit - 1] if len(names) > limit else None}

    def _distribute_distribute(self, items: Any) -> dict[str, str]:
        self.items = items if isinstance(items, dict) else dict.fromkeys(items)
        return self._distribute_assignment()

    def _distribute_assignment(self) -> dict[str, str]:
        ids = [str(row["id"]) for row in self.rows]
        return {item: ids[n % len(ids)] for n, item in enumerate(self.items)}

    def _distribute_items_of(self, node_id: str) -> dict[str, Any]:
        assignment = self._distribute_assignment()
        return {item: data for item, data in self.items.items() if assignment[item] == node_id}

    def details(self) -> dict[str, Any]:
        return {
            "serverID": self.server_id,
            "address": "127.0.0.1:15000",
            "raftState": "Leader",
            "raftID": {"id": "ksuid", "hostname": "höst", "ip": "127.0.0.1", "sqid": "sq"},
        }

    def cluster_view(self, timeout: float | None = None) -> dict[str, Any]:
        self._asked("cluster_view", timeout)
        return {
            "currentLeader": True,
            "discovery": "static://",
            "leaderAddr": self.leader.address if self.leader else "",
            "leaderID": self.leader.id if self.leader else "",
            "memberList": [],
            "nodeNum": 1,
            "nodes": [self.details()],
            "raftServers": [],
            "autopilot": self.autopilot,
        }

    def members(self) -> list[Member]:
        if not self.rows:
            raise NotReady("not ready: no cluster yet")
        return [Member(**row) for row in self.rows]

    def add_member(
        self, server_id: str, address: str, voter: bool = True, timeout: float | None = None
    ) -> None:
        self._asked("add_member", server_id, address, voter, timeout)
        suffrage = "Voter" if voter else "Nonvoter"
        self.rows.append(
            {"id": server_id, "address": address, "suffrage": suffrage, "leader": False}
        )

    def remove_member(self, server_id: str, timeout: float | None = None) -> None:
        self._asked("remove_member", server_id, timeout)
        self._member(server_id)
        self.rows = [row for row in self.rows if row["id"] != server_id]

    def promote_member(self, server_id: str, timeout: float | None = None) -> None:
        self._asked("promote_member", server_id, timeout)
        self._member(server_id)
        for row in self.rows:
            if row["id"] == server_id:
                row["suffrage"] = "Voter"

    def _member(self, server_id: str) -> None:
        if not any(row["id"] == server_id for row in self.rows):
            raise Rejected(f"{server_id!r} is not a member", server=server_id, member=False)

    def transfer_leadership(self, to: str | None = None, timeout: float | None = None) -> str:
        self._asked("transfer_leadership", to, timeout)
        row = next((r for r in self.rows if r["id"] == (to or "server-2")), None)
        if row is None:
            raise Rejected(f"no member {to}")
        self.leader = Leader(str(row["id"]), str(row["address"]))
        return self.leader.id

    def take_snapshot(self, timeout: float | None = None) -> SnapshotInfo:
        self._asked("take_snapshot", timeout)
        number = len(self.snapshot_files) + 1
        meta = SnapshotMeta(f"snap-{number}", 10 * number, 3, CONFIGURATION, 1)
        contents = [bytes([number]) * 300_000] * 2
        self.snapshot_files[meta.id] = (meta._replace(size=600_000), contents)
        return self.snapshots()[0]

    def snapshots(self) -> list[SnapshotInfo]:
        metas = [meta for meta, _ in reversed(self.snapshot_files.values())]
        return [SnapshotInfo(m.id, m.index, m.term, m.size, ("server-1",)) for m in metas]

    def open_snapshot(self, snapshot_id: str) -> SnapshotBackup:
        self._asked("open_snapshot", snapshot_id)
        if snapshot_id not in self.snapshot_files:
            raise StorageError(f"this node has no snapshot {snapshot_id!r}")
        meta, contents = self.snapshot_files[snapshot_id]
        info = next(held for held in self.snapshots() if held.id == snapshot_id)
        return SnapshotBackup(info, "braft", "cluster-1", encode_file(meta, iter(contents)))

    def on_leader_change(self, callback: Callable[[str, int], None]) -> Callable[[], None]:
        return lambda: None


class Caller(falcon.testing.TestClient):
    """A test client whose requests have ``Host: localhost``."""

    def simulate_request(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("host", "localhost")
        return super().simulate_request(*args, **kwargs)


def client(node: FakeNode, extend: Any = None) -> Caller:
    api: Any = node  # it has only what HTTP uses
    return Caller(make_app(api, extend, more_routes=legacy_routes(api)))


@pytest.fixture
def node() -> Iterator[FakeNode]:
    made = FakeNode()
    yield made
    made.close()


@pytest.fixture
def guarded() -> FakeNode:
    return FakeNode(token="sesame-sesame-sesame")


@pytest.fixture
def make_client() -> Callable[..., Caller]:
    """Return a function that makes a test client for a node."""
    return client


@pytest.fixture
def web(node: FakeNode) -> falcon.testing.TestClient:
    return client(node)


@pytest.fixture(params=["uvicorn", "waitress"])
def kind(request: pytest.FixtureRequest, node: FakeNode) -> str:
    """Choose the server."""
    node.settings.http_server = request.param
    return str(request.param)


@pytest.fixture
def server(node: FakeNode, kind: str) -> Iterator[HTTPServer]:
    api: Any = node
    running = HTTPServer(api, "127.0.0.1", 0, more_routes=legacy_routes)
    running.start()
    yield running
    running.stop()
