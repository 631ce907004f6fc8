"""Bodies of requests and answers: read within limits, parsed as strict JSON, written as JSON.

Refuses bad input here, by name, rather than deep inside. Knows nothing of any resource.
"""

from __future__ import annotations

from typing import Any

import falcon
from falcon.asgi import Request, Response

from braft_core import json_chunks, strict_json
from braft_core.encoding_cost import is_cheap
from braft_core.errors import TooLarge
from braft_core.http.problems import BadInput
from braft_core.http.server_loop import run_in_thread

__all__ = [
    "MAX_BODY_BYTES",
    "SERVER_BODY_LIMIT",
    "body_too_large",
    "body_value",
    "decode_json",
    "json_body",
    "parse_json",
    "read_body",
    "send_json",
]

#: Larger request bodies are refused unread.
MAX_BODY_BYTES = 8 << 20
#: The servers' own limit, chunk headers included. It is higher, so that the usual refusal is the
#: application's problem JSON.
SERVER_BODY_LIMIT = MAX_BODY_BYTES + (1 << 20)
#: JSON of up to this many bytes is parsed on the event loop, which takes far below a millisecond.
_QUICK_BYTES = 16 << 10
#: Most values in a JSON body. Each takes at least a byte of a command; more would only cost time.
_MAX_VALUES = 1_500_000


async def read_body(req: Request) -> bytes:
    """Return the whole body.

    :raises TooLarge: it exceeds :data:`MAX_BODY_BYTES`; nothing beyond that was read.
    """
    announced = req.content_length or 0
    if announced > MAX_BODY_BYTES:
        raise body_too_large(announced)
    body = bytes(await req.stream.read(MAX_BODY_BYTES + 1))
    if len(body) > MAX_BODY_BYTES:
        raise body_too_large(len(body))
    return body


async def json_body(req: Request) -> Any:
    """Return the body, parsed as JSON whatever its media type."""
    return await decode_json(await read_body(req))


async def body_value(req: Request) -> Any:
    """Return the body as a value to store: JSON or text by its media type, else bytes."""
    body = await read_body(req)
    media_type = (req.content_type or "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        return await decode_json(body)
    if media_type == "text/plain":
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise BadInput("request body", body, f"UTF-8 text ({error.reason})") from None
    return body


async def decode_json(body: bytes) -> Any:
    """Parse JSON as :func:`parse_json` does; a large text in a thread."""
    if len(body) <= _QUICK_BYTES:
        return parse_json(body)
    return await run_in_thread(parse_json, body)


def parse_json(body: bytes) -> Any:
    """Parse strict JSON (no NaN) of values that any serializer can carry.

    :raises BadInput: it is not such JSON.
    :raises TooLarge: it has too many values.
    """
    # An upper bound: each comma and each bracket is a value, or a byte of a string.
    values = max(body.count(b",") + 1, body.count(b"[") + body.count(b"{"))
    if values > _MAX_VALUES:
        raise TooLarge(
            f"the request body has {values} values, accepted are at most {_MAX_VALUES}",
            parts=values,
            limit=_MAX_VALUES,
        )
    try:
        return strict_json.loads(body)
    except ValueError as error:
        raise BadInput("request body", body, f"JSON ({error})") from None


async def send_json(resp: Response, value: Any, status: int = 200) -> None:
    """Answer with ``value`` as JSON, ``null`` included, which Falcon's ``media`` leaves out.

    A large value is encoded in a thread, in chunks, so that other threads can run in between.
    """
    resp.status = status
    resp.content_type = falcon.MEDIA_JSON
    if is_cheap(value):
        resp.data = strict_json.encode(value)
    else:
        resp.data = await run_in_thread(json_chunks.encode, value)


def body_too_large(size: int) -> TooLarge:
    """Return the error for a body of ``size`` bytes."""
    return TooLarge(
        f"the request body has {size} bytes, accepted are at most {MAX_BODY_BYTES}",
        size=size,
        limit=MAX_BODY_BYTES,
    )
