"""The client of a cluster: sends each request to the first node that can serve it.

Owns the choice of the node and the retry rule: a request goes to the next node only if it
had no effect. A write without an answer ends in ``OutcomeUnknown`` and is never sent again.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import httpx

from braft_core.client.download import SavedSnapshot, download
from braft_core.client.request_encoding import (
    base_url,
    body_of,
    is_unencrypted,
    json_body_of,
    kv_path,
    segment,
)
from braft_core.client.response_decoding import (
    NOT_FOUND,
    error_of,
    facts,
    leader_in,
    members_in,
    snapshot_in,
    snapshots_in,
    understood,
)
from braft_core.client.trust import Trust, is_address
from braft_core.cluster_types import Consistency, Leader, Member, Readiness, SnapshotInfo
from braft_core.errors import (
    BraftError,
    ConfigError,
    NoLeader,
    NotApplied,
    OutcomeUnknown,
    Unreachable,
)
from braft_core.escaping import shown
from braft_core.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Page

__all__ = ["Client", "KVEntry"]

T = TypeVar("T")
#: Extracts the result from a node's response.
Take = Callable[[httpx.Response], T]

#: Servers refuse longer timeouts.
_MAX_WAIT = 60.0
#: Seconds the client waits longer than the node, so that the node's own error arrives.
_SLACK = 1.0
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
        if not urls:
            raise ConfigError("no URL of a node was given; accepted: http://host:port")
        if not _is_positive(timeout):
            raise ConfigError(f"timeout is {shown(timeout)}; accepted: seconds, more than 0")
        self._urls = [base_url(url) for url in urls]
        for url in self._urls if token and not insecure else ():
            if is_unencrypted(url):
                raise ConfigError(
                    f"URL is {url}: the token would be sent unencrypted; accepted: "
                    "https://host:port, a URL of this machine, or "
                    "BRAFT_INSECURE=on (insecure=True) if the network is trusted",
                    url=url,
                )
        self._timeout = min(timeout, _MAX_WAIT)
        self._wait = f"{self._timeout:g}"
        trust = trust or Trust()
        secure = any(url.startswith("https:") for url in self._urls)
        # Proxies and netrc of the environment are not meant for the nodes of a cluster.
        self._http = httpx.Client(
            trust_env=False,
            # Without https nothing is verified; loading the CAs would take 0.1 s.
            verify=trust.context() if secure else False,
            event_hooks={"request": [partial(_expect, trust.server_name)]},
            headers={b"Authorization": f"Bearer {token}".encode()} if token else {},
            timeout=httpx.Timeout(self._timeout + _SLACK, connect=min(self._timeout, 2.0)),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._http.close()

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
        wait = min(self._timeout, _STATUS_WAIT)
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
        for base in list(self._urls):
            try:
                return download(self._http, base + where, Path(path), progress, overwrite)
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

    # Choosing the node ------------------------------------------------------------

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
        given = dict(params or {})
        if waits:
            given.setdefault("timeout", self._wait)
        return self._request("GET", path, take, write=False, params=given)

    def _post(self, path: str, take: Take[T], body: dict[str, Any]) -> T:
        headers = {"Content-Type": "application/json"}
        return self._write("POST", path, take, headers=headers, content=json_body_of(body))

    def _write(self, method: str, path: str, take: Take[T], **options: Any) -> T:
        params = {"timeout": self._wait}
        return self._request(method, path, take, write=True, params=params, **options)

    def _request(
        self,
        method: str,
        path: str,
        take: Take[T],
        *,
        write: bool,
        params: dict[str, str],
        **options: Any,
    ) -> T:
        refusal: NotApplied | None = None
        silent: list[str] = []
        sent = False
        for base in list(self._urls):
            try:
                answer = self._http.request(method, base + path, params=params, **options)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                silent.append(f"{base} ({str(error) or type(error).__name__})")
                continue
            except httpx.RequestError as error:
                reason = f"{base} ({type(error).__name__}: {error})"
                if write:
                    raise OutcomeUnknown(f"sent to {reason}, and no answer came") from error
                silent.append(reason)
                sent = True
                continue
            error_found = error_of(answer, write=write)
            if error_found is None:
                return understood(answer, take, write=write)
            if not (isinstance(error_found, NotApplied) and error_found.safe_to_retry):
                raise error_found
            refusal = error_found
        if refusal is not None:
            raise refusal
        raise Unreachable(f"nobody answered: {', '.join(silent)}", sent=sent)


def _is_positive(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and number > 0


def _expect(server_name: str | None, request: httpx.Request) -> None:
    """Check the certificate against ``server_name`` where the URL has an address."""
    if server_name and is_address(request.url.host):
        request.extensions = {**request.extensions, "sni_hostname": server_name}


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
