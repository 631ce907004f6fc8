"""braft's errors as etcd's: clients compare code and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from braft_core import errors
from braft_core.errors import BraftError
from braft_core.http2 import CallFailed, Status

__all__ = ["failed", "failure", "unsupported"]

_TEXTS: Final[Mapping[type[BraftError], tuple[Status, str]]] = {
    errors.KeyNotFound: (Status.INVALID_ARGUMENT, "key not found"),
    errors.TooManyOps: (Status.INVALID_ARGUMENT, "too many operations in txn request"),
    errors.DuplicateKey: (Status.INVALID_ARGUMENT, "duplicate key given in txn request"),
    errors.TooLarge: (Status.INVALID_ARGUMENT, "request is too large"),
    errors.LeaseNotFound: (Status.NOT_FOUND, "requested lease not found"),
    errors.NoSpace: (Status.RESOURCE_EXHAUSTED, "mvcc: database space exceeded"),
    errors.Busy: (Status.RESOURCE_EXHAUSTED, "too many requests"),
    errors.LeaseExists: (Status.FAILED_PRECONDITION, "lease already exists"),
    errors.Compacted: (Status.OUT_OF_RANGE, "mvcc: required revision has been compacted"),
    errors.FutureRevision: (Status.OUT_OF_RANGE, "mvcc: required revision is a future revision"),
    errors.NotReady: (Status.UNAVAILABLE, "no leader"),
    errors.NoLeader: (Status.UNAVAILABLE, "no leader"),
    errors.NotLeader: (Status.UNAVAILABLE, "leader changed"),
    errors.OutcomeUnknown: (Status.UNAVAILABLE, "request timed out"),
    errors.DeadlineExceeded: (Status.UNAVAILABLE, "request timed out"),
    errors.Stopped: (Status.UNAVAILABLE, "server stopped"),
}
#: Errors without a text of etcd's; they keep their own.
_CODES: Final[Mapping[type[BraftError], Status]] = {
    errors.InvalidArgument: Status.INVALID_ARGUMENT,
    errors.InvalidRequest: Status.INVALID_ARGUMENT,
    errors.AnswerTooLarge: Status.RESOURCE_EXHAUSTED,
    errors.NotSupported: Status.UNIMPLEMENTED,
    errors.UnknownService: Status.UNIMPLEMENTED,
    errors.NotApplied: Status.UNAVAILABLE,
}


def failure(status: Status, text: str) -> CallFailed:
    """Return an error with a text of etcd's, without its prefix."""
    return CallFailed(status, f"etcdserver: {text}")


def unsupported(what: str, instead: str) -> CallFailed:
    """Return the error of a call that braft has no counterpart for.

    :param instead: what to do, as a sentence without its period.
    """
    return failure(Status.UNIMPLEMENTED, f"{what} is not supported by braft: {instead}")


def failed(error: BraftError) -> CallFailed:
    """Return what a client of etcd is answered."""
    for kind in type(error).__mro__:
        if kind in _TEXTS:
            status, text = _TEXTS[kind]
            return failure(status, text)
        if kind in _CODES:
            return failure(_CODES[kind], error.message)
    return failure(Status.INTERNAL, error.message)
