"""The client of a cluster: the calls that its nodes serve over HTTP.

:mod:`braft_core.client.nodes` chooses the node and has the retry rule.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import httpx

from braft_core.client.client_store import ClientStore
from braft_core.client.download import SavedSnapshot, download
from braft_core.client.lease_keeper import LeaseKeeper
from braft_core.client.nodes import Call, Nodes, Take
from braft_core.client.remote_store import RemoteStore
from braft_core.client.request_encoding import body_of, json_body_of, kv_path, segment
from braft_core.client.response_decoding import (
    NOT_FOUND,
    facts,
    leader_in,
    members_in,
    snapshot_in,
    snapshots_in,
)
from braft_core.client.trust import Trust
from braft_core.cluster_types import Consistency, Leader, Member, Readiness, SnapshotInfo
from braft_core.errors import BraftError, NoLeader, NotApplied, Unreachable
from braft_core.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Page
from braft_core.runtime import clock
from braft_core.store import Lease

__all__ = ["Client", "KVEntry"]

T = TypeVar("T")

#: Seconds for which :meth:`Client.status` lets a node wait for silent peers.
_STATUS_WAIT = 1.0


class KVEntry(NamedTuple):
    """A value and the revision at which it was written."""

    value: Any
    revision: int


class Client:
    """A client of a cluster. Thread-safe; close it, or use ``with``.

    Every method raises :class:`~braft_core.errors.Unreachable` if no node answered,
    :class:`~braft_core.errors.NotApplied` if no node could serve the request,
    :class:`~braft_core.errors.OutcomeUnknown` if a write was sent and no answer came, and
    otherwise the error that the cluster returned.
    """

    def __init__(
        self,
        urls: Sequence[str],
        token: str | None = None,
        timeout: float = 5.0,
        trust: Trust | None = None,
        *,
        insecure: bool = False,
    ) -> None:
        """Create a client; nothing is sent yet.

        :param urls: the nodes, as ``https://host:port``, ``http://host:port`` or ``host:port``,
            which is plain HTTP.
        :param token: the bearer token, if the cluster requires one.
        :param timeout: seconds for each node to answer.
        :param trust: the certificates that are accepted over HTTPS; default: the system's CAs.
        :param insecure: allow sending the token unencrypted to other machines.
        :raises ConfigError: a URL, the timeout or a file is invalid, or the token would be sent
            unencrypted; names it.
        """
        self._nodes = Nodes(urls, token, timeout, trust or Trust(), insecure=insecure)
        self._remote = RemoteStore(self._nodes)
        self._keeper = LeaseKeeper(self._remote)
        #: The store: the same calls as of ``node.store``, awaitable ones on any event loop.
        self.store = ClientStore(self._remote, self.lease, self._nodes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def close(self) -> None:
        """Give up the leases, and close all connections of threads. Idempotent.

        After awaitable calls use :meth:`aclose` on each event loop that made some.
        """
        self._keeper.close()
        self._nodes.close()

    async def aclose(self) -> None:
        """Call :meth:`close` asynchronously; close the connections of this event loop, too."""
        await asyncio.to_thread(self._keeper.close)
        await self._nodes.aclose()

    # The store -------------------------------------------------------------------------------

    def lease(self, ttl: float = 10.0) -> Lease:
        """Return a lease of the store, for a ``with`` or ``async with`` statement.

        It is renewed while the statement runs. Keys that are put with it go when it ends: with the
        statement, or ``ttl`` seconds after this process or its network died.

        :param ttl: seconds.
        """
        return Lease(self._remote, lambda: self._keeper, clock.monotonic, ttl)

    # Keys and values -------------------------------------------------------------------------

    def kv_entry(
        self, map_name: str, key: str, consistency: Consistency = "linearizable"
    ) -> KVEntry | None:
        """Return value and revision, ``None`` if the key does not exist."""
        try:
            return self._read(kv_path(map_name, key), _entry, {"consistency": consistency})
        except BraftError as error:
            if error.data.get("problem") == NOT_FOUND:
                return None
            raise

    def kv_get(self, map_name: str, key: str, consistency: Consistency = "linearizable") -> Any:
        """Return the value, ``None`` if the key does not exist."""
        entry = self.kv_entry(map_name, key, consistency)
        return entry.value if entry is not None else None

    def kv_put(self, map_name: str, key: str, value: Any, if_revision: int | None = None) -> int:
        """Store a value and return its revision.

        :param value: ``bytes`` or a JSON value, ``None`` included.
        :param if_revision: the revision that the key must have now; 0: it must not exist.
        :raises Conflict: the key has another revision.
        :raises InvalidRequest: the value cannot be encoded as JSON; nothing was sent.
        """
        headers = {}
        if if_revision is not None:
            name, tag = ("If-Match", f'"{if_revision}"') if if_revision else ("If-None-Match", "*")
            headers[name] = tag
        path = kv_path(map_name, key)
        headers["Content-Type"], content = body_of(value)
        return self._write("PUT", path, _revision, headers=headers, content=content)

    def kv_delete(self, map_name: str, key: str) -> bool:
        """Delete a key; return whether it existed."""
        path = kv_path(map_name, key)
        return self._write("DELETE", path, lambda answer: bool(facts(answer)["deleted"]))

    def kv_page(
        self,
        map_name: str,
        after: str = "",
        limit: int = DEFAULT_PAGE_SIZE,
        consistency: Consistency = "linearizable",
    ) -> Page:
        """Return up to ``limit`` keys of a map that sort after ``after``, with their values.

        A page of large values has fewer; ``next`` tells whether there are more.
        """
        params = {"consistency": consistency, **_place(after, limit)}
        return self._read(kv_path(map_name), _page, params)

    def kv_list(self, map_name: str, consistency: Consistency = "linearizable") -> dict[str, Any]:
        """Return all keys and values of a map, in the order of the keys.

        A large map takes several reads, one a page. Changes between them may be missing.
        """
        page = self.kv_page(map_name, "", MAX_PAGE_SIZE, consistency)
        items = page.items
        while page.next is not None:
            page = self.kv_page(map_name, page.next, MAX_PAGE_SIZE, consistency)
            items |= page.items
        return items

    def kv_maps(self) -> list[str]:
        """Return the names of all maps, in order."""
        names: list[str] = []
        after: str | None = ""
        while after is not None:
            found, after = self._read("/v1/kv", _maps, _place(after, MAX_PAGE_SIZE))
            names += found
        return names

    # The cluster -----------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return the JSON of ``GET /raft``."""
        wait = min(self._nodes.timeout, _STATUS_WAIT)
        return self._read("/raft", facts, {"timeout": f"{wait:g}"})

    def ready(self) -> Readiness:
        """Return whether a node can serve requests, and if none can, why."""
        try:
            self._read("/readyz", facts, waits=False)
        except NotApplied as error:
            return Readiness(False, error.message)
        return Readiness(True, "")

    def members(self) -> list[Member]:
        """Return the configuration in use, as the node that answers knows it."""
        return self._read("/v1/members", members_in, waits=False)

    def add_member(self, server_id: str, address: str, voter: bool = True) -> list[Member]:
        """Add a server; return the members after the change."""
        body = {"id": server_id, "address": address, "voter": voter}
        return self._post("/v1/members", members_in, body)

    def remove_member(self, server_id: str) -> list[Member]:
        """Remove a server; return the members after the change."""
        return self._write("DELETE", f"/v1/members/{segment('server id', server_id)}", members_in)

    def promote_member(self, server_id: str) -> list[Member]:
        """Make a nonvoter a voter; return the members after the change."""
        return self._write(
            "POST", f"/v1/members/{segment('server id', server_id)}/promote", members_in
        )

    def leader(self) -> Leader | None:
        """Return the leader, ``None`` if no node that answers knows one."""
        try:
            return self._read("/v1/leader", leader_in, waits=False)
        except NoLeader:
            return None

    def transfer_leadership(self, to: str | None = None) -> Leader:
        """Hand leadership to ``to`` or the most up-to-date voter; return the new leader."""
        return self._post("/v1/leader", leader_in, {"to": to} if to else {})

    # Snapshots -------------------------------------------------------------------------------

    def snapshots(self) -> list[SnapshotInfo]:
        """Return the snapshots of the node that answers, newest first."""
        return self._read("/v1/snapshots", snapshots_in, waits=False)

    def take_snapshot(self) -> SnapshotInfo:
        """Let the node that answers take a snapshot now, and compact its log."""
        return self._write("POST", "/v1/snapshots", snapshot_in)

    def download_snapshot(
        self,
        snapshot_id: str,
        path: str | Path,
        progress: Callable[[int], object] = lambda size: None,
        *,
        overwrite: bool = False,
    ) -> SavedSnapshot:
        """Save a snapshot as a file that only this user may read.

        The file appears once it is complete and verified. The nodes are asked in turn until one has
        the snapshot: an id is valid on one node only.

        :param path: the file to create; it must not exist.
        :param progress: called with the bytes received so far, repeatedly.
        :param overwrite: replace an existing file, once the download is complete.
        :raises StorageCorrupt: the downloaded file is damaged.
        :raises StorageError: the file cannot be written, or exists already.
        """
        where = f"/v1/snapshots/{segment('snapshot id', snapshot_id)}"
        missing: BraftError | None = None
        silent: list[str] = []
        for base in self._nodes.urls:
            try:
                return download(self._nodes.http, base + where, Path(path), progress, overwrite)
            except Unreachable as error:
                silent.append(error.message)
            except NotApplied as error:
                missing = missing or error
            except BraftError as error:
                if error.data.get("problem") != NOT_FOUND:
                    raise
                missing = error
        if missing is not None:
            raise missing
        raise Unreachable(f"nobody answered: {', '.join(silent)}", sent=False)

    # Requests -----------------------------------------------------------------------------------

    def _read(
        self,
        path: str,
        take: Take[T],
        params: Mapping[str, str] | None = None,
        *,
        waits: bool = True,
    ) -> T:
        """Send a ``GET``.

        :param waits: whether the node waits for the cluster, and so takes a timeout.
        """
        call = Call("GET", path, take, write=False, params=params or {}, waits=waits)
        return self._nodes.send(call)

    def _post(self, path: str, take: Take[T], body: dict[str, Any]) -> T:
        headers = {"Content-Type": "application/json"}
        return self._write("POST", path, take, headers=headers, content=json_body_of(body))

    def _write(self, method: str, path: str, take: Take[T], **options: Any) -> T:
        return self._nodes.send(Call(method, path, take, write=True, **options))


def _entry(answer: httpx.Response) -> KVEntry:
    is_json = answer.headers.get("Content-Type", "").startswith("application/json")
    value = answer.json() if is_json else answer.content
    # A compressing proxy turns the tag into a weak one (RFC 9110, section 8.8.1).
    return KVEntry(value, int(answer.headers["ETag"].removeprefix("W/").strip('"')))


def _revision(answer: httpx.Response) -> int:
    return int(facts(answer)["revision"])


def _page(answer: httpx.Response) -> Page:
    found = facts(answer)
    items: dict[str, Any] = found["items"]
    shown = items | {key: base64.b64decode(items[key]) for key in found["base64"]}
    return Page(shown, _next(found))


def _maps(answer: httpx.Response) -> tuple[list[str], str | None]:
    found = facts(answer)
    return list(found["maps"]), _next(found)


def _place(after: str, limit: int) -> dict[str, str]:
    return {"limit": str(limit)} | ({"after": after} if after else {})


def _next(found: Mapping[str, Any]) -> str | None:
    """Return the ``after`` of the next page, ``None`` on the last one."""
    after = found.get("next")
    return after if after is None else str(after)
