"""Between HTTP and plain values: parameters and bodies in, JSON out.

Owns the checks on what comes from outside, so that a request is refused here, by name, rather
than fail deep inside. Knows nothing of any resource.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import falcon
from falcon.asgi import Request, Response

from braft_core import jsonpieces, jsontext
from braft_core.errors import TooLarge
from braft_core.http.problems import BadInput
from braft_core.pages import MAX_PAGE, PAGE
from braft_core.weight import is_light

__all__ = [
    "HARD_BODY_LIMIT",
    "MAX_BODY_BYTES",
    "MAX_TIMEOUT_SECONDS",
    "beside",
    "body_too_large",
    "body_value",
    "json_body",
    "page_params",
    "parse_json",
    "parsed_json",
    "read_body",
    "seconds_param",
    "send_json",
    "text_param",
    "timeout_param",
]

_T = TypeVar("_T")

#: Larger request bodies are refused unread.
MAX_BODY_BYTES = 8 << 20
#: Above what resources accept, so that they, not the server, word the usual refusal. Bytes of a
#: body as it comes, with what a chunked encoding adds.
HARD_BODY_LIMIT = MAX_BODY_BYTES + (1 << 20)
MAX_TIMEOUT_SECONDS = 60.0
#: A JSON text of so many bytes is parsed on the event loop: it takes well under a millisecond.
QUICK = 16 << 10
#: Most values within a JSON body: each takes a byte of a command at least, and to make objects of
#: more would only keep the processor from others.
MAX_PARTS = 1_500_000


def text_param(req: Request, *names: str, default: str = "") -> str:
    """The first of these query parameters that is there and not empty."""
    for name in names:
        value = req.get_param(name)
        if value:
            return str(value)
    return default


def timeout_param(req: Request) -> float | None:
    """``?timeout=`` in seconds; ``None`` leaves it to the node's setting."""
    return seconds_param(req, "timeout")


def seconds_param(req: Request, name: str) -> float | None:
    """A query parameter in seconds; ``None`` if it is not there."""
    text = req.get_param(name)
    if text is None:
        return None
    accepted = f"seconds, more than 0 and at most {MAX_TIMEOUT_SECONDS:g}"
    try:
        seconds = float(text)
    except ValueError:
        raise BadInput(f"query parameter {name}", text, accepted) from None
    if not 0 < seconds <= MAX_TIMEOUT_SECONDS:
        raise BadInput(f"query parameter {name}", text, accepted)
    return seconds


def page_params(req: Request) -> tuple[str, int]:
    """``?after=`` and ``?limit=``: behind which key a page begins, and how many keys it has."""
    text = req.get_param("limit")
    if text is None:
        return text_param(req, "after"), PAGE
    # Digits alone: int() takes signs, spaces and underscores, and refuses digits by the thousand.
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= MAX_PAGE):
        raise BadInput("query parameter limit", text, f"a number from 1 to {MAX_PAGE}")
    return text_param(req, "after"), int(text)


async def read_body(req: Request) -> bytes:
    """The whole body.

    :raises TooLarge: it is longer than :data:`MAX_BODY_BYTES`; nothing beyond that was read.
    """
    announced = req.content_length or 0
    if announced > MAX_BODY_BYTES:
        raise body_too_large(announced)
    body = bytes(await req.stream.read(MAX_BODY_BYTES + 1))
    if len(body) > MAX_BODY_BYTES:
        raise body_too_large(len(body))
    return body


async def json_body(req: Request) -> Any:
    """The body, parsed as JSON."""
    return await parsed_json(await read_body(req))


async def body_value(req: Request) -> Any:
    """The body as a value to store: JSON if it says so, text if it says so, else bytes."""
    body = await read_body(req)
    media_type = (req.content_type or "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        return await parsed_json(body)
    if media_type == "text/plain":
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise BadInput("request body", body, f"UTF-8 text ({error.reason})") from None
    return body


async def parsed_json(body: bytes) -> Any:
    """What :func:`parse_json` returns. A large text is parsed beside the event loop."""
    if len(body) <= QUICK:
        return parse_json(body)
    return await beside(parse_json, body)


async def beside(work: Callable[..., _T], *args: Any) -> _T:
    """Run what may take long, or wait for a disk, in a thread beside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(None, work, *args)


def parse_json(body: bytes) -> Any:
    """Strict JSON (no NaN) of values that any serializer can carry."""
    # Each comma and each bracket is a value, or in a text, where it takes a byte as well.
    parts = max(body.count(b",") + 1, body.count(b"[") + body.count(b"{"))
    if parts > MAX_PARTS:
        raise TooLarge(
            f"the request body has {parts} values, accepted are at most {MAX_PARTS}",
            parts=parts,
            limit=MAX_PARTS,
        )
    try:
        return jsontext.loads(body)
    except ValueError as error:
        raise BadInput("request body", body, f"JSON ({error})") from None


async def send_json(resp: Response, value: Any, status: int = 200) -> None:
    """Answer with ``value`` as JSON (``null`` too, which Falcon's ``media`` would leave out).

    What is large is written beside the event loop, in pieces that other threads come between.
    """
    resp.status = status
    resp.content_type = falcon.MEDIA_JSON
    if is_light(value):
        resp.data = jsontext.encode(value)
    else:
        resp.data = await beside(jsonpieces.encode, value)


def body_too_large(size: int) -> TooLarge:
    """Return the refusal of a body of so many bytes."""
    return TooLarge(
        f"the request body has {size} bytes, accepted are at most {MAX_BODY_BYTES}",
        size=size,
        limit=MAX_BODY_BYTES,
    )
