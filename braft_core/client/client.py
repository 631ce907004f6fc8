"""Requests to a cluster through whichever of its nodes answers.

Owns the choice of the node and the rule of repetition: a request goes to the next node only if it
surely had no effect. A write that may have arrived and got no answer ends in ``OutcomeUnknown``
and is never sent again.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import httpx

from braft_core.client.download import download
from braft_core.client.request_encoding import (
    base_url,
    body_of,
    in_clear,
    json_body_of,
    kv_path,
    segment,
)
from braft_core.client.response_decoding import NOT_FOUND, error_of, facts, understood
from braft_core.client.trust import Trust, is_address
from braft_core.errors import BraftError, ConfigError, NotApplied, OutcomeUnknown, Unreachable
from braft_core.escaping import shown
from braft_core.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Page

__all__ = ["Client", "KVEntry"]

T = TypeVar("T")
#: Finds in a node's answer what was asked for.
Take = Callable[[httpx.Response], T]

#: The server refuses longer waits.
_MAX_WAIT = 60.0
#: How much longer than the node the client waits, so that the node's own account arrives.
_SLACK = 1.0
#: Seconds that :meth:`Client.status` lets a node wait for its silent peers.
_STATUS_WAIT = 1.0


class KVEntry(NamedTuple):
    """A value and the revision at which it was written."""

    value: Any
    revision: int


class Client:
    """A cluster seen from outside. May be used from several threads; close it, or use ``with``.

    Every method raises :class:`~braft_core.errors.Unreachable` if no node answered,
    :class:`~braft_core.errors.NotApplied` if those that did could not serve the request,
    :class:`~braft_core.errors.OutcomeUnknown` if a write was sent and its fate is not known, and
    otherwise what the cluster itself raised.
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
        """:param urls: the nodes, as ``https://host:port``, ``http://host:port`` or ``host:port``,
            which is without TLS.
        :param token: the bearer token, if the cluster wants one.
        :param timeout: seconds for one node to answer.
        :param trust: whose certificates are accepted over HTTPS; default: the system's CAs.
        :param insecure: send the token also in clear to other machines.
        :raises ConfigError: naming the URL, timeout or file that is wrong, or the URL to which the
            token would go in clear.
        """
        if not urls:
            raise ConfigError("no URL of a node was given; accepted: http://host:port")
        if not _is_positive(timeout):
            raise ConfigError(f"timeout is {shown(timeout)}; accepted: seconds, more than 0")
        self._urls = [base_url(url) for url in urls]
        for url in self._urls if token and not insecure else ():
            if in_clear(url):
                raise ConfigError(
                    f"URL is {url}: the token would be sent there in clear, for everybody on the "
                    "way to read; accepted: https://host:port, a URL of this machine, or "
                    "BRAFT_INSECURE=on (insecure=True) if the network is trusted",
                    url=url,
                )
        self._timeout = min(timeout, _MAX_WAIT)
        self._wait = f"{self._timeout:g}"
        trust = trust or Trust()
        secure = any(url.startswith("https:") for url in self._urls)
        # The environment's proxies and netrc are for the internet, not for a cluster's nodes.
        self._http = httpx.Client(
            trust_env=False,
            # Certificates are always checked; loading the authorities takes 0.1 s, so only if used.
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
        """End all connections. Idempotent."""
        self._http.close()

    # Keys and values -------------------------------------------------------------------------

    def kv_entry(
        self, map_name: str, key: str, consistency: str = "linearizable"
    ) -> KVEntry | None:
        """Value and revision, ``None`` if there is no such key."""
        try:
            return self._read(kv_path(map_name, key), _entry, {"consistency": consistency})
        except BraftError as error:
            if error.data.get("problem") == NOT_FOUND:
                return None
            raise

    def kv_get(self, map_name: str, key: str, consistency: str = "linearizable") -> Any:
        """The value, ``None`` if there is none."""
        entry = self.kv_entry(map_name, key, consistency)
        return entry.value if entry is not None else None

    def kv_put(self, map_name: str, key: str, value: Any, if_revision: int | None = None) -> int:
        """Store a value and return its revision.

        :param value: ``bytes``, or anything that JSON has a form for, ``None`` included.
        :param if_revision: the revision the key must have now; 0: it must not exist.
        :raises Conflict: it has another one.
        :raises InvalidRequest: the value has no form in JSON; nothing was sent.
        """
        headers = {}
        if if_revision is not None:
            name, tag = ("If-Match", f'"{if_revision}"') if if_revision else ("If-None-Match", "*")
            headers[name] = tag
        path = kv_path(map_name, key)
        headers["Content-Type"], content = body_of(value)
        return self._write("PUT", path, _revision, headers=headers, content=content)

    def kv_delete(self, map_name: str, key: str) -> bool:
        """Delete a key; whether there was one."""
        path = kv_path(map_name, key)
        return self._write("DELETE", path, lambda answer: bool(facts(answer)["deleted"]))

    def kv_page(
        self,
        map_name: str,
        after: str = "",
        limit: int = DEFAULT_PAGE_SIZE,
        consistency: str = "linearizable",
    ) -> Page:
        """At most ``limit`` keys of a map behind ``after``, in order, with their values.

        A page of large values has fewer; ``next`` says whether there are more.
        """
        params = {"consistency": consistency, **_place(after, limit)}
        return self._read(kv_path(map_name), _page, params)

    def kv_list(self, map_name: str, consistency: str = "linearizable") -> dict[str, Any]:
        """All keys and values of a map, in the order of the keys.

        Read in as few pages as possible, each as it is at its own time: what changes meanwhile in
        a map of several pages may be in it or not.
        """
        page = self.kv_page(map_name, "", MAX_PAGE_SIZE, consistency)
        items = page.items
        while page.next is not None:
            page = self.kv_page(map_name, page.next, MAX_PAGE_SIZE, consistency)
            items |= page.items
        return items

    def kv_maps(self) -> list[str]:
        """The names of all maps, in order."""
        names: list[str] = []
        after: str | None = ""
        while after is not None:
            found, after = self._read("/v1/kv", _maps, _place(after, MAX_PAGE_SIZE))
            names += found
        return names

    # The cluster -----------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The JSON of ``GET /raft``."""
        wait = min(self._timeout, _STATUS_WAIT)
        return self._read("/raft", facts, {"timeout": f"{wait:g}"})

    def ready(self) -> tuple[bool, str]:
        """Whether the first node that answers is ready, and if not, why."""
        try:
            self._read("/readyz", facts, waits=False)
        except NotApplied as error:
            return False, error.message
        return True, ""

    def members(self) -> list[dict[str, Any]]:
        """The configuration: ``id``, ``address``, ``suffrage``, ``leader`` of each member."""
        return self._read("/v1/members", _members, waits=False)

    def add_member(self, server_id: str, address: str, voter: bool = True) -> list[dict[str, Any]]:
        """Add a server; the members after it."""
        body = {"id": server_id, "address": address, "voter": voter}
        return self._post("/v1/members", _members, body)

    def remove_member(self, server_id: str) -> list[dict[str, Any]]:
        """Remove a server; the members after it."""
        return self._write("DELETE", f"/v1/members/{segment('server id', server_id)}", _members)

    def promote_member(self, server_id: str) -> list[dict[str, Any]]:
        """Make a nonvoter a voter; the members after it."""
        return self._write(
            "POST", f"/v1/members/{segment('server id', server_id)}/promote", _members
        )

    def leader(self) -> dict[str, str]:
        """``id`` and ``address`` of the leader."""
        return self._read("/v1/leader", facts, waits=False)

    def transfer_leadership(self, to: str = "") -> dict[str, str]:
        """Hand leadership over, to ``to`` if given; ``id`` and ``address`` of the new leader."""
        return self._post("/v1/leader", facts, {"to": to})

    # Snapshots -------------------------------------------------------------------------------

    def snapshots(self) -> list[dict[str, Any]]:
        """Those of the node that answers, newest first: ``id``, ``index``, ``term``, ``size``."""
        return self._read(
            "/v1/snapshots", lambda answer: list(facts(answer)["snapshots"]), waits=False
        )

    def take_snapshot(self) -> dict[str, Any]:
        """Let the node that answers take a snapshot now; its row."""
        return self._write("POST", "/v1/snapshots", facts)

    def download_snapshot(
        self,
        snapshot_id: str,
        path: str | Path,
        progress: Callable[[int], object] = lambda size: None,
        *,
        overwrite: bool = False,
    ) -> dict[str, Any]:
        """Save a snapshot as a file, which is there whole and verified or not at all.

        Only this user may read it.

        The nodes are asked in turn until one has it: an id means something on one node alone.

        :param path: where to; it must not exist.
        :param progress: told the bytes received so far, now and then.
        :param overwrite: whether a file at ``path`` is replaced in the end.
        :returns: ``id``, ``index``, ``term``, ``size``, ``bytes`` (of the file), ``members``,
            ``clusterName``, ``clusterID``.
        :raises StorageCorrupt: what arrived is damaged.
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

    # How a request finds its node ------------------------------------------------------------

    def _read(
        self,
        path: str,
        take: Take[T],
        params: Mapping[str, str] | None = None,
        *,
        waits: bool = True,
    ) -> T:
        """Send a ``GET``; ``waits``: the node waits for the cluster, for as long as we say."""
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


def _expect(server_name: str, request: httpx.Request) -> None:
    """Let the certificate be checked for that name rather than for an address."""
    if server_name and is_address(request.url.host):
        request.extensions = {**request.extensions, "sni_hostname": server_name}


def _entry(answer: httpx.Response) -> KVEntry:
    is_json = answer.headers.get("Content-Type", "").startswith("application/json")
    value = answer.json() if is_json else answer.content
    # A proxy that compresses makes the tag a weak one (RFC 9110, section 8.8.1).
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
    """Where the next page begins: ``None`` after the last one, or if the node knows no pages."""
    after = found.get("next")
    return after if after is None else str(after)


def _members(answer: httpx.Response) -> list[dict[str, Any]]:
    return list(facts(answer)["members"])
