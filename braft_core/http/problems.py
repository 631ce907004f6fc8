"""Errors as RFC 9457 problem JSON.

Owns the mapping from braft's error tree and Falcon's HTTP errors to status codes and bodies. A
body has ``type``, ``title``, ``status``, ``detail``, ``instance``, and two members of our own:
``code`` (stable, for programs; ``BraftError.code`` where it is one) and ``data`` (its facts).
"""

from __future__ import annotations

import http
import logging
from typing import Any

import falcon

from braft_core import jsontext
from braft_core.errors import (
    BraftError,
    ConfigError,
    Conflict,
    InvalidArgument,
    InvalidRequest,
    NotApplied,
    OutcomeUnknown,
    Rejected,
    StorageFull,
    TooLarge,
    TransportError,
    UnknownCommand,
    UnknownService,
)
from braft_core.escaping import printable, shown

__all__ = ["PROBLEM_JSON", "RETRY_AFTER_SECONDS", "BadInput", "install_problems", "status_of"]

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
#: An election is over well within this.
RETRY_AFTER_SECONDS = 1

_SHOWN_PATH = 200

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
    UnknownService: 404,
    UnknownCommand: 404,
    TransportError: 502,
    StorageFull: 507,
}


class BadInput(falcon.HTTPError):
    """400: something in the request is not acceptable; says what, its value, what would be."""

    def __init__(self, parameter: str, value: object, accepted: str) -> None:
        super().__init__(400, description=f"{parameter} is {shown(value)}; accepted: {accepted}")
        self.data = {"parameter": parameter, "value": shown(value), "accepted": accepted}


def status_of(error: BraftError, *, precondition: bool = False) -> int:
    """The HTTP status of an error; the nearest class of the tree that has one decides.

    :param precondition: the request stated its condition in a header, which makes a conflict 412.
    """
    if precondition and isinstance(error, Conflict):
        return 412
    return next(_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS)


def install_problems(app: falcon.App[Any, Any]) -> None:
    """Make every error of the application a problem."""
    app.add_error_handler(Exception, _on_unexpected)
    app.add_error_handler(BraftError, _on_braft_error)
    app.set_error_serializer(_serialize)


def _on_braft_error(
    req: falcon.Request, resp: falcon.Response, error: BraftError, params: dict[str, Any]
) -> None:
    precondition = bool(req.get_header("If-Match") or req.get_header("If-None-Match"))
    status = status_of(error, precondition=precondition)
    if status == 503 and error.safe_to_retry:
        resp.set_header("Retry-After", str(RETRY_AFTER_SECONDS))
    if status == 500:
        logger.error("%s %s failed: %s", req.method, _path(req), error.message)
    title = type(error).__name__
    _send(req, resp, status, title, error.message, error.code, error.data)


def _on_unexpected(
    req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]
) -> None:
    """A bug, ours or a plugin's: the caller learns that it happened, the log learns what."""
    logger.error("%s %s failed", req.method, _path(req), exc_info=error)
    detail = "an unexpected error; the node's log has it"
    _send(req, resp, 500, "Internal Server Error", detail, "internal", {})


def _serialize(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    status = error.status_code
    title = http.HTTPStatus(status).phrase
    data = error.data if isinstance(error, BadInput) else {}
    code = title.lower().replace(" ", "_")
    _send(req, resp, status, title, error.description or title, code, data)


def _path(req: falcon.Request) -> str:
    """The path as log lines and answers show it: its escapes are decoded, ``%0A`` to a newline."""
    return printable(req.path, _SHOWN_PATH)


def _send(
    req: falcon.Request,
    resp: falcon.Response,
    status: int,
    title: str,
    detail: str,
    code: str,
    data: dict[str, Any],
) -> None:
    problem = {
        "type": f"urn:braft:error:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": _path(req),
        "code": code,
        "data": data,
    }
    resp.status = status
    resp.content_type = PROBLEM_JSON
    # Facts on an error may be anything, and reporting it must not fail.
    resp.data = jsontext.encode(problem, anything=True)
