"""The nodes of a cluster as a client reaches them: over HTTP, the first that can serve a request.

Owns the connections and the retry rule: a request goes to the next node only if it had no effect. A
write without an answer ends in ``OutcomeUnknown`` and is never sent again. Knows no route.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlencode
from weakref import WeakKeyDictionary, WeakSet

import httpx

from braft_core.client.request_encoding import base_url, is_unencrypted
from braft_core.client.response_decoding import error_of, understood
from braft_core.client.trust import Trust, is_address
from braft_core.errors import (
    BraftError,
    ConfigError,
    InvalidRequest,
    NotApplied,
    OutcomeUnknown,
    Stopped,
    TooLarge,
    Unreachable,
)
from braft_core.escaping import shown

__all__ = ["Call", "Nodes", "Take", "may_go_on"]

T = TypeVar("T")
#: Extracts the result from a node's response.
Take = Callable[[httpx.Response], T]

#: Servers refuse longer timeouts.
_MAX_WAIT = 60.0
#: Longest time to connect, seconds.
_CONNECT = 2.0
#: Seconds the client waits longer than the node, so that the node's own error arrives.
_SLACK = 1.0
#: Servers refuse more bytes of path and query.
_MAX_TARGET = 16 << 10
#: Each watch has a connection.
_UNLIMITED = httpx.Limits(max_connections=None, max_keepalive_connections=0)
#: The clients of event loops.
_Clients = WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient]
#: Errors after which a request was surely not sent.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, to whichever node can serve it."""

    method: str
    path: str
    take: Take[T]
    #: Whether it may change something, so that it must not be sent twice.
    write: bool
    params: Mapping[str, str | bytes] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    #: Seconds for each node to answer; ``None``: the client's timeout.
    timeout: float | None = None
    #: Whether the node is to be told this timeout: it waits for the cluster.
    waits: bool = True


class _Watch(Protocol):
    """What reads an answer that goes on."""

    def interrupt(self) -> None:
        """*Any thread.* Wake the thread or task that reads."""


class Nodes:
    """The nodes that a client was given, with the connections to them. Thread-safe.

    Coroutines may run on any event loop; each loop has its own connections.
    """

    def __init__(
        self,
        urls: Sequence[str],
        token: str | None,
        timeout: float,
        trust: Trust,
        *,
        insecure: bool,
    ) -> None:
        """Check the arguments; see :class:`braft_core.client.Client`."""
        if not urls:
            raise ConfigError("no URL of a node was given; accepted: http://host:port")
        if not _is_positive(timeout):
            raise ConfigError(f"timeout is {shown(timeout)}; accepted: seconds, more than 0")
        self.urls = [base_url(url) for url in urls]
        for url in self.urls if token and not insecure else ():
            if is_unencrypted(url):
                raise ConfigError(
                    f"URL is {url}: the token would be sent unencrypted; accepted: "
                    "https://host:port, a URL of this machine, or "
                    "BRAFT_INSECURE=on (insecure=True) if the network is trusted",
                    url=url,
                )
        self.timeout = min(timeout, _MAX_WAIT)
        secure = any(url.startswith("https:") for url in self.urls)
        self._options: dict[str, Any] = {
            # Proxies and netrc of the environment are not meant for the nodes of a cluster.
            "trust_env": False,
            # Without https nothing is verified; loading the CAs would take 0.1 s.
            "verify": trust.context() if secure else False,
            "headers": {b"Authorization": f"Bearer {token}".encode()} if token else {},
        }
        self._server_name = trust.server_name
        expect = partial(_expect, trust.server_name)
        self.http = httpx.Client(
            **self._options, event_hooks={"request": [expect]}, timeout=self._limits(None)
        )
        self._lock = threading.Lock()
        self._closed = False
        self._async: _Clients = WeakKeyDictionary()
        # Streams hold their connections, so they must not take those of requests.
        self._streams: httpx.Client | None = None
        self._async_streams: _Clients = WeakKeyDictionary()
        self._watches: WeakSet[_Watch] = WeakSet()

    def close(self) -> None:
        """Close the connections of threads. Idempotent."""
        self._closed = True
        with self._lock:
            watches = list(self._watches)
            streams, self._streams = self._streams, None
        for watch in watches:
            watch.interrupt()
        self.http.close()
        if streams is not None:
            streams.close()

    async def aclose(self) -> None:
        """Close the connections of threads, and those of the running loop. Idempotent."""
        self.close()
        with self._lock:
            loop = asyncio.get_running_loop()
            mine = [each.pop(loop, None) for each in (self._async, self._async_streams)]
        for client in mine:
            if client is not None:
                await client.aclose()

    def send(self, call: Call[T]) -> T:
        """Send a request and return its result.

        :raises Unreachable: no node answered.
        :raises NotApplied: no node could serve it; it had no effect.
        :raises OutcomeUnknown: a write was sent and no answer came.
        :raises BraftError: what the cluster returned.
        """
        target, limits = self._prepared(call)
        attempts = self._attempts(call)
        try:
            base = next(attempts)
            while True:
                try:
                    answer = self.http.request(
                        call.method,
                        base + target,
                        headers=call.headers,
                        content=call.content,
                        timeout=limits,
                    )
                except httpx.RequestError as error:
                    base = attempts.throw(error)
                except RuntimeError as error:
                    if not self._closed:
                        raise
                    raise _closed_meanwhile(call) from error
                else:
                    base = attempts.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result

    async def asend(self, call: Call[T]) -> T:
        """Call :meth:`send` asynchronously. Cancelling does not take a write back."""
        target, limits = self._prepared(call)
        http = self._async_http()
        attempts = self._attempts(call)
        try:
            base = next(attempts)
            while True:
                try:
                    answer = await http.request(
                        call.method,
                        base + target,
                        headers=call.headers,
                        content=call.content,
                        timeout=limits,
                    )
                except httpx.RequestError as error:
                    base = attempts.throw(error)
                except RuntimeError as error:
                    if not self._closed:
                        raise
                    raise _closed_meanwhile(call) from error
                else:
                    base = attempts.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result

    def _attempts(self, call: Call[T]) -> Generator[str, httpx.Response, T]:
        """Yield the URL to ask next; is given the response, or the error of the HTTP library."""
        refusal: BraftError | None = None
        silent: list[str] = []
        sent = False
        for base in list(self.urls):
            try:
                answer = yield base
            except _NOT_SENT as error:
                silent.append(f"{base} ({str(error) or type(error).__name__})")
                continue
            except httpx.RequestError as error:
                reason = f"{base} ({type(error).__name__}: {error})"
                if call.write:
                    raise OutcomeUnknown(f"sent to {reason}, and no answer came") from error
                silent.append(reason)
                sent = True
                continue
            found = error_of(answer, write=call.write)
            if found is None:
                return understood(answer, call.take, write=call.write)
            if not may_go_on(found, write=call.write):
                raise found
            refusal = found
        if refusal is not None:
            raise refusal
        raise Unreachable(f"nobody answered: {', '.join(silent)}", sent=sent)

    def _prepared(self, call: Call[Any]) -> tuple[str, httpx.Timeout]:
        if self._closed:
            raise Stopped("the client is closed")
        if call.timeout is not None and not _is_positive(call.timeout):
            raise InvalidRequest(f"timeout is {shown(call.timeout)}; accepted: seconds, above 0")
        params = dict(call.params)
        if call.waits:
            params.setdefault("timeout", f"{self._wait(call.timeout):g}")
        target = f"{call.path}?{urlencode(params)}" if params else call.path
        if len(target) > _MAX_TARGET:
            raise TooLarge(
                f"path and query of the request have {len(target)} bytes; accepted: "
                f"{_MAX_TARGET}. Use shorter keys, or send long ones in a transaction",
                size=len(target),
                limit=_MAX_TARGET,
            )
        return target, self._limits(call.timeout)

    def _wait(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else min(timeout, _MAX_WAIT)

    def _limits(self, timeout: float | None) -> httpx.Timeout:
        wait = self._wait(timeout)
        return httpx.Timeout(wait + _SLACK, connect=min(wait, _CONNECT))

    def add_watch(self, watch: _Watch) -> None:
        """Interrupt a watch when the client is closed."""
        with self._lock:
            self._watches.add(watch)

    def open_stream(self, base: str, call: Call[Any], silence: float) -> httpx.Response:
        """Send a request to one node; return an answer whose body, if it is a success, is not read.

        :param silence: seconds after which the node is to send something.
        :raises httpx.RequestError: there is no answer.
        :raises Stopped: the client is closed.
        """
        target, limits = self._stream_limits(call, silence)
        with self._lock:
            http = self._streams
            if http is None:
                expect = partial(_expect, self._server_name)
                options = self._options | {"limits": _UNLIMITED}
                http = httpx.Client(**options, event_hooks={"request": [expect]})
                self._streams = http
        request = http.build_request("GET", base + target, headers=call.headers, timeout=limits)
        try:
            answer = http.send(request, stream=True)
            if not answer.is_success:
                answer.read()
        except RuntimeError as error:
            if not self._closed:
                raise
            raise _closed_meanwhile(call) from error
        return answer

    async def aopen_stream(self, base: str, call: Call[Any], silence: float) -> httpx.Response:
        """Call :meth:`open_stream` asynchronously."""
        target, limits = self._stream_limits(call, silence)
        http = self._of_loop(self._async_streams, limits=_UNLIMITED)
        request = http.build_request("GET", base + target, headers=call.headers, timeout=limits)
        try:
            answer = await http.send(request, stream=True)
            if not answer.is_success:
                await answer.aread()
        except RuntimeError as error:
            if not self._closed:
                raise
            raise _closed_meanwhile(call) from error
        return answer

    def _stream_limits(self, call: Call[Any], silence: float) -> tuple[str, httpx.Timeout]:
        target, limits = self._prepared(call)
        return target, httpx.Timeout(
            self._wait(call.timeout) + silence + _SLACK, connect=limits.connect
        )

    def _async_http(self) -> httpx.AsyncClient:
        """Return the client of the running loop."""
        return self._of_loop(self._async)

    def _of_loop(self, clients: _Clients, **options: Any) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        with self._lock:
            found = clients.get(loop)
            if found is None:
                expect = partial(_aexpect, self._server_name)
                options = self._options | options | {"event_hooks": {"request": [expect]}}
                found = clients[loop] = httpx.AsyncClient(**options)
        return found


def _closed_meanwhile(call: Call[Any]) -> BraftError:
    message = "the client was closed during the request"
    return OutcomeUnknown(message) if call.write else Stopped(message)


def may_go_on(error: BraftError, *, write: bool) -> bool:
    """Return whether the next node may be asked after this answer."""
    if isinstance(error, OutcomeUnknown):
        return not write
    return isinstance(error, NotApplied) and error.safe_to_retry


def _is_positive(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and number > 0


def _expect(server_name: str | None, request: httpx.Request) -> None:
    """Check the certificate against ``server_name`` where the URL has an address."""
    if server_name and is_address(request.url.host):
        request.extensions = {**request.extensions, "sni_hostname": server_name}


async def _aexpect(server_name: str | None, request: httpx.Request) -> None:
    _expect(server_name, request)
