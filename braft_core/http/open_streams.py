"""The answers of a server that go on until somebody ends them, and how many there may be."""

from __future__ import annotations

import threading
from typing import Final, Protocol

from braft_core.errors import Busy, Stopped

__all__ = ["DEFAULT_STREAMS", "OpenStreams"]

#: Most streams of an application without a server of ours.
DEFAULT_STREAMS: Final = 64


class Stream(Protocol):
    """An answer that goes on."""

    def end(self) -> None:
        """End it soon. Any thread."""


class OpenStreams:
    """The streams of one server. Thread-safe."""

    def __init__(self, limit: int = DEFAULT_STREAMS) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._streams: set[Stream] = set()
        self._is_ended = False

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: Stream) -> None:
        """Note a stream that begins.

        :raises Busy: there are too many.
        :raises Stopped: the server is about to stop.
        """
        with self._lock:
            if self._is_ended:
                raise Stopped("this node is stopping")
            if len(self._streams) >= self._limit:
                raise Busy(
                    f"this node serves {self._limit} watches over HTTP, and accepts no more",
                    limit=self._limit,
                )
            self._streams.add(stream)

    def remove(self, stream: Stream) -> None:
        """Note the end of a stream. Idempotent."""
        with self._lock:
            self._streams.discard(stream)

    def end_all(self) -> None:
        """End all streams, and accept no more."""
        with self._lock:
            self._is_ended = True
            streams = list(self._streams)
        for stream in streams:
            stream.end()
