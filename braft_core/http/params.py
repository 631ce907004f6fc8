"""Query parameters: parsed and checked, so that a bad one is a 400 that names it and its value.

Knows nothing of any resource.
"""

from __future__ import annotations

import math

from falcon.asgi import Request

from braft_core.http.operation import MAX_TIMEOUT_SECONDS
from braft_core.http.problems import BadInput
from braft_core.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE

__all__ = ["page_params", "seconds_param", "text_param", "timeout_param"]


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
    after, limit = text_param(req, "after"), req.get_param("limit")
    if limit is None:
        return after, DEFAULT_PAGE_SIZE
    # int() also takes signs, spaces and underscores, and fails on thousands of digits.
    is_number = limit.isascii() and limit.isdecimal() and len(limit) < 10
    if not is_number or not 1 <= int(limit) <= MAX_PAGE_SIZE:
        raise BadInput("query parameter limit", limit, f"a number from 1 to {MAX_PAGE_SIZE}")
    return after, int(limit)
