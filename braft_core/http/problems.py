"""Errors as RFC 9457 problem JSON.

Owns the mapping from braft's errors and Falcon's HTTP errors to status codes and bodies. A body has
``type``, ``title``, ``status``, ``detail`` and ``instance``. braft adds ``code``, which is stable
and for programs (``BraftError.code``), and ``data``, the facts of the error.
"""

from __future__ import annotations

import http
import logging
from typing import Any

import falcon
import falcon.asgi

from braft_core import strict_json
from braft_core.errors import (
    BraftError,
    Compacted,
    ConfigError,
    Conflict,
    DuplicateKey,
    InvalidArgument,
    InvalidRequest,
    LeaseExists,
    LeaseNotFound,
    NoSpace,
    NotApplied,
    OutcomeUnknown,
    Rejected,
    StorageFull,
    TooLarge,
    TooManyOps,
    TransportError,
    UnknownCommand,
    UnknownService,
)
from braft_core.escaping import printable, shown

__all__ = [
    "ESCAPED_SLASH",
    "PROBLEM_JSON",
    "RETRY_AFTER_SECONDS",
    "BadInput",
    "ClientDisconnected",
    "Refused",
    "error_problem",
    "http_problem",
    "install_problems",
    "problem_body",
    "status_of",
]

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
#: An election takes less than this.
RETRY_AFTER_SECONDS = 1

#: Stands for a slash in a name until routing (:mod:`braft_core.http.url_decoding`).
ESCAPED_SLASH = "\udc2f"

_SHOWN_PATH = 200

#: Status, body and further headers of an answer.
Problem = tuple[int, bytes, list[tuple[str, str]]]

_STATUS: dict[type[BaseException], int] = {
    BraftError: 500,
    ConfigError: 400,
    NotApplied: 503,
    TooLarge: 413,
    InvalidRequest: 400,
    OutcomeUnknown: 504,
    Rejected: 422,
    InvalidArgument: 400,
    Conflict: 409,
    LeaseNotFound: 404,
    LeaseExists: 409,
    Compacted: 410,
    TooManyOps: 400,
    DuplicateKey: 400,
    NoSpace: 507,
    UnknownService: 404,
    UnknownCommand: 404,
    TransportError: 502,
    StorageFull: 507,
}


class ClientDisconnected(Exception):
    """The caller disconnected before its body was complete. No answer can be sent."""


class BadInput(falcon.HTTPError):
    """400: a part of the request is invalid. Names it, its value and what is accepted."""

    def __init__(self, parameter: str, value: object, accepted: str) -> None:
        super().__init__(400, description=f"{parameter} is {shown(value)}; accepted: {accepted}")
        self.data = {"parameter": parameter, "value": shown(value), "accepted": accepted}


class Refused(falcon.HTTPError):
    """An HTTP error with its own ``code``."""

    def __init__(self, status: int, problem_code: str, detail: str) -> None:
        super().__init__(status, description=detail)
        self.problem_code = problem_code


def status_of(error: BraftError, *, precondition: bool = False) -> int:
    """Return the HTTP status of an error, by its nearest base class that has one.

    :param precondition: the request has a conditional header, so a conflict is a 412.
    """
    if precondition and isinstance(error, Conflict):
        return 412
    return next(_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS)


def http_problem(error: falcon.HTTPError, path: str) -> Problem:
    """Return the answer to a refused request."""
    status = error.status_code
    title = http.HTTPStatus(status).phrase
    data = error.data if isinstance(error, BadInput) else {}
    code = title.lower().replace(" ", "_").replace("-", "_")
    if isinstance(error, Refused):
        code = error.problem_code
    extra = [(str(name), str(value)) for name, value in dict(error.headers or {}).items()]
    return status, problem_body(status, title, error.description or title, path, code, data), extra


def error_problem(error: BraftError, path: str, *, precondition: bool = False) -> Problem:
    """Return the answer to a request that failed with an error of the node."""
    status = status_of(error, precondition=precondition)
    extra = []
    if status == 503 and error.safe_to_retry:
        extra.append(("Retry-After", str(RETRY_AFTER_SECONDS)))
    title = type(error).__name__
    body = problem_body(status, title, error.message, path, error.code, error.data)
    return status, body, extra


def problem_body(
    status: int, title: str, detail: str, path: str, code: str, data: dict[str, Any]
) -> bytes:
    """Return problem JSON. ``data`` may hold any objects, so the encoding never fails."""
    problem = {
        "type": f"urn:braft:error:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": _shown_path(path),
        "code": code,
        "data": data,
    }
    return strict_json.encode(problem, anything=True)


def _shown_path(path: str) -> str:
    """Return the path for log lines and answers; a decoded ``%0A`` must not break a line."""
    return printable(path[:_SHOWN_PATH].replace(ESCAPED_SLASH, "%2F"), _SHOWN_PATH)


def install_problems(app: falcon.asgi.App[Any, Any]) -> None:
    """Turn every error of the application into problem JSON."""
    app.add_error_handler(Exception, _on_unexpected)
    app.add_error_handler(BraftError, _on_braft_error)
    app.set_error_serializer(_serialize)


async def _on_braft_error(
    req: falcon.asgi.Request,
    resp: falcon.asgi.Response,
    error: BraftError,
    params: dict[str, Any],
) -> None:
    precondition = bool(req.get_header("If-Match") or req.get_header("If-None-Match"))
    status, body, extra = error_problem(error, req.path, precondition=precondition)
    if status == 500:
        logger.error("%s %s failed: %s", req.method, _shown_path(req.path), error.message)
    for name, value in extra:
        resp.set_header(name, value)
    _send(resp, status, body)


async def _on_unexpected(
    req: falcon.asgi.Request,
    resp: falcon.asgi.Response,
    error: Exception,
    params: dict[str, Any],
) -> None:
    """Answer 500 to a bug, ours or a plugin's; only the log gets the details."""
    if isinstance(error, ClientDisconnected):
        raise error
    logger.error("%s %s failed", req.method, _shown_path(req.path), exc_info=error)
    detail = "an unexpected error; the node's log has it"
    title = "Internal Server Error"
    _send(resp, 500, problem_body(500, title, detail, req.path, "internal", {}))


def _serialize(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: falcon.HTTPError
) -> None:
    status, body, _ = http_problem(error, req.path)
    _send(resp, status, body)


def _send(resp: falcon.asgi.Response, status: int, body: bytes) -> None:
    resp.status = status
    resp.content_type = PROBLEM_JSON
    resp.data = body
    resp.stream = None
