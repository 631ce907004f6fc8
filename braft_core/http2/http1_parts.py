"""The syntax of HTTP/1.1 requests (RFC 9112): heads, and bodies in chunks.

Strict where two readers could differ, since a proxy in front of the server is another reader: no
bare line ends, no folded fields, no two lengths.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from braft_core.http2.calls import Metadata

__all__ = ["ChunkedBody", "Refused", "RequestHead", "parse_head"]

_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!-~\x80-\xff]+) HTTP/1\.([01])")
_OTHER_VERSION: Final = re.compile(rb"\S+ \S+ HTTP/[0-9]\.[0-9]")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t -~\x80-\xff]*)")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(;[\t -~\x80-\xff]*)?")
_ABSOLUTE: Final = re.compile(r"https?://[^/?#]+", re.IGNORECASE)
#: Octets of the line before a chunk.
_MAX_CHUNK_LINE: Final = 256


class Refused(Exception):
    """A request that is answered with an error, after which the connection is closed.

    Status 0 stands for no answer: what arrived is not HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class RequestHead:
    """The head of a request."""

    method: str
    path: str
    query: str
    headers: Metadata
    #: The length of the body; None: it comes in chunks.
    length: int | None
    keep_alive: bool
    #: Whether the client waits for a word before it sends the body.
    expects_continue: bool
    #: False for HTTP/1.0, which knows no chunks.
    chunks: bool


def parse_head(head: bytes, max_fields: int) -> RequestHead:
    """Return what a head says; ``head`` is without the empty line.

    Raises:
        Refused: it is malformed, or asks for what this server does not do.
    """
    first, *lines = head.split(b"\r\n")
    found = _LINE.fullmatch(first)
    if found is None:
        if _OTHER_VERSION.fullmatch(first):
            raise Refused(505, "the server speaks HTTP/1.1 and HTTP/2")
        raise Refused(400 if b" HTTP/" in first else 0, "malformed request line")
    if len(lines) > max_fields:
        raise Refused(431, f"more than {max_fields} header fields")
    headers = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Refused(400, "malformed header field")
        headers.append((field[1].lower(), field[2].rstrip(b" \t")))
    newer = found[3] == b"1"
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (newer and not hosts):
        raise Refused(400, "a request has exactly one Host")
    target = _ABSOLUTE.sub("", found[2].decode("latin-1"), count=1) or "/"
    if target[:1] not in ("/", "?", "*"):
        raise Refused(400, "malformed request target")
    path, _, query = target.partition("?")
    options = _tokens(headers, b"connection")
    expects = _tokens(headers, b"expect")
    if expects - {b"100-continue"}:
        raise Refused(417, "the server knows no expectation but 100-continue")
    return RequestHead(
        method=found[1].decode("latin-1"),
        path=path or "/",
        query=query,
        headers=tuple(headers),
        length=_length(headers, newer=newer),
        keep_alive=b"close" not in options and (newer or b"keep-alive" in options),
        expects_continue=newer and bool(expects),
        chunks=newer,
    )


def _tokens(headers: list[tuple[bytes, bytes]], wanted: bytes) -> set[bytes]:
    """Return the lower-case members of a field that is a list."""
    values = [value for name, value in headers if name == wanted]
    return {token.strip().lower() for value in values for token in value.split(b",")} - {b""}


def _length(headers: list[tuple[bytes, bytes]], *, newer: bool) -> int | None:
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    lengths = [value for name, value in headers if name == b"content-length"]
    if codings:
        if lengths or not newer:
            raise Refused(400, "Transfer-Encoding with Content-Length or HTTP/1.0")
        if codings != [b"chunked"]:
            raise Refused(501, "the only transfer coding is chunked")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Refused(400, "malformed Content-Length")
    return int(lengths[0])


class ChunkedBody:
    """Reads a body that comes in chunks.

    Args:
        max_size: Octets of the body; more are refused.
        max_trailers: Octets of the fields behind it, which are ignored.
    """

    def __init__(self, max_size: int, max_trailers: int) -> None:
        self.body = bytearray()
        #: True once the end was read.
        self.complete = False
        self._max_size = max_size
        self._max_trailers = max_trailers
        #: What is left of a chunk and the line end behind it; None: a line is next.
        self._left: int | None = None
        self._in_trailers = False

    def feed(self, buffer: bytearray) -> None:
        """Remove from ``buffer`` what belongs to the body, as far as it arrived.

        Raises:
            Refused: it is malformed or too large.
        """
        while not self.complete:
            if self._left is not None:
                if not self._chunk(buffer):
                    return
                continue
            limit = self._max_trailers if self._in_trailers else _MAX_CHUNK_LINE
            end = buffer.find(b"\r\n", 0, limit + 2)
            if end < 0:
                if len(buffer) > limit:
                    raise Refused(400, "the line of a chunk is too long")
                return
            line = bytes(memoryview(buffer)[:end])
            del buffer[: end + 2]
            if self._in_trailers:
                self._trailer(line)
            else:
                self._begin(line)

    def _begin(self, line: bytes) -> None:
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise Refused(400, "malformed chunk")
        size = int(found[1], 16)
        if len(self.body) + size > self._max_size:
            raise Refused(413, f"the body is larger than {self._max_size} bytes")
        if size:
            self._left = size + 2
        else:
            self._in_trailers = True

    def _chunk(self, buffer: bytearray) -> bool:
        """Take a part of a chunk; return True at its end."""
        left = self._left or 0
        data = min(len(buffer), left - 2) if left > 2 else 0
        self.body += memoryview(buffer)[:data]
        del buffer[:data]
        self._left = left = left - data
        if left > 2 or len(buffer) < 2:
            return False
        if buffer[:2] != b"\r\n":
            raise Refused(400, "a chunk does not end where it should")
        del buffer[:2]
        self._left = None
        return True

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.complete = True
            return
        self._max_trailers -= len(line) + 2
        if self._max_trailers < 0 or not _FIELD.fullmatch(line):
            raise Refused(400, "malformed or too many trailer fields")
