"""Parses server-sent events. Pure.

Of the WHATWG's format it takes what nodes send: lines that end with a line feed, with or without a
carriage return before it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["MAX_EVENT_BYTES", "EventStreamParser", "ServerEvent"]

#: Most bytes of one event: a revision's largest record with the one that it replaced, in base64.
MAX_EVENT_BYTES: Final = 64 << 20


class ServerEvent(NamedTuple):
    """One event of a stream."""

    #: The id in this event, "" if it has none.
    id: str
    #: "" for none.
    type: str
    data: str


class EventStreamParser:
    """Turns the bytes of one answer into events. What comes after the last whole one is lost."""

    def __init__(self) -> None:
        self._unfinished = bytearray()
        #: Where to look for the end of the line.
        self._looked = 0
        self._fields: dict[str, str] = {}
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the events that are complete with these bytes.

        :raises ValueError: this is not such a stream, or an event is too large.
        """
        found: list[ServerEvent] = []
        buffer = self._unfinished
        buffer += data
        begin = 0
        while (end := buffer.find(b"\n", max(begin, self._looked))) >= 0:
            line = bytes(buffer[begin:end])
            begin = end + 1
            self._take(line.removesuffix(b"\r").decode(), found)
        self._looked = len(buffer) - begin
        del buffer[:begin]
        if self._size + len(buffer) > MAX_EVENT_BYTES:
            raise ValueError(f"an event has more than {MAX_EVENT_BYTES} bytes")
        return found

    def _take(self, line: str, found: list[ServerEvent]) -> None:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            self._size += len(line)
            if name == "data":
                self._data.append(value)
            elif name in ("id", "event"):
                self._fields[name] = value
            return
        if self._fields or self._data:
            fields = self._fields
            data = "\n".join(self._data)
            found.append(ServerEvent(fields.get("id", ""), fields.get("event", ""), data))
        self._fields, self._data, self._size = {}, [], 0
