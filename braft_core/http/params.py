"""Query parameters: parsed and checked, so that a bad one is a 400 that names it and its value.

Knows nothing of any resource.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from falcon.asgi import Request

from braft_core.http.operation import MAX_TIMEOUT_SECONDS
from braft_core.http.problems import BadInput
from braft_core.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE

__all__ = [
    "bytes_params",
    "choice_param",
    "integer_param",
    "page_params",
    "seconds_param",
    "text_param",
    "timeout_param",
]


def text_param(req: Request, *names: str, default: str = "") -> str:
    """Return the first of these query parameters that is present and not empty."""
    for name in names:
        value = req.get_param(name)
        if value:
            return str(value)
    return default


def timeout_param(req: Request) -> float | None:
    """Return ``?timeout=`` in seconds; ``None`` leaves it to the setting ``request_timeout``."""
    return seconds_param(req, "timeout")


def seconds_param(req: Request, name: str) -> float | None:
    """Return a query parameter in seconds, ``None`` if it is absent.

    :raises BadInput: it is not a number, or outside what is accepted.
    """
    text = req.get_param(name)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_TIMEOUT_SECONDS:
        accepted = f"seconds, more than 0 and at most {MAX_TIMEOUT_SECONDS:g}"
        raise BadInput(f"query parameter {name}", text, accepted)
    return seconds


def page_params(req: Request) -> tuple[str, int]:
    """Return ``?after=``, the key before the page, and ``?limit=``, the most keys in it.

    :raises BadInput: the limit is not a number from 1 to ``MAX_PAGE_SIZE``.
    """
    limit = integer_param(req, "limit", DEFAULT_PAGE_SIZE, least=1, most=MAX_PAGE_SIZE)
    return text_param(req, "after"), limit


def integer_param(req: Request, name: str, default: int, *, least: int, most: int) -> int:
    """Return a query parameter that is a whole number.

    :raises BadInput: it is not, or not within the bounds.
    """
    given = req.get_param(name)
    if given is None:
        return default
    # int() also takes signs, spaces and underscores, and fails on thousands of digits.
    is_number = given.isascii() and given.isdecimal() and len(given) < 20
    if not is_number or not least <= int(given) <= most:
        raise BadInput(f"query parameter {name}", given, f"a number from {least} to {most}")
    return int(given)


def choice_param(req: Request, name: str, accepted: Sequence[str]) -> str:
    """Return a query parameter that has one of a few values, by default the first.

    :raises BadInput: it has another one.
    """
    given = text_param(req, name, default=accepted[0])
    if given not in accepted:
        raise BadInput(f"query parameter {name}", given, ", ".join(accepted))
    return given


def bytes_params(req: Request) -> dict[str, bytes]:
    """Return the query parameters as bytes, which need not be UTF-8."""
    found = {}
    for part in req.scope["query_string"].split(b"&"):
        name, _, value = part.replace(b"+", b" ").partition(b"=")
        found[unquote_to_bytes(name).decode(errors="replace")] = unquote_to_bytes(value)
    return found
