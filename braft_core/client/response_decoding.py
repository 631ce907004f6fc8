"""Decodes HTTP responses into values or braft's errors.

Pure: takes status, headers and body of one response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from braft_core.errors import BraftError, OutcomeUnknown, TooLarge, from_wire
from braft_core.escaping import printable, printable_values

__all__ = ["NOT_FOUND", "error_of", "facts", "understood"]

T = TypeVar("T")

#: The ``code`` of a plain 404: the route exists, but not what it names.
NOT_FOUND = "not_found"
#: Errors of decoding a response that is not a node's.
_DECODING_ERRORS = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def error_of(response: httpx.Response, *, write: bool) -> BraftError | None:
    """Return the error of a response, ``None`` for a success.

    A node answers errors with problem JSON. Anything else comes from a proxy, and then a failed
    write may have reached the node.
    """
    if response.is_success:
        return None
    problem = _problem(response)
    if problem is not None:
        data = problem.get("data")
        facts = printable_values(data) if isinstance(data, dict) else {}
        detail = printable(str(problem.get("detail", "")))
        error = from_wire(str(problem.get("code", "")), detail, facts)
        error.data.setdefault("status", response.status_code)
        error.data.setdefault("problem", str(problem.get("code", "")))
        return error
    return _foreign(response, write=write)


def understood(response: httpx.Response, take: Callable[[httpx.Response], T], *, write: bool) -> T:
    """Return what ``take`` extracts from a success.

    :raises BraftError: the response is not a node's, but a login page for instance.
    """
    try:
        return take(response)
    except _DECODING_ERRORS as error:
        raise _foreign(response, write=write) from error


def facts(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object in the body.

    :raises TypeError: it is other JSON.
    :raises ValueError: it is not JSON.
    """
    body = response.json()
    if not isinstance(body, dict):
        raise TypeError("not a JSON object")
    return body


def _foreign(response: httpx.Response, *, write: bool) -> BraftError:
    sentence = f"{response.url.netloc.decode()} answered {response.status_code}"
    sentence += f" {printable(response.reason_phrase)}, and not as a braft node does"
    if response.status_code == 413:
        return TooLarge(sentence, status=413)
    if write and not response.is_client_error:
        return OutcomeUnknown(sentence, status=response.status_code)
    return BraftError(sentence, status=response.status_code)


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "application/problem+json":
        return None
    try:
        problem = response.json()
    except (ValueError, RecursionError):  # not JSON, or nested too deeply
        return None
    return problem if isinstance(problem, dict) else None
