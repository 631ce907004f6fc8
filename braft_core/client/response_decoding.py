"""What an HTTP answer means: fine, or which of braft's errors.

Pure: looks at status, headers and body of one answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from braft_core.errors import BraftError, OutcomeUnknown, TooLarge, from_wire
from braft_core.escaping import printable, printable_values

__all__ = ["NOT_FOUND", "error_of", "facts", "understood"]

T = TypeVar("T")

#: The ``code`` of a plain 404: the path is right and what it names is not there.
NOT_FOUND = "not_found"
#: What it raises to look for a node's answer in something else.
_NOT_A_NODE_S = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def error_of(response: httpx.Response, *, write: bool) -> BraftError | None:
    """The error that the answer stands for, ``None`` if it is a success.

    A node says what happened in problem JSON. Anything else comes from something between the
    node and us; then a failed write may have reached the node all the same.
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
    """What ``take`` finds in a success.

    :raises BraftError: it is no node's, but that of a login page for instance.
    """
    try:
        return take(response)
    except _NOT_A_NODE_S as error:
        raise _foreign(response, write=write) from error


def facts(response: httpx.Response) -> dict[str, Any]:
    """The JSON object that the body is. :raises TypeError, ValueError: it is none."""
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
    except (ValueError, RecursionError):  # no JSON, or nested by the hundred thousand
        return None
    return problem if isinstance(problem, dict) else None
