"""``/v1/store/watch``: the changes of some keys as server-sent events.

A stream is a watcher of the node and at most one piece of its events, so a caller that reads slowly
costs no more memory the further it is behind. What the caller has seen is the id of the last event
(:mod:`braft_core.store.positions`), so it can go on at any node.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any, Final

from falcon.asgi import Request, Response

from braft_core import strict_json
from braft_core.abc import NodeAPI
from braft_core.errors import BraftError, Stopped, TooStale
from braft_core.http.open_streams import OpenStreams
from braft_core.http.operation import (
    MAX_TIMEOUT_SECONDS,
    TIMEOUT,
    Operation,
    Parameter,
    ResponseSpec,
    documented,
    integer,
    obj,
    text,
)
from braft_core.http.params import bytes_params, choice_param, seconds_param, timeout_param
from braft_core.http.problems import BadInput, error_problem
from braft_core.http.reads import CONSISTENCY
from braft_core.http.request_end import REQUEST_END, RequestEnd
from braft_core.runtime import clock
from braft_core.store.events import Event, Piece, Watcher
from braft_core.store.json_form import change_json
from braft_core.store.keys import as_watched
from braft_core.store.positions import POSITION_PATTERN, Position
from braft_core.store.wake_up import WakeUp
from braft_core.store.watch import check_not_future

__all__ = ["EVENT_STREAM", "WatchResource"]

EVENT_STREAM: Final = "text/event-stream"
#: Bytes of the events that a stream takes at a time.
PIECE: Final = 32 << 10
#: Seconds without an event after which progress is reported, by default and at least.
_PROGRESS: Final = 10.0
_LEAST_PROGRESS: Final = 0.1
#: Milliseconds after which a browser connects again.
_RETRY: Final = b"retry: 1000\n"
_BOUNDS: Final = ("key", "prefix", "start", "end")
_YES_NO: Final = ("false", "true")
_LAST_EVENT_ID: Final = "Last-Event-ID"
_SECONDS: Final = {"type": "number", "maximum": MAX_TIMEOUT_SECONDS}

_WHAT: Final = """events. A change has no event type, and as data \
`{"type", "revision", "entry"}`, with `type` `put` or `delete` and with `previous` if that was \
asked for. Type `progress` with `{"revision"}`: every change up to there was sent. Type `problem` \
with a problem: the stream ends. An id is where to go on"""

#: The schema of one event.
_EVENT: Final = obj(
    {
        "id": text("where to go on", pattern=POSITION_PATTERN),
        "event": text("absent of a change", enum=["progress", "problem"]),
        "data": text("JSON"),
        "retry": integer("milliseconds after which a browser connects again"),
    },
    ("id", "event", "retry"),
)


class WatchResource:
    """The changes of some keys."""

    def __init__(self, node: NodeAPI, streams: OpenStreams) -> None:
        self._node = node
        self._streams = streams

    @documented(
        Operation(
            "The changes of a key, a prefix or a range as they come; of all keys without any.",
            {200: ResponseSpec(_WHAT, {EVENT_STREAM: _EVENT})},
            query=(
                Parameter("key", "the key, percent-encoded bytes", text(minLength=1)),
                Parameter("prefix", "keys that begin with it; not with `key`", text()),
                Parameter("start", "the first key; not with `key` or `prefix`", text()),
                Parameter("end", "the key behind the last one; not with `key` or `prefix`", text()),
                Parameter(
                    "since",
                    "show what came after this revision, or after the event with this id; without "
                    "it what comes from now on",
                    text(pattern=POSITION_PATTERN),
                ),
                Parameter("previous", "show what was replaced", text(enum=list(_YES_NO))),
                Parameter(
                    "progress",
                    f"seconds without a change after which progress is sent; without it "
                    f"{_PROGRESS:g}",
                    _SECONDS | {"minimum": _LEAST_PROGRESS},
                ),
                Parameter(
                    "consistency",
                    "of the read of the newest revision, if `since` is absent or ahead of this "
                    "node; `stale`: this node's own",
                    text(enum=list(CONSISTENCY), default=CONSISTENCY[0]),
                ),
                Parameter(
                    "max_staleness",
                    "seconds: end the stream if the state of this node may be older",
                    _SECONDS | {"exclusiveMinimum": 0},
                ),
                TIMEOUT,
            ),
            headers=(
                Parameter(
                    _LAST_EVENT_ID,
                    "the id of the last event that was seen; it counts instead of `since`",
                    text(pattern=POSITION_PATTERN),
                ),
            ),
            problems={
                410: "the history is compacted past `since`: read the keys and watch again",
                422: "there is no such revision yet",
                503: "too many watches, or the state may be older than `max_staleness`",
            },
        )
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the events; nothing is sent before it is certain that they can be."""
        given = bytes_params(req)
        span = as_watched(*(given.get(name) for name in _BOUNDS))
        since = _since(req)
        full = choice_param(req, "previous", _YES_NO) == "true"
        progress = seconds_param(req, "progress") or _PROGRESS
        if progress < _LEAST_PROGRESS:
            accepted = f"seconds from {_LEAST_PROGRESS:g} to {MAX_TIMEOUT_SECONDS:g}"
            raise BadInput("query parameter progress", progress, accepted)
        staleness = seconds_param(req, "max_staleness") or inf
        since = await self._begin(req, since)
        resp.content_type = EVENT_STREAM
        # Some proxies wait for more of an answer before they pass it on.
        resp.set_header("X-Accel-Buffering", "no")
        if req.method == "HEAD":
            return
        stream = _EventStream(self._node, since, full, progress, staleness, req.path)
        end: RequestEnd = req.scope[REQUEST_END]
        self._streams.add(stream)
        end.call(lambda: self._streams.remove(stream))
        end.call(stream.release)
        await stream.open(span, end, timeout_param(req))
        resp.stream = stream

    async def _begin(self, req: Request, since: Position) -> Position:
        """Return where the stream begins. :raises FutureRevision: there is no such revision."""
        consistency: Any = choice_param(req, "consistency", CONSISTENCY)
        timeout = timeout_param(req)
        watchers = self._node.store.watchers
        if since.revision and since.revision <= watchers.applied_revision:
            return since
        # This node may lag behind. The read waits until it does not.
        count = await self._node.aquery(
            "store", "count", b"\0", consistency=consistency, timeout=timeout
        )
        check_not_future(since.revision, count[0])
        return since if since.revision else Position(count[0])


class _EventStream:
    """The body of one answer. For the event loop, but for :meth:`end`."""

    def __init__(
        self,
        node: NodeAPI,
        since: Position,
        full: bool,
        progress: float,
        max_staleness: float,
        path: str,
    ) -> None:
        self._node = node
        #: What was sent, or was seen before.
        self._sent = since
        self._encode = _change_with_previous if full else _change
        self._progress = progress
        self._max_staleness = max_staleness
        self._path = path
        self._wake = WakeUp()
        self._watcher: Watcher | None = None
        self._client: asyncio.Task[None] | None = None
        #: What was encoded and not sent yet.
        self._held = b""
        self._sent_at = 0.0
        self._is_ending = self._is_ended = False

    async def open(self, span: tuple[bytes, bytes], end: RequestEnd, timeout: float | None) -> None:
        """Begin, once it is known that the history from there on is here.

        :raises Compacted: it is not.
        :raises BraftError: this node cannot serve it.
        """
        since = self._sent
        begin = since.revision + since.is_whole
        self._check_staleness()
        self._watcher = self._node.store.watchers.watch(*span, begin, wake=self._wake.call)
        self._client = asyncio.get_running_loop().create_task(self._wait_for_client(end))
        hello = _RETRY + _progress(since)
        deadline = clock.monotonic() + (timeout or MAX_TIMEOUT_SECONDS)
        while not (self._is_ended or self._is_ending):
            piece = self._watcher.take(PIECE)
            self._held = self._shown(piece)
            left = deadline - clock.monotonic()
            if piece is not None or self._watcher.is_current or left <= 0:
                break
            await self._wake.await_call(min(left, self._progress))
        self._held = hello + self._held
        self._sent_at = clock.monotonic()

    async def _wait_for_client(self, end: RequestEnd) -> None:
        await end.disconnected()
        self._is_ended = True
        self._wake.call()

    def end(self) -> None:
        """*Any thread.* End the stream: the server stops."""
        self._is_ending = True
        self._wake.call()

    def release(self) -> None:
        """Leave nothing behind. Idempotent."""
        self._is_ended = True
        if self._client is not None:
            self._client.cancel()
        if self._watcher is not None:
            self._watcher.close()

    def __aiter__(self) -> _EventStream:
        return self

    async def __anext__(self) -> bytes:
        # A caller that reads fast must not keep others from being served.
        await asyncio.sleep(0)
        held, self._held = self._held, b""
        if held:
            return held
        while not self._is_ended:
            try:
                chunk, wait = self._next()
            except BraftError as error:
                self._is_ended = True
                return _problem(error, self._path)
            if chunk:
                self._sent_at = clock.monotonic()
                return chunk
            if wait is None:
                await asyncio.sleep(0)
            else:
                await self._wake.await_call(wait)
        raise StopAsyncIteration

    def _next(self) -> tuple[bytes, float | None]:
        """Return what is to be sent now, and how long to wait if that is nothing.

        Without a time there may be more to take at once.
        """
        if self._is_ending or self._watcher is None:
            raise Stopped("this node is stopping")
        piece = self._watcher.take(PIECE)
        chunk = self._shown(piece)
        left = self._sent_at + self._progress - clock.monotonic()
        if not chunk and left <= 0:
            self._check_staleness()
            self._sent = max(self._sent, Position(self._watcher.revision))
            chunk = _progress(self._sent)
        return chunk, None if piece is not None else left

    def _shown(self, piece: Piece | None) -> bytes:
        """Return events that were taken as they are sent.

        The id of the last event of a revision is the revision. Where it is not known that no event
        follows, progress says so later.
        """
        events: list[Event] = [] if piece is None else piece.events
        if events and events[0].place <= self._sent:
            # It begins within a revision, whose first events were seen before.
            events = [event for event in events if event.place > self._sent]
        complete = piece.revision if piece is not None else self._revision
        parts: list[bytes] = []
        last = len(events) - 1
        for number, event in enumerate(events):
            revision, sub = event.place
            follower = events[number + 1].revision if number < last else complete + 1
            self._sent = Position(revision) if follower > revision else Position(revision, sub)
            parts += (b"id: ", self._sent.text.encode(), b"\n", event.encoded_by(self._encode))
        if not self._sent.is_whole and complete >= self._sent.revision:
            self._sent = Position(complete)
            parts.append(_progress(self._sent))
        return b"".join(parts)

    @property
    def _revision(self) -> int:
        return 0 if self._watcher is None else self._watcher.revision

    def _check_staleness(self) -> None:
        if self._max_staleness < inf and (staleness := self._node.staleness) > self._max_staleness:
            raise TooStale(
                f"the state of this node may be {staleness:.1f} s old, more than "
                f"{self._max_staleness:g} s",
                staleness=staleness if staleness < inf else None,
                limit=self._max_staleness,
            )


def _since(req: Request) -> Position:
    """Return where the caller goes on, revision 0: from now on."""
    if last := req.get_header(_LAST_EVENT_ID):
        return Position.of(f"header {_LAST_EVENT_ID}", last)
    given = req.get_param("since")
    return Position.of("query parameter since", given) if given else Position(0)


def _change(event: Event) -> bytes:
    return _data(change_json(event.record, event.previous, False))


def _change_with_previous(event: Event) -> bytes:
    return _data(change_json(event.record, event.previous, True))


def _progress(position: Position) -> bytes:
    head = f"id: {position.text}\nevent: progress\n".encode()
    return head + _data({"revision": position.complete})


def _problem(error: BraftError, path: str) -> bytes:
    return b"event: problem\ndata: " + error_problem(error, path)[1] + b"\n\n"


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + strict_json.encode(value) + b"\n\n"
